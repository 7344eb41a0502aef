"""Takes the plain links out of a project list in HTML, so that a real parser has only the rest to look at.

A list of a million names is a million lines of `<a href="name/">name</a>`, for which an HTML parser takes ten seconds.
A line that is one such link, without an entity and with no other tag, reads the same to everybody, but for one case: a
line inside a comment is no link to a parser, and one to this. That much may be: a list never decides whether a project
exists, and an index could as well list the name openly. So this is for lists only, never for project pages.
"""

import re

__all__ = ["split_plain_links"]

_PLAIN = re.compile(
    r'^[ \t]*<a (?:href|HREF)="[^"<>&\n]*">([^<>&\n]*)</a>(?:<br ?/?>)?[ \t\r]*\n', re.MULTILINE
)


def split_plain_links(text: str) -> tuple[list[str], str]:
    """The texts of the links that are a line of their own and plain, and all that is not one of them."""
    return _PLAIN.findall(text), _PLAIN.sub("", text)
