"""Who answers for a name, and what may be had of it: one pure function of (file, rules, now).

model        verdicts and decisions, as data
matching     does one rule match one file, and until when
judging      what all rules together make of one file, and why; ownership
fingerprint  what a page depends on, and when time alone will change it
merging      the pages of `extends` as one, and one release of them
deciding     the entrance: one file, one file of a page, a release, a page
listing      what clients read: the filtered page, the refusal's phrase

Page, file, explain and dry run all go through `judging`; so they agree, and in which order
rules are looked at stands there alone. I/O and wire formats may not be added here.
"""

from decider.decision.deciding import PageDecision, decide_file, decide_one, decide_page
from decider.decision.fingerprint import page_fingerprint
from decider.decision.judging import owner_rule, refused_whole
from decider.decision.listing import list_page, refusal_phrase
from decider.decision.merging import merge_pages, release_pages
from decider.decision.model import Considered, FileDecision, Verdict

__all__ = [
    "Considered",
    "FileDecision",
    "PageDecision",
    "Verdict",
    "decide_file",
    "decide_one",
    "decide_page",
    "list_page",
    "merge_pages",
    "owner_rule",
    "page_fingerprint",
    "refusal_phrase",
    "refused_whole",
    "release_pages",
]
