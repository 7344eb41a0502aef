"""Keeps each repository's list up to date: made anew when an index's list or a rule about whole projects has changed.

What a list is made of is told by a key, and the list by the digest of its names; so the same names made anew are the
same list, to nginx and to clients. Uniting lists may not be added here.
"""

import fcntl
import threading
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import msgspec

from decider.errors import ChildFailed
from decider.index.folders import Sweeper, make_folder, write_whole
from decider.index.project_names import ProjectNames, write_names
from decider.index.sharing import Flights, WaitingRoom
from decider.names import NormalizedName
from decider.project_lists.union import UnionJob, unite, unite_here
from decider.rules import Action, Rule, Snapshot

__all__ = ["RepositoryLists"]

MAX_WAITING = 8  #: threads of a process that wait for a list that is being made
SMALL = 20_000  #: names that a worker handles itself, which is faster than to start a child and leaves nothing behind
_SWEEP_INTERVAL_S = 60.0
_REFUSALS = frozenset({Action.BLOCK, Action.HOLD})

_Names = AbstractSet[NormalizedName]


class _Rules(msgspec.Struct, frozen=True, kw_only=True):
    """Those rules of a snapshot that can take a name out of a list."""

    snapshot: Snapshot
    rules: tuple[Rule, ...]
    digest: str
    ending: tuple[Rule, ...]  #: those of them that end by time

    def key(self, at: datetime) -> str:
        """What of them is in force."""
        return f"{self.digest} {' '.join(rule.id for rule in self.ending if rule.is_active(at))}"


class RepositoryLists:
    """The lists of all repositories; safe to share between threads, and with other processes on the same folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._rules: dict[bool, _Rules] = {}
        self._digests: dict[str, tuple[_Names, str]] = {}
        self._made: dict[str, tuple[str, ProjectNames]] = {}
        self._flights: Flights[str, ProjectNames] = Flights()
        self._room = WaitingRoom(MAX_WAITING)
        self._sweepers: dict[str, Sweeper] = {}

    def names(
        self,
        repository: str,
        lists: Mapping[str, _Names],
        snapshot: Snapshot,
        *,
        hide_refused: bool,
        at: datetime,
    ) -> ProjectNames:
        """The names of `repository`, whose indexes have `lists`; raise ChildFailed when they cannot be had now."""
        rules = self._rules_of(snapshot, hide_refused=hide_refused)
        digests = {index: self._digest(index, names) for index, names in lists.items()}
        key = sha256(msgspec.json.encode((repository, hide_refused, digests, rules.key(at)))).hexdigest()
        made = self._made.get(repository)
        if made is not None and made[0] == key:
            return made[1]
        with self._room.place() as has_place:
            if not has_place:
                raise ChildFailed(__name__, "is asked for the project list by too many at once")
            found = self._flights.share(
                f"{repository} {key}",
                lambda: (
                    self._kept(repository, key)
                    or self._make(repository, key, lists, rules.rules, hide_refused=hide_refused, at=at)
                ),
            )
        self._made[repository] = (key, found)
        return found

    # -- What a list depends on

    def _rules_of(self, snapshot: Snapshot, *, hide_refused: bool) -> _Rules:
        known = self._rules.get(hide_refused)
        if known is None or known.snapshot is not snapshot:
            known = self._rules[hide_refused] = _select(snapshot, hide_refused=hide_refused)
        return known

    def _digest(self, index: str, names: _Names) -> str:
        if isinstance(names, ProjectNames):
            return names.digest
        known = self._digests.get(index)
        if known is None or known[0] != names:
            digest = sha256("\n".join(sorted(names)).encode()).hexdigest()
            known = self._digests[index] = (names, digest)
        return known[1]

    # -- Making

    def _kept(self, repository: str, key: str) -> ProjectNames | None:
        """The list that this or another process has made for that key; None where there is none."""
        folder = self._folder / repository
        try:
            return ProjectNames(folder, (folder / f"{key}.key").read_text(encoding="ascii"))
        except (OSError, UnicodeDecodeError):
            return None

    def _make(
        self,
        repository: str,
        key: str,
        lists: Mapping[str, _Names],
        rules: tuple[Rule, ...],
        *,
        hide_refused: bool,
        at: datetime,
    ) -> ProjectNames:
        folder = self._folder / repository
        make_folder(folder)
        with self._one_maker(folder):
            kept = self._kept(repository, key)
            if kept is not None:
                return kept
            sources = {index: _on_disk(folder, names) for index, names in lists.items()}
            job = UnionJob(
                repository=repository,
                sources=sources,
                rules=rules,
                hide_refused=hide_refused,
                at=at,
                folder=str(folder),
            )
            is_small = sum(map(len, lists.values())) <= SMALL
            digest = unite_here(job) if is_small else unite(job)
            write_whole(folder / f"{key}.key", digest.encode("ascii"))
        self._sweep(repository, {f"{key}.key", f"{digest}.names", "lock"}, at)
        return ProjectNames(folder, digest)

    def _sweep(self, repository: str, wanted: set[str], at: datetime) -> None:
        with self._lock:
            sweeper = self._sweepers.setdefault(
                repository, Sweeper(self._folder / repository, interval_s=_SWEEP_INTERVAL_S)
            )
            sweeper.sweep(wanted, now=at.timestamp())

    @contextmanager
    def _one_maker(self, folder: Path) -> Iterator[None]:
        """Keep the processes of a machine from making the same list at the same time."""
        with (folder / "lock").open("a") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _select(snapshot: Snapshot, *, hide_refused: bool) -> _Rules:
    rules = tuple(rule for rule in snapshot if _can_take_out(rule, hide_refused=hide_refused))
    facts = sorted((rule.id, rule.revision) for rule in rules)
    return _Rules(
        snapshot=snapshot,
        rules=rules,
        digest=sha256(msgspec.json.encode(facts)).hexdigest(),
        ending=tuple(rule for rule in rules if rule.expires_at is not None),
    )


def _can_take_out(rule: Rule, *, hide_refused: bool) -> bool:
    if rule.action is Action.OWN:
        return True
    refuses = rule.action in _REFUSALS and rule.is_project_level
    return hide_refused and (refuses or rule.action is Action.ALLOW)


def _on_disk(folder: Path, names: _Names) -> tuple[str, str]:
    """Where a child finds the names: folder and digest."""
    if isinstance(names, ProjectNames):
        return str(names.folder), names.digest
    return str(folder), write_names(folder, names)
