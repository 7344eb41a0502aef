"""The JSON shapes of the API that no other module has: what is sent, what is answered (DESIGN section 6).

Behaviour may not be added here.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from decider.decision import Verdict
from decider.rules import Rule, RuleDraft
from decider.store import Review, Role, Token
from decider.usage.answers import UsageTotal
from decider.web.api.inputs import Moment

__all__ = [
    "Conflicting",
    "Conflicts",
    "DryRule",
    "DryRulesetChange",
    "Effect",
    "Effects",
    "ExplainedFile",
    "ExplainedRule",
    "Explanation",
    "Explanations",
    "NewToken",
    "Problem",
    "ProblemField",
    "RefreshRequest",
    "Refreshed",
    "ReviewDecided",
    "ReviewDecision",
    "RulesetBody",
    "RulesetCounts",
    "RulesetDetail",
    "TokenRequest",
    "Unanswered",
    "UsageEffect",
]

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")]


class ProblemField(msgspec.Struct, frozen=True):
    """One thing that is wrong with the request."""

    field: str  #: dotted path, "" for the whole
    detail: str


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a request was not answered as asked (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[ProblemField] = []


class Unanswered(msgspec.Struct, frozen=True, kw_only=True):
    """What could not be asked, and is therefore missing from the answer."""

    project: str | None
    index: str | None
    detail: str


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One file whose verdict a change would change."""

    project: str
    repository: str
    filename: str
    version: str | None
    before: Verdict | None  #: None: not offered
    after: Verdict | None
    rules: tuple[str, ...]  #: that would decide
    reason: str | None


class UsageEffect(msgspec.Struct, frozen=True, kw_only=True):
    """One file whose recent requests a change would have ended otherwise."""

    project: str
    repository: str
    filename: str
    version: str | None
    sha256: str | None
    index: str | None  #: that it came from: the same file may have come from another, too
    before: Verdict
    after: Verdict
    rules: tuple[str, ...]  #: that would have decided
    requests: int
    clients: int  #: different ones
    first_at: datetime
    last_at: datetime


class Effects(msgspec.Struct, frozen=True, kw_only=True):
    """What a change would do to the current pages, and would have done to recent requests."""

    files: tuple[Effect, ...]
    usage: tuple[UsageEffect, ...]
    usage_total: (
        UsageTotal | None
    )  #: downloads that would have been refused; None: the records cannot be read
    truncated: bool  #: there may be more: not all projects that the change speaks of were looked at
    unanswered: tuple[Unanswered, ...]


class DryRule(RuleDraft, frozen=True, kw_only=True):
    """What would be stored, and what it would do."""

    id: None = None
    ruleset: str
    effects: Effects


class RulesetBody(msgspec.Struct, frozen=True):
    """The rules that a ruleset is to hold."""

    rules: list[RuleDraft]


class RulesetDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A ruleset with its rules."""

    name: str
    revision: int
    updated_by: str
    updated_at: datetime
    rules: tuple[Rule, ...]


class RulesetCounts(msgspec.Struct, frozen=True, kw_only=True):
    """What replacing a ruleset did."""

    added: int
    removed: int
    changed: int
    unchanged: int
    revision: int


class DryRulesetChange(RulesetCounts, frozen=True, kw_only=True):
    """What replacing a ruleset would do."""

    effects: Effects


class ExplainedRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule that was considered."""

    id: str
    applied: bool
    why: str


class ExplainedFile(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict on one file, and how it came about."""

    filename: str
    version: str | None
    verdict: Verdict
    rules: list[str]
    reason: str | None
    until: datetime | None
    considered: list[ExplainedRule]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """The verdicts on a project's files."""

    project: str
    repository: str
    index: str | None
    files: list[ExplainedFile]
    missing: list[str]  #: files asked for that the index does not list
    problem: Problem | msgspec.UnsetType = msgspec.UNSET  #: why no decision could be made


class Explanations(msgspec.Struct, frozen=True):
    """The verdicts on everything that a requirements or lock file asks for."""

    projects: list[Explanation]


class ReviewDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about a held file."""

    decision: Literal["approve", "deny"]
    reason: str
    versions: str | None = None
    expires_at: Moment | None = None


class ReviewDecided(Review, frozen=True, kw_only=True):
    """A decided review, and the rule that it wrote."""

    written: Rule


class TokenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A token to make."""

    name: Name
    role: Role
    expires_at: Moment | None = None


class NewToken(Token, frozen=True, kw_only=True):
    """A fresh token with its secret, which is shown this once."""

    token: str


class RefreshRequest(msgspec.Struct, frozen=True):
    """Which page to revalidate."""

    project: str


class Refreshed(msgspec.Struct, frozen=True, kw_only=True):
    """What the index answered."""

    index: str
    project: str
    found: bool
    files: int
    digest: str | None  #: names the page's content


class Conflicting(msgspec.Struct, frozen=True, kw_only=True):
    """An owned name that public indexes also have."""

    project: str
    owner: str
    rule: str | None  #: None: no rule, the owner is an internal index that has the project
    indexes: tuple[str, ...]


class Conflicts(msgspec.Struct, frozen=True, kw_only=True):
    """Owned names that a public index also has."""

    items: tuple[Conflicting, ...]
    next: str | None
    unanswered: tuple[Unanswered, ...]
