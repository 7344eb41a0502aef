"""Who the fetcher believes, and as whom it shows itself. The settings have looked whether the files can be used."""

import ssl

from decider.settings import IndexSettings

__all__ = ["other_context", "own_context"]


def other_context(index: IndexSettings | None, ca_file: str | None) -> ssl.SSLContext:
    """TLS that proves who is talking, by the index's authorities or else by those of `ca_file`; without any nobody can.

    Raise OSError (ssl.SSLError too) where the file cannot be read.
    """
    authorities = (index.ca_file if index is not None else None) or ca_file
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context


def own_context(index: IndexSettings, ca_file: str | None) -> ssl.SSLContext:
    """The same for the index's own origin, which alone is shown the index's client certificate; raise OSError."""
    context = other_context(index, ca_file)
    if index.client_certificate is not None:
        # Without a passphrase OpenSSL would ask the terminal for one.
        context.load_cert_chain(index.client_certificate, index.client_key, password="")
    return context
