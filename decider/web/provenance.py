"""Where pages say that provenance is: with us, where the operator has said what we are called (DESIGN, section 3).

PEP 740 wants an absolute https URL, which a page can have no other way. Fetching provenance may not be added here.
"""

from urllib.parse import quote, urlsplit

import msgspec

from decider.decision import PageDecision
from decider.files import DistributionFile, ProjectPage
from decider.hosts import FileHosts
from decider.settings import Settings

__all__ = ["name_own_provenance"]


def name_own_provenance(listing: ProjectPage, decision: PageDecision, settings: Settings) -> ProjectPage:
    """`listing`, made of `decision`, with our own URL for the provenance of each file that we would give it of.

    Without an https `public_url`, or where an index's provenance is on a host that it may not use, the index's own stays.
    """
    if settings.public_url is None or not settings.public_url.startswith("https://"):
        return listing
    inside = "" if decision.repository == "default" else f"{decision.repository}/"
    base = f"{settings.public_url}{inside}files/{listing.project}/"
    hosts = {index.name: FileHosts(index) for index in settings.indexes if index.url is not None}

    def named(file: DistributionFile) -> DistributionFile:
        found = hosts.get(decision.judge.index_of(file.filename))
        if file.provenance is None or found is None or not found.is_allowed(urlsplit(file.provenance)):
            return file
        return msgspec.structs.replace(file, provenance=f"{base}{quote(file.filename, safe='')}.provenance")

    return msgspec.structs.replace(listing, files=tuple(map(named, listing.files)))
