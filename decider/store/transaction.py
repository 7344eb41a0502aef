"""One change of the store as both implementations see it: reads and writes that take effect together or not at all.

What a change means is written once, in `changes` and `records`, against this interface. Inside a transaction reads
come before writes: a read need not see what the same transaction wrote, but for the state.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, Protocol

from decider.files import FileIdentity
from decider.rules import Rule
from decider.store import AuditEntry, RulesetInfo, Token
from decider.store.audit import START, Head
from decider.store.encoding import SeenFiles, StoredReview, StoredToken
from decider.store.ids import Kind

__all__ = ["MAX_TOMBSTONES", "TOUCH_EVERY", "Record", "ReviewSubject", "State", "Transaction"]

MAX_TOMBSTONES = 10_000  #: removals that are remembered for those who only ask what changed
TOUCH_EVERY = timedelta(minutes=1)  #: how fine the times are at which tokens were used


class ReviewSubject(NamedTuple):
    """What a review is about: there is at most one open review of a subject."""

    project: str
    filename: str
    repository: str
    rule: str


@dataclass(slots=True)
class State:
    """What a store counts; changed in memory, stored when the transaction takes effect."""

    revision: int = 0
    floor: int = 0  #: removals up to this revision may be forgotten
    rule: int = 0  #: number of the last rule, as the next two
    review: int = 0
    token: int = 0
    audit_id: int = START.id
    audit_hash: str = START.hash

    @property
    def audit_head(self) -> Head:
        """The last audit entry."""
        return Head(self.audit_id, self.audit_hash)

    @audit_head.setter
    def audit_head(self, head: Head) -> None:
        self.audit_id, self.audit_hash = head

    def raise_revision(self) -> int:
        """The next revision, from now on the present one."""
        self.revision += 1
        return self.revision

    def take_numbers(self, kind: Kind, count: int) -> range:
        """The next `count` numbers of a counter; never given again once the transaction took effect."""
        last: int = getattr(self, kind)
        setattr(self, kind, last + count)
        return range(last + 1, last + count + 1)


Record = (
    State | RulesetInfo | Rule | StoredToken | StoredReview | SeenFiles | AuditEntry
)  #: what a store holds


class Transaction(Protocol):
    """Reads and writes of one change."""

    state: State

    # Rules

    def find_rule(self, rule_id: str) -> Rule | None:
        """The rule, or None."""

    def rules_in(self, ruleset: str) -> Sequence[Rule]:
        """The rules of a ruleset, oldest first."""

    def own_rules(self, project: str | None) -> Sequence[Rule]:
        """All `own` rules, or those whose pattern is spelled `project`, expired ones too."""

    def put_rules(self, rules: Iterable[Rule], *, before: Sequence[Rule] = ()) -> None:
        """Store rules; `before` are the stored ones among them, as they were."""

    def drop_rules(self, rules: Sequence[Rule], revision: int) -> None:
        """Remove stored rules and remember that they went with `revision`."""

    def find_ruleset(self, name: str) -> RulesetInfo | None:
        """The ruleset, or None."""

    def put_ruleset(self, info: RulesetInfo) -> None:
        """Store what is known of a ruleset."""

    def drop_ruleset(self, name: str) -> None:
        """Forget a ruleset that has no rules left."""

    # Tokens

    def tokens(self) -> Sequence[Token]:
        """All tokens, oldest first."""

    def has_secret(self, secret_hash: str) -> bool:
        """Whether a token of that hash is stored, revoked ones included."""

    def put_token(self, token: Token, secret_hash: str | None = None) -> None:
        """Store a token; `secret_hash` only with a new one."""

    # Reviews

    def find_review(self, review_id: str) -> StoredReview | None:
        """The review, or None."""

    def review_of(self, subject: ReviewSubject) -> StoredReview | None:
        """The latest review of the subject, or None."""

    def put_review(self, stored: StoredReview, before: StoredReview | None) -> None:
        """Store a review; `before` is the stored one, as it was."""

    # First-seen times

    def first_seen(self, index: str, project: str) -> Mapping[FileIdentity, datetime]:
        """See Store.first_seen."""

    def put_first_seen(self, seen: SeenFiles) -> None:
        """Store the times of those files that have none yet."""

    def drop_first_seen(self, index: str, project: str, files: Iterable[FileIdentity]) -> None:
        """Forget the times of these files."""

    # Audit

    def append_audit(self, entry: AuditEntry) -> None:
        """Append the entry that follows the head, and make it the head."""
