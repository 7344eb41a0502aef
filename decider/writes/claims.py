"""Claims: a project first seen in an internal index is that index's from then on, though it be deleted there later."""

import fcntl
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec

from decider.errors import Conflict, PreconditionFailed, RecordNotFound, StoreUnavailable
from decider.names import NormalizedName
from decider.rules import Action, Rule, RuleDraft
from decider.store import Store

__all__ = ["CLAIMS", "ClaimQueue"]

log = logging.getLogger(__name__)

CLAIMS = "claims"  #: the ruleset of automatic ownership
ACTOR = "decider"
MAX_PENDING = 50_000  #: more are left out, and come back with the next request or look into the directory


class _Claim(msgspec.Struct, frozen=True):
    """Whose a name is to be, and where."""

    index: str
    repositories: frozenset[str] | None  #: None: everywhere

    def covers(self, repository: str) -> bool:
        return self.repositories is None or repository in self.repositories

    def is_contradicted_by(self, rule: Rule) -> bool:
        return (
            self.repositories is None
            or rule.repositories is None
            or not self.repositories.isdisjoint(rule.repositories)
        )


class ClaimQueue:
    """Claims that the store does not know yet."""

    def __init__(self, store: Store, *, clock: Callable[[], datetime], lock_file: Path | None) -> None:
        self._store = store
        self._clock = clock
        self._lock_file = lock_file
        self._lock = threading.Lock()
        self._claims: dict[NormalizedName, _Claim] = {}

    def add(
        self, index: str, projects: Iterable[NormalizedName], *, repositories: Iterable[str] | None
    ) -> bool:
        """Queue them, the first claim of a name counts; whether there is anything to write."""
        claim = _Claim(index, None if repositories is None else frozenset(repositories))
        with self._lock:
            for project in projects:
                if len(self._claims) < MAX_PENDING:
                    self._claims.setdefault(project, claim)
            return bool(self._claims)

    def claimant(self, project: NormalizedName, repository: str) -> str | None:
        """The index that claims the name; None where no claim is queued."""
        claim = self._claims.get(project)
        return claim.index if claim is not None and claim.covers(repository) else None

    def __len__(self) -> int:
        return len(self._claims)

    def write(self) -> None:
        """Write what is queued now; raise StoreUnavailable and keep it."""
        with self._lock:
            claims = dict(self._claims)
        if not claims:
            return
        with self._one_writer() as is_alone:
            if not is_alone:
                return  # the claims wait here, and are probably being written there
            self._write(claims)
        with self._lock:
            for project in claims:
                del self._claims[project]

    def _write(self, claims: Mapping[NormalizedName, _Claim]) -> None:
        """Add the names that no other active rule speaks of yet, in one transaction."""
        at = self._clock()
        revision, drafts = self._stored()
        taken = self._owned_by_hand(at)
        new = [
            project
            for project, claim in claims.items()
            if not any(claim.is_contradicted_by(rule) for rule in taken.get(project, ()))
        ]
        for project in new:
            drafts[project] = _claimed(project, claims[project], drafts.get(project), at=at)
        if not new:
            return
        try:
            change = self._store.replace_ruleset(
                CLAIMS, list(drafts.values()), actor=ACTOR, at=at, if_revision=revision
            )
        except PreconditionFailed as error:
            raise StoreUnavailable("another machine is claiming names at the same time") from error
        except Conflict as error:
            log.warning("claims.conflict", extra={"cause": str(error)})
            return
        if change.added or change.changed:
            log.info("claims.added", extra={"projects": sorted(new)[:20], "count": change.added})

    def _stored(self) -> tuple[int, dict[str, RuleDraft]]:
        """The revision of the ruleset, and its rules by project."""
        try:
            info, rules = self._store.get_ruleset(CLAIMS)
        except RecordNotFound:
            return 0, {}
        return info.revision, {rule.project: _as_draft(rule) for rule in rules}

    def _owned_by_hand(self, at: datetime) -> dict[str, list[Rule]]:
        """The active `own` rules outside the claims, by pattern."""
        owned: dict[str, list[Rule]] = {}
        cursor: str | None = None
        while True:
            page = self._store.list_rules(at=at, action=Action.OWN, active=True, limit=1000, cursor=cursor)
            for rule in page.items:
                if rule.ruleset != CLAIMS:
                    owned.setdefault(rule.project, []).append(rule)
            cursor = page.next
            if cursor is None:
                return owned

    @contextmanager
    def _one_writer(self) -> Iterator[bool]:
        """Whether no other process of this machine claims names just now: most would be the same."""
        if self._lock_file is None:
            yield True
            return
        with self._lock_file.open("a") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True


def _claimed(project: NormalizedName, claim: _Claim, before: RuleDraft | None, *, at: datetime) -> RuleDraft:
    """The rule for a claim; one there is already keeps its index, and holds again, and in more repositories."""
    if before is None:
        return RuleDraft(
            action=Action.OWN,
            project=project,
            index=claim.index,
            reason=f"first seen in index {claim.index}",
            repositories=_sorted(claim.repositories),
            key=project,
        )
    repositories = None
    if before.repositories is not None and claim.repositories is not None:
        repositories = claim.repositories | frozenset(before.repositories)
    is_over = before.expires_at is not None and before.expires_at <= at
    return msgspec.structs.replace(
        before, repositories=_sorted(repositories), expires_at=None if is_over else before.expires_at
    )


def _sorted(names: frozenset[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(sorted(names))


def _as_draft(rule: RuleDraft) -> RuleDraft:
    return RuleDraft(**{name: getattr(rule, name) for name in RuleDraft.__struct_fields__})
