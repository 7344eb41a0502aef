"""Who the fetcher believes, and as whom it shows itself. Nothing here needs the rest of it: a start looks at this first."""

import ssl

from decider.errors import Fault, InvalidSettings
from decider.settings import IndexSettings, Settings

__all__ = ["other_context", "own_context", "refuse_bad_certificates"]


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
        context.load_cert_chain(index.client_certificate, index.client_key)
    return context


def refuse_bad_certificates(settings: Settings) -> None:
    """Raise InvalidSettings, each key named, where a file is no certificate, or no key to its certificate."""
    faults = []
    if settings.ca_file is not None:
        try:
            other_context(None, settings.ca_file)
        except OSError as error:
            faults.append(Fault("ca_file", f"{settings.ca_file}: {_words(error)}"))
    for index in settings.indexes:
        if index.url is None:
            continue
        key, file = f"indexes.{index.name}.ca_file", index.ca_file
        try:
            if file is not None:
                other_context(index, None)
            key, file = f"indexes.{index.name}.client_certificate", index.client_certificate
            if file is not None:
                own_context(index, None)
        except OSError as error:
            faults.append(Fault(key, f"{file}: {_words(error)}"))
    if faults:
        raise InvalidSettings(faults)


def _words(error: OSError) -> str:
    reason = getattr(error, "reason", None) or error.strerror or str(error)
    return f"no certificate that could be used ({reason})"
