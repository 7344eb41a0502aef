"""Which certificate authorities this machine trusts, as the file that indexes are verified by; whether files can be used."""

import ssl
from collections.abc import Mapping
from pathlib import Path

from decider.pip_config import pip_setting

__all__ = ["find_ca_file", "is_authority", "is_key_pair"]

_SYSTEM_CA_FILE = "/etc/ssl/certs/ca-certificates.crt"


def find_ca_file(environ: Mapping[str, str]) -> str | None:
    """The first file there is of: SSL_CERT_FILE, pip's `cert`, OpenSSL's own; None when there is none.

    Raise ValueError where pip's configuration cannot be read. pip comes before the system: where an organisation's
    proxy re-signs traffic, pip was told.
    """
    pip_cert = pip_setting("cert", environ)
    system = ssl.get_default_verify_paths()
    candidates = (
        environ.get("SSL_CERT_FILE"),
        pip_cert.value if pip_cert else None,
        system.cafile,
        system.openssl_cafile,
        _SYSTEM_CA_FILE,
    )
    return next((str(Path(file).absolute()) for file in candidates if file and Path(file).is_file()), None)


def is_authority(file: str) -> bool:
    """Whether TLS can verify by the certificates in a file."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except OSError:  # ssl.SSLError is one
        return False
    return True


def is_key_pair(certificate: str, key: str) -> bool:
    """Whether TLS can show the certificate by its key: both PEM, of each other, without a passphrase."""
    try:
        # (!) Without a passphrase OpenSSL would ask the terminal for it.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        return False
    return True
