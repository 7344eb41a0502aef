"""A rule, its validation, and the compiled, immutable snapshot that finds the rules for a name.

model     what a rule is
drafts    from what a person or a feed wrote to a rule, or all that is wrong with it
snapshot  all rules of one store revision, found by project name

Namespaces: PEP 752. Versions: PEP 440 specifier sets, prereleases included. Evaluating a file and I/O may not be
added here.
"""

from decider.rules.drafts import apply_patch, draft_fields, parse_draft
from decider.rules.model import (
    FILE_CONDITIONS,
    Action,
    Rule,
    RuleDraft,
    format_moment,
    parse_duration,
    parse_moment,
)
from decider.rules.snapshot import Snapshot, age_order

__all__ = [
    "FILE_CONDITIONS",
    "Action",
    "Rule",
    "RuleDraft",
    "Snapshot",
    "age_order",
    "apply_patch",
    "draft_fields",
    "format_moment",
    "parse_draft",
    "parse_duration",
    "parse_moment",
]
