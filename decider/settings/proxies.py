"""How what is outside is reached: the proxies of the file, or else those that the environment names, as curl reads them."""

from collections.abc import Mapping

from decider.addresses import parse_proxy_url
from decider.errors import Fault
from decider.settings.model import EgressSettings
from decider.settings.table import Table

__all__ = ["read_egress", "read_proxy"]


def read_egress(top: Table, environ: Mapping[str, str], faults: list[Fault]) -> EgressSettings:
    """The proxy that the file names, for everything; else those that the environment does."""
    defaults = EgressSettings()
    table = top.table("egress") or Table("egress", {}, faults)
    max_file_size = table.size_bytes("max_file_size", top.size_bytes("max_file_size", defaults.max_file_size))
    proxy = read_proxy(table)
    no_proxy = table.text("no_proxy")
    table.finish()
    if proxy is not None:
        return EgressSettings(
            http_proxy=proxy, https_proxy=proxy, no_proxy=no_proxy or "", max_file_size=max_file_size
        )
    return EgressSettings(
        http_proxy=_proxy_of_environment("http_proxy", environ, faults),
        https_proxy=_proxy_of_environment("https_proxy", environ, faults),
        no_proxy=no_proxy or _variable("no_proxy", environ),
        max_file_size=max_file_size,
    )


def read_proxy(table: Table) -> str | None:
    """The URL of the proxy that `table` names, "" for none; None where the key is not set."""
    return table.parsed("proxy", lambda text: "" if text == "none" else parse_proxy_url(text), None)


def _variable(name: str, environ: Mapping[str, str]) -> str:
    """An environment variable, by its usual name in lower case or else in upper case."""
    # (!) HTTP_PROXY may be a client's header where a CGI server started this process (httpoxy); curl skips it too.
    upper = "" if name == "http_proxy" else environ.get(name.upper(), "")
    return environ.get(name, "") or upper


def _proxy_of_environment(name: str, environ: Mapping[str, str], faults: list[Fault]) -> str | None:
    text = _variable(name, environ) or _variable("all_proxy", environ)
    try:
        return parse_proxy_url(text) if text else None
    except ValueError as error:
        faults.append(Fault(f"{name} (environment)", str(error)))
        return None
