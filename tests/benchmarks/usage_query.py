"""How long questions about 1,000,000 requests take: `python -m tests.benchmarks.usage_query [--records N]`.

Makes the records as a collector leaves them (sealed by day, over 30 days, projects as unevenly asked for as they are),
then asks through the same door as API and command line, the start of the query process included.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec

from decider.rules import Snapshot
from decider.usage import keeping
from decider.usage.columns import Row
from decider.usage.exposure import refused_by
from decider.usage.filters import UsageFilter, rule_condition
from decider.usage.keeping import Keeper
from decider.usage.reading import Usage
from decider.usage.records import to_micros
from tests.samples import make_rule
from tests.usage_samples import AT, UV, make_row, settings_of, stage

DAYS = 30
PROJECTS = 5_000
RUNS = 5


def rows(count: int) -> Iterator[Row]:
    """Requests of 30 days, oldest first."""
    chance = random.Random(1)
    kinds = [make_row(), make_row(agent=UV)]
    start = to_micros(AT - timedelta(days=DAYS - 1))
    step = timedelta(days=DAYS - 1) // timedelta(microseconds=1) // count
    for number in range(count):
        project = f"project-{min(int(chance.paretovariate(0.7)), PROJECTS)}"
        version = f"{chance.randint(0, 9)}.{chance.randint(0, 9)}"
        yield msgspec.structs.replace(
            kinds[number % 2],
            at=start + number * step,
            project=project,
            version=version,
            filename=f"{project.replace('-', '_')}-{version}-py3-none-any.whl",
            sha256=f"{hash((project, version)) & (1 << 256) - 1:064x}",
            client=f"10.{chance.randint(0, 3)}.{chance.randint(0, 255)}.{chance.randint(0, 255)}",
            bytes=chance.randint(1_000, 5_000_000),
        )


def timed(what: str, ask: Callable[[], object]) -> None:
    times = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        ask()
        times.append(time.perf_counter() - begun)
    print(f"{what:<44} median {median(times):.2f} s, slowest {max(times):.2f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        settings = settings_of(Path(folder))
        usage = Usage(settings)
        begun = time.perf_counter()
        stage(Path(folder), rows(options.records))
        staged = time.perf_counter()
        keeper = Keeper(Path(folder) / "usage", Path(folder) / "usage", retention_days=365, max_size=2**40)
        keeper.keep(AT + timedelta(days=1))
        files = list(Path(folder).rglob("*.parquet"))
        size = sum(path.stat().st_size for path in files)
        print(
            f"{options.records} records: staged in {staged - begun:.0f} s, sealed in"
            f" {time.perf_counter() - staged:.0f} s, {len(files)} files,"
            f" {size / options.records:.1f} bytes a record"
        )
        assert len(files) == DAYS or options.records > keeping.MAX_ROWS
        popular = UsageFilter(project="project-1", version="3.3")
        rare = UsageFilter(project="project-77", version="3.3")
        rule = make_rule(1, "block", "project-7", versions="<5")
        is_meant = refused_by(rule, Snapshot(1, [rule]), at=AT)
        timed("by project and version, a popular one", lambda: usage.records(popular))
        timed("by project and version, a rare one", lambda: usage.records(rare))
        timed("counted by client, of one release", lambda: usage.counts(popular, ["client"]))
        timed("counted by project, of everything", lambda: usage.counts(UsageFilter(), ["project"]))
        timed("the newest 100 of everything", lambda: usage.records(UsageFilter()))
        timed("exposure of a rule about one project", lambda: usage.exposure([rule.project], is_meant))
        digest = next(usage.export(UsageFilter(project="project-7"))).sha256
        wide = make_rule(2, "block", "*", sha256=digest)
        timed(
            "exposure of a digest, whatever the project",
            lambda: usage.exposure(
                ["*"], refused_by(wide, Snapshot(1, [wide]), at=AT), among=rule_condition(wide, at=AT)
            ),
        )


if __name__ == "__main__":
    main()
