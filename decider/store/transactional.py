# ruff: noqa: D102 (what the methods promise is said once, in `Store`)
"""The half of a store that both implementations share: every change, and reads of single records.

An implementation brings `write` and `read`, which run a function inside a transaction, and the listings.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import TypeVar

from decider.errors import RecordNotFound
from decider.files import FileIdentity
from decider.rules import Rule, RuleDraft
from decider.store import (
    Review,
    ReviewState,
    Role,
    RulesetChange,
    RulesetInfo,
    Store,
    Token,
    changes,
    records,
)
from decider.store.transaction import Record, ReviewSubject, Transaction

__all__ = ["TransactionalStore"]

T = TypeVar("T")


class TransactionalStore(Store):
    """Changes and single records, by means of transactions."""

    @abstractmethod
    def write(self, change: Callable[[Transaction], T]) -> T:
        """Run `change` and return its result once what it wrote is durable; raise with nothing written.

        It may run several times, so it may not act on anything but the transaction.
        """

    @abstractmethod
    def read(self, question: Callable[[Transaction], T]) -> T:
        """Run `question` on one consistent state; what it writes is thrown away."""

    @abstractmethod
    def dump(self) -> Iterator[Record]:
        """Everything that is stored, of one moment: the state, then rulesets, rules and all else, audit last."""

    def get_rule(self, rule_id: str) -> Rule:
        return _found(self.read(lambda tx: tx.find_rule(rule_id)), "rule", rule_id)

    def add_rule(self, draft: RuleDraft, *, actor: str, at: datetime, ruleset: str = "manual") -> Rule:
        return self.write(lambda tx: changes.add_rule(tx, draft, ruleset=ruleset, actor=actor, at=at))

    def change_rule(
        self, rule_id: str, draft: RuleDraft, *, actor: str, at: datetime, if_revision: int | None = None
    ) -> Rule:
        return self.write(
            lambda tx: changes.change_rule(tx, rule_id, draft, actor=actor, at=at, if_revision=if_revision)
        )

    def remove_rule(
        self,
        rule_id: str,
        *,
        actor: str,
        at: datetime,
        reason: str | None = None,
        if_revision: int | None = None,
    ) -> None:
        self.write(
            lambda tx: changes.remove_rule(
                tx, rule_id, actor=actor, at=at, reason=reason, if_revision=if_revision
            )
        )

    def get_ruleset(self, name: str) -> tuple[RulesetInfo, tuple[Rule, ...]]:
        info, rules = self.read(lambda tx: (tx.find_ruleset(name), tx.rules_in(name)))
        return _found(info, "ruleset", name), tuple(rules)

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
        run = self.read if dry_run else self.write
        return run(
            lambda tx: changes.replace_ruleset(
                tx, name, drafts, actor=actor, at=at, if_revision=if_revision, dry_run=dry_run
            )
        )

    def remove_ruleset(self, name: str, *, actor: str, at: datetime, if_revision: int | None = None) -> None:
        self.write(lambda tx: changes.remove_ruleset(tx, name, actor=actor, at=at, if_revision=if_revision))

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
        return self.write(
            lambda tx: records.add_token(
                tx, name, role, secret_hash, actor=actor, at=at, expires_at=expires_at
            )
        )

    def newest_audit_id(self) -> int:
        return self.read(lambda tx: tx.state.audit_head).id

    def list_tokens(self) -> tuple[Token, ...]:
        return tuple(self.read(lambda tx: tx.tokens()))

    def revoke_token(self, name_or_id: str, *, actor: str, at: datetime) -> Token:
        return self.write(lambda tx: records.revoke_token(tx, name_or_id, actor=actor, at=at))

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
        subject = ReviewSubject(project, filename, repository, rule)
        return self.write(
            lambda tx: records.request_review(tx, subject, version=version, client=client, at=at, count=count)
        )

    def get_review(self, review_id: str) -> Review:
        return _found(self.read(lambda tx: tx.find_review(review_id)), "review", review_id).review

    def decide_review(
        self, review_id: str, state: ReviewState, draft: RuleDraft, *, reason: str, actor: str, at: datetime
    ) -> tuple[Review, Rule]:
        return self.write(
            lambda tx: records.decide_review(tx, review_id, state, draft, reason=reason, actor=actor, at=at)
        )

    def note_first_seen(
        self, index: str, project: str, files: Iterable[FileIdentity], *, at: datetime
    ) -> None:
        listed = tuple(files)
        if not records.is_noted(self.first_seen(index, project).keys(), listed):
            self.write(lambda tx: records.note_first_seen(tx, index, project, listed, at=at))


def _found(record: T | None, kind: str, key: str) -> T:
    if record is None:
        raise RecordNotFound(kind, key)
    return record
