"""Both wire formats of the simple repository API: reading an index's pages, writing ours, choosing the format.

Read in this order: simple repository API (PEP 503, 629, 691), version 1.1 (PEP 700), metadata files (PEP 658, 714),
provenance (PEP 740), project status (PEP 792), the frozen HTML (PEP 833). What an index sends is taken apart as
hostile input: one bad entry is left out, a body that is no page is UnreadablePage.

negotiation    which format a client gets            listing         what both formats share when read
links          URLs, kept to allowed hosts           json_reading    JSON
reading        by content type                       html_reading    HTML
rendering      both formats                          project_json    the JSON of old

Fetching, judging and Flask may not be added here.
"""

from decider.pages.listing import DroppedFile, ParsedPage
from decider.pages.negotiation import PageFormat, negotiate
from decider.pages.project_json import render_project_json
from decider.pages.reading import parse_page, parse_projects
from decider.pages.rendering import render_page, render_projects

__all__ = [
    "DroppedFile",
    "PageFormat",
    "ParsedPage",
    "negotiate",
    "parse_page",
    "parse_projects",
    "render_page",
    "render_project_json",
    "render_projects",
]
