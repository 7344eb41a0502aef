"""From a User-Agent header to an installer's name, version, Python, system and whether it runs in CI.

What linehaul reads (the parser behind the public index's statistics), and where it knows nothing the first product of
the header (RFC 9110, 10.1.5). The header is a client's free text (STANDARDS C03): it is cut, and believed in nothing.
"""

import logging
import re
from functools import lru_cache

from linehaul.ua.parser import parse

from decider.usage.records import Installer

__all__ = ["MAX_USER_AGENT", "parse_installer"]

MAX_USER_AGENT = 2_048  #: characters; pip's are some 400
_MAX_WORD = 100
_PRODUCT = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100})(?:/([!-~]{1,100}))?")
_ANONYMOUS = "Browser"  #: what linehaul calls everything that is no installer

# It logs a traceback for whatever it does not understand: any client could fill our log.
logging.getLogger("linehaul").disabled = True
logging.getLogger("linehaul.ua.parser").disabled = True
logging.getLogger("linehaul.ua.impl").disabled = True


@lru_cache(maxsize=4_096)
def parse_installer(user_agent: str) -> Installer | None:
    """What the header says; None where it says nothing."""
    user_agent = user_agent[:MAX_USER_AGENT]
    return _known(user_agent) or _product(user_agent)


def _known(user_agent: str) -> Installer | None:
    try:
        found = parse(user_agent)
    # Besides UnknownUserAgentError whatever its JSON reader makes of a client's free text: `pip/26.0 null` is a TypeError.
    except Exception:  # noqa: BLE001
        return None
    if found is None or found.installer is None or found.installer.name in {None, _ANONYMOUS}:
        return None
    implementation = found.implementation.version if found.implementation else None
    return Installer(
        name=_word(found.installer.name),
        version=_word(found.installer.version),
        python=_word(found.python or implementation),
        system=_word(found.system.name if found.system else None),
        ci=found.ci if isinstance(found.ci, bool) else None,
    )


def _product(user_agent: str) -> Installer | None:
    found = _PRODUCT.match(user_agent)
    return None if found is None else Installer(name=found[1], version=found[2])


def _word(text: object) -> str | None:
    """Printable, and no longer than a name: what is stored for years and shown to people."""
    if not isinstance(text, str):
        return None
    return "".join(c if c.isprintable() else "?" for c in text[:_MAX_WORD]) or None
