"""How long questions about many recorded requests take, each with the start of its query process."""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from decider.rules import Snapshot
from decider.settings import Settings
from decider.usage.columns import Row
from decider.usage.exposure import SeenJudge
from decider.usage.filters import UsageFilter, rule_condition
from decider.usage.keeping import Keeper
from decider.usage.reading import Usage
from decider.usage.records import to_micros
from tests.benchmarks.bench import Bench, interleaved
from tests.benchmarks.figures import Cell, Figure, Table
from tests.samples import make_rule
from tests.usage_samples import AT, UV, make_row, settings_of, stage

__all__ = ["measure_usage_queries"]

_PROJECTS = 5_000
_POPULAR = UsageFilter(project="project-1", version="3.3")
_RARE = UsageFilter(project="project-77", version="3.3")


def measure_usage_queries(bench: Bench) -> Table:
    """Records as a collector leaves them, sealed by day; asked through the door of API and command line."""
    scale = bench.scale
    with TemporaryDirectory(dir=bench.folder) as folder:
        settings = settings_of(Path(folder))
        begun = time.perf_counter()
        stage(Path(folder), _rows(scale.usage_records, scale.usage_days))
        staged = time.perf_counter()
        keeper = Keeper(Path(folder) / "usage", Path(folder) / "usage", retention_days=365, max_size=2**40)
        keeper.keep(AT + timedelta(days=1))
        sealed = time.perf_counter()
        files = list(Path(folder).rglob("*.parquet"))
        size = sum(path.stat().st_size for path in files)
        measures = {name: partial(_seconds, ask) for name, ask in _questions(settings).items()}
        found = interleaved(measures, scale.repetitions)
    note = (
        f"{scale.usage_records:,} records of {scale.usage_days} days: staged in {staged - begun:.0f} s, sealed in "
        f"{sealed - staged:.0f} s, {len(files)} files, {size / scale.usage_records:.1f} bytes a record."
    )
    rows: list[Sequence[Cell]] = [[name, Figure(tuple(times), "s")] for name, times in found.items()]
    return Table("Questions about recorded requests", ["", "seconds"], rows, [note])


def _questions(settings: Settings) -> Mapping[str, Callable[[], object]]:
    usage = Usage(settings)
    rule = make_rule(1, "block", "project-7", versions="<5")
    wide = make_rule(2, "block", "*", sha256=_digest("project-7", "3.3"))
    judge = SeenJudge(at=AT, first_seen_of=lambda *_: {})
    alone, among = (judge.refused_by(one, Snapshot(1, [one])) for one in (rule, wide))
    return {
        "by project and version, a popular one": lambda: usage.records(_POPULAR),
        "by project and version, a rare one": lambda: usage.records(_RARE),
        "counted by client, of one release": lambda: usage.counts(_POPULAR, ["client"]),
        "counted by project, of everything": lambda: usage.counts(UsageFilter(), ["project"]),
        "the newest 100 of everything": lambda: usage.records(UsageFilter()),
        "exposure of a rule about one project": lambda: usage.exposure([rule.project], alone),
        "exposure of a digest, whatever the project": lambda: usage.exposure(
            ["*"], among, among=rule_condition(wide, at=AT)
        ),
    }


def _seconds(ask: Callable[[], object]) -> float:
    begun = time.perf_counter()
    ask()
    return time.perf_counter() - begun


def _rows(count: int, days: int) -> Iterator[Row]:
    """Requests of so many days, oldest first; projects as unevenly asked for as they are."""
    chance = random.Random(1)
    kinds = [make_row(), make_row(agent=UV)]
    length = timedelta(days=days) - timedelta(hours=12)
    start = to_micros(AT - length)
    step = length // timedelta(microseconds=1) // count
    for number in range(count):
        project = f"project-{min(int(chance.paretovariate(0.7)), _PROJECTS)}"
        version = f"{chance.randint(0, 9)}.{chance.randint(0, 9)}"
        yield msgspec.structs.replace(
            kinds[number % 2],
            at=start + number * step,
            project=project,
            version=version,
            filename=f"{project.replace('-', '_')}-{version}-py3-none-any.whl",
            sha256=_digest(project, version),
            client=f"10.{chance.randint(0, 3)}.{chance.randint(0, 255)}.{chance.randint(0, 255)}",
            bytes=chance.randint(1_000, 5_000_000),
        )


def _digest(project: str, version: str) -> str:
    return sha256(f"{project} {version}".encode()).hexdigest()
