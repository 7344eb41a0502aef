"""Which files that were asked for do rules refuse: the same evaluation as for pages, on what the records know.

Pure: files and rules in, a predicate or decision out. What the index says today is not asked, so a release that it has
withdrawn meanwhile is found too.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from decider.decision import FileDecision, decide_file
from decider.files import ANY_DIGEST, DistributionFile, FileIdentity
from decider.names import NormalizedName
from decider.rules import Action, Rule, Snapshot
from decider.usage.answers import SeenFile

__all__ = ["RECENT", "FirstSeenOf", "SeenJudge"]

RECENT = timedelta(days=30)  #: what a dry run looks back on


#: Index and project → when decider first saw those files of them that the index does not date (Store.first_seen).
FirstSeenOf = Callable[[str, NormalizedName], Mapping[FileIdentity, datetime]]
_Sights = Mapping[str, Mapping[str, datetime]]  # the same, by file name and digest


class SeenJudge:
    """Judges files that were asked for as they would be at one moment."""

    def __init__(self, *, at: datetime, first_seen_of: FirstSeenOf) -> None:
        """`first_seen_of` is asked as decisions ask it: only where a rule speaks of age and the index of none."""
        self._at = at
        self._ask = first_seen_of
        self._sights_of = lru_cache(maxsize=1_000)(self._by_name)  # files come project by project

    def decide(self, file: SeenFile, snapshot: Snapshot) -> FileDecision:
        """The decision that the rules of `snapshot` make."""
        return self._decide(file, _rules(snapshot, file))

    def refused_by(self, rule: Rule, snapshot: Snapshot) -> Callable[[SeenFile], bool]:
        """Whether this rule alone, but for the waivers of `snapshot`, refuses a file."""

        def is_refused(file: SeenFile) -> bool:
            rules = [rule, *(one for one in _rules(snapshot, file) if one.action is Action.ALLOW)]
            applies = rule.repositories is None or file.repository in rule.repositories
            return applies and self._decide(file, rules).verdict.is_refusal

        return is_refused

    def newly_refused(self, before: Snapshot, after: Snapshot) -> Callable[[SeenFile], bool]:
        """Whether a file is refused by the rules of `after` and was not by those of `before`."""

        def is_new(file: SeenFile) -> bool:
            return (
                self.decide(file, after).verdict.is_refusal
                and not self.decide(file, before).verdict.is_refusal
            )

        return is_new

    def _decide(self, file: SeenFile, rules: Sequence[Rule]) -> FileDecision:
        known = DistributionFile(
            filename=file.filename,
            url="",
            hashes={} if file.sha256 is None else {"sha256": file.sha256},
            upload_time=file.uploaded,
            provenance="" if file.attested else None,
        )
        project = NormalizedName(file.project)
        return decide_file(
            known,
            project=project,
            index=file.index or "",
            rules=rules,
            at=self._at,
            first_seen=self._first_seen(file, project, rules),
        )

    def _first_seen(self, file: SeenFile, project: NormalizedName, rules: Sequence[Rule]) -> datetime | None:
        is_asked = any(rule.younger_than or rule.uploaded_after for rule in rules)
        if not is_asked or file.uploaded is not None or file.index is None:
            return None
        return _sight_of(file, self._sights_of(file.index, project).get(file.filename, {}))

    def _by_name(self, index: str, project: NormalizedName) -> _Sights:
        sights: dict[str, dict[str, datetime]] = {}
        for file, at in self._ask(index, project).items():
            sights.setdefault(file.filename, {})[file.digest] = at
        return sights


def _sight_of(file: SeenFile, sights: Mapping[str, datetime]) -> datetime | None:
    """When these bytes were first seen, by the digests that were seen under the name; None: not known.

    Records know no digest but sha256. One without may be of any file that was listed without, so the latest counts.
    """
    if file.sha256 is not None:
        return sights.get(f"sha256:{file.sha256}", sights.get(ANY_DIGEST))
    return max((at for digest, at in sights.items() if not digest.startswith("sha256:")), default=None)


def _rules(snapshot: Snapshot, file: SeenFile) -> tuple[Rule, ...]:
    digests = frozenset() if file.sha256 is None else frozenset({file.sha256})
    return snapshot.rules_for(NormalizedName(file.project), file.repository, sha256=digests)
