"""The store: rules, rulesets, tokens, reviews, first-seen times and the audit log, behind one narrow interface.

Two implementations, `sqlite` and `redis`, pass one test suite. A change is acknowledged (the call returns) only
when it is durable, and is atomic with its audit entry. Every change of rules raises the revision by one. Any call
may raise StoreUnavailable; nothing was changed then. Times enter as `at`; nothing here reads a clock, evaluates
a rule or knows HTTP.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from decider.files import FileIdentity
from decider.rules import Action, Rule, RuleDraft

__all__ = [
    "AuditEntry",
    "AuditFault",
    "Page",
    "Review",
    "ReviewState",
    "Role",
    "RulesetChange",
    "RulesetInfo",
    "Store",
    "Token",
    "open_store",
]

T = TypeVar("T")


class Role(StrEnum):
    """What a token may do; each includes those before it."""

    READER = "reader"
    EDITOR = "editor"
    ADMIN = "admin"

    def includes(self, needed: "Role") -> bool:
        """Whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Page(msgspec.Struct, Generic[T], frozen=True):
    """One page of a listing."""

    items: tuple[T, ...]
    next: str | None = None  #: opaque cursor of the next page; None: this was the last


class RulesetChange(msgspec.Struct, frozen=True, kw_only=True):
    """What replacing a ruleset did (or, dry, would do)."""

    added: int
    removed: int
    changed: int
    unchanged: int
    revision: int
    added_rules: tuple[Rule, ...] = ()  #: dry runs: with provisional ids
    removed_rules: tuple[Rule, ...] = ()
    changed_rules: tuple[tuple[Rule, Rule], ...] = ()  #: before, after


class RulesetInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One ruleset, without its rules."""

    name: str
    rules: int
    revision: int  #: the store revision that last changed it; its ETag
    updated_by: str
    updated_at: datetime


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """An API token, without its secret."""

    id: str
    name: str  #: unique among tokens that are not revoked
    role: Role
    created_by: str
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class ReviewState(StrEnum):
    """Where a review request stands."""

    OPEN = "open"
    APPROVED = "approved"
    DENIED = "denied"


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A request for review, opened by the first download that a `hold` refused."""

    id: str
    state: ReviewState = ReviewState.OPEN
    project: str
    version: str | None
    filename: str
    repository: str
    rule: str  #: id of the hold
    requests: int  #: decisions made, not cache hits
    requested_by: tuple[str, ...]  #: clients, at most 50 different ones
    first_at: datetime
    last_at: datetime
    decided_by: str | None = None
    decided_at: datetime | None = None
    reason: str | None = None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One change; each carries the hash of the one before, so an edit or a gap shows."""

    id: int  #: 1, 2, 3 … without gaps
    at: datetime
    actor: str
    action: str  #: e.g. "rule.add", "rule.change", "rule.remove", "ruleset.replace", "token.add", "review.approve"
    rule: str | None = None
    ruleset: str | None = None
    before: Any = None  #: JSON value
    after: Any = None  #: JSON value
    reason: str | None = None
    previous_hash: str  #: hex SHA-256; 64 zeros in the first entry
    hash: str  #: hex SHA-256 of the canonical JSON of all fields but this one


class AuditFault(msgspec.Struct, frozen=True):
    """Where the audit chain does not hold."""

    id: int  #: of the entry at fault, or of the one missing
    detail: str


class Store(Protocol):
    """What decider needs of a store; implementations are safe to share between threads, and between processes."""

    def close(self) -> None:
        """Let go of connections; the store may not be used afterwards."""

    def ping(self) -> None:
        """Raise StoreUnavailable unless the store answers."""

    def durability_fault(self) -> str | None:
        """What keeps acknowledged writes from being durable, in one sentence; None when nothing does."""

    # Rules

    def revision(self) -> int:
        """The present revision of the rules: cheap (microseconds on SQLite), asked before decisions."""

    def load_rules(self) -> tuple[int, tuple[Rule, ...]]:
        """The revision and all rules of it, oldest first, expired ones too; one consistent read."""

    def changes_since(self, revision: int) -> tuple[int, tuple[Rule, ...], frozenset[str]] | None:
        """(present revision, rules added or changed since, ids removed since); None: too long ago, load all."""

    def get_rule(self, rule_id: str) -> Rule:
        """The rule; raise RecordNotFound."""

    def list_rules(
        self,
        *,
        at: datetime,
        project: str | None = None,
        action: Action | None = None,
        ruleset: str | None = None,
        active: bool | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Rule]:
        """Rules by id, filtered; `project` is a canonical pattern. Raise InvalidRequest on a forged cursor."""

    def add_rule(self, draft: RuleDraft, *, actor: str, at: datetime, ruleset: str = "manual") -> Rule:
        """Store a rule; raise Conflict where another active `own` rule has the same pattern, another index and an
        overlapping set of repositories.
        """

    def change_rule(
        self, rule_id: str, draft: RuleDraft, *, actor: str, at: datetime, if_revision: int | None = None
    ) -> Rule:
        """Replace what the draft says of a rule; raise RecordNotFound, Conflict, or PreconditionFailed when
        `if_revision` is given and not the rule's.
        """

    def remove_rule(
        self,
        rule_id: str,
        *,
        actor: str,
        at: datetime,
        reason: str | None = None,
        if_revision: int | None = None,
    ) -> None:
        """Remove a rule; raise RecordNotFound or PreconditionFailed."""

    # Rulesets

    def list_rulesets(self, *, limit: int = 100, cursor: str | None = None) -> Page[RulesetInfo]:
        """Rulesets by name; `manual` and `claims` appear once they hold a rule."""

    def get_ruleset(self, name: str) -> tuple[RulesetInfo, tuple[Rule, ...]]:
        """A ruleset and its rules; raise RecordNotFound."""

    def replace_ruleset(
        self,
        name: str,
        drafts: Sequence[RuleDraft],
        *,
        actor: str,
        at: datetime,
        if_revision: int | None = None,
        dry_run: bool = False,
    ) -> RulesetChange:
        """Make the ruleset hold exactly `drafts`, in one transaction; a rule that did not change keeps its id.

        Drafts are matched to stored rules by `key`, else by all fields but reason, reference and expires_at.
        Raise Conflict (as add_rule; also for two drafts of one identity, but in `manual` and `claims`) or PreconditionFailed (`if_revision` 0:
        the ruleset must not exist). A replacement that changes nothing writes nothing and keeps the revision.
        """

    def remove_ruleset(self, name: str, *, actor: str, at: datetime, if_revision: int | None = None) -> None:
        """Remove a ruleset with its rules; raise RecordNotFound or PreconditionFailed."""

    # Tokens

    def add_token(
        self,
        name: str,
        role: Role,
        secret_hash: str,
        *,
        actor: str,
        at: datetime,
        expires_at: datetime | None = None,
    ) -> Token:
        """Store a token by the hash of its secret; raise Conflict when the name is taken."""

    def find_token(self, secret_hash: str) -> Token | None:
        """The token with that hash, revoked and expired ones too, or None."""

    def touch_token(self, token_id: str, *, at: datetime) -> None:
        """Note that the token was used; no audit entry, may be lost."""

    def list_tokens(self) -> tuple[Token, ...]:
        """All tokens, oldest first."""

    def revoke_token(self, name_or_id: str, *, actor: str, at: datetime) -> Token:
        """Revoke a token; raise RecordNotFound."""

    # Reviews

    def request_review(
        self,
        *,
        project: str,
        version: str | None,
        filename: str,
        repository: str,
        rule: str,
        client: str | None,
        at: datetime,
        count: int = 1,
    ) -> Review:
        """Open a review for (file, repository, rule) or count one more request to the one there is."""

    def get_review(self, review_id: str) -> Review:
        """The review; raise RecordNotFound."""

    def list_reviews(
        self,
        *,
        state: ReviewState | None = None,
        project: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Review]:
        """Reviews by id, filtered."""

    def decide_review(
        self, review_id: str, state: ReviewState, draft: RuleDraft, *, reason: str, actor: str, at: datetime
    ) -> tuple[Review, Rule]:
        """Close a review and add its rule in one transaction; raise RecordNotFound, or Conflict when closed."""

    # First-seen times

    def note_first_seen(
        self, index: str, project: str, files: Iterable[FileIdentity], *, at: datetime
    ) -> None:
        """Remember `at` for those of `files` that have no time yet; `files` are all that the index does not date.

        Times under ANY_DIGEST are settled by the first call for their project: each goes to the one of `files` that
        has the name, and those whose name is not among them are forgotten.
        """

    def first_seen(self, index: str, project: str) -> Mapping[FileIdentity, datetime]:
        """File → when decider first saw it; under ANY_DIGEST, times that are not settled yet."""

    # Audit

    def list_audit(
        self,
        *,
        since: datetime | None = None,
        actor: str | None = None,
        rule: str | None = None,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[AuditEntry]:
        """Entries oldest first, filtered."""

    def newest_audit_id(self) -> int:
        """The id of the last entry; 0 where there is none."""

    def iterate_audit(self) -> Iterator[AuditEntry]:
        """Every entry, oldest first."""

    def verify_audit(self) -> tuple[int, tuple[AuditFault, ...]]:
        """How many entries there are, and every fault of the chain."""


def open_store(url: str, *, path: str) -> Store:
    """The store that `url` names: "sqlite" (a database `decider.sqlite` in the folder `path`, made when missing),
    `redis://`, `rediss://` or `redis+sentinel://`; raise StoreUnavailable or InvalidSettings.
    """
    # Imported here: the modules need the types above, and a store that is not used need not be loaded.
    if url == "sqlite":
        from decider.store.sqlite import SqliteStore  # noqa: PLC0415

        return SqliteStore(Path(path) / "decider.sqlite")
    from decider.store.redis import RedisStore  # noqa: PLC0415
    from decider.store.redis_address import parse_address  # noqa: PLC0415

    return RedisStore(parse_address(url))
