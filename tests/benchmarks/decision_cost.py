"""What a decision costs: `python -m tests.benchmarks.decision_cost`; DESIGN section 9 has the numbers to reach.

Not collected by pytest: figures of a busy machine are no test. A ratio compares two runs on the same machine.
"""

import gc
import statistics
import time
import tracemalloc
from collections.abc import Callable, Iterable
from datetime import timedelta
from functools import partial

from decider.decision import decide_one, decide_page, list_page, page_fingerprint
from decider.files import DistributionFile, ProjectPage
from decider.names import NormalizedName
from decider.rules import Rule, Snapshot
from tests.samples import AT, make_page, make_rule

MANY = 100_000
RUNS = 2_000
BIG = NormalizedName("big-project")


def others(count: int) -> list[Rule]:
    """Rules about other projects: names, prefixes of many lengths, namespaces, digests."""
    return [make_rule(100 + number, "block", versions="<2", **_about(number)) for number in range(count)]


def _about(number: int) -> dict[str, str]:
    kinds = (
        {"project": f"project-{number}"},
        {"project": f"{'p' * (number // 4 % 150)}{number}*"},
        {"project": f"acme-{number}-*"},
        {"project": "*", "sha256": f"{number:064x}"},
    )
    return kinds[number % len(kinds)]


def own() -> list[Rule]:
    """Rules about the project that is asked for."""
    return [
        make_rule(1, "hold", "*", younger_than="7d"),
        make_rule(2, "block", "big-*", versions="==1.7"),
        make_rule(3, "block", "big-project", versions=">=3,<3.5"),
        make_rule(4, "allow", "big-project", filename="big_project-3.1.*", lifts=("r3",)),
        make_rule(5, "yank", "big*", file_type="sdist", versions="<0.5"),
    ]


def big_page(files: int = 4_300) -> ProjectPage:
    return make_page(
        *(
            DistributionFile(
                filename=f"big_project-{number // 480}.{number // 12 % 40}-cp3{number % 12}-none-any.whl",
                url=f"https://files.example/{number}.whl",
                hashes={"sha256": f"{number * 7919:064x}"},
                upload_time=AT - timedelta(days=files - number) / 4,
            )
            for number in range(files)
        ),
        project=BIG,
    )


def timings(run: Callable[[], object], runs: int = RUNS) -> list[float]:
    """Milliseconds of each run, sorted."""
    taken = []
    for _ in range(runs):
        start = time.perf_counter()
        run()
        taken.append((time.perf_counter() - start) * 1_000)
    return sorted(taken)


def show(what: str, taken: list[float]) -> float:
    p99 = taken[len(taken) * 99 // 100]
    print(f"{what:58} median {statistics.median(taken):8.4f} ms   p99 {p99:8.4f} ms")
    return statistics.median(taken)


def compiled(rules: Iterable[Rule]) -> Snapshot:
    start = time.perf_counter()
    snapshot = Snapshot(1, rules)
    print(f"{'compile ' + str(len(snapshot)) + ' rules':58} {time.perf_counter() - start:15.3f} s")
    return snapshot


def main() -> None:
    page = big_page()
    many = others(MANY)
    few, full = compiled([*many[:10], *own()]), compiled([*many, *own()])
    gc.collect()
    tracemalloc.start()
    rules = [*others(MANY), *own()]
    snapshot = Snapshot(1, rules)
    print(f"{'rules and snapshot in memory':58} {tracemalloc.get_traced_memory()[0] / 1e6:15.1f} MB")
    tracemalloc.stop()
    del rules, snapshot
    show(
        "take one changed rule in", timings(partial(full.updated, 2, [make_rule(500, "block")], ["r900"]), 50)
    )
    name = page.files[3_000].filename
    medians = [
        show(
            f"{len(snapshot):6} rules: one file",
            timings(partial(decide_one, [page], name, snapshot, repository="default", at=AT)),
        )
        for snapshot in (few, full)
    ]
    print(f"{'the same, ratio':58} {medians[1] / medians[0]:15.2f}")
    for snapshot in (Snapshot(1, many[:10]), few, full):
        show(
            f"{len(snapshot):6} rules: fingerprint of 4,300 files",
            timings(partial(page_fingerprint, [page], snapshot, repository="default", at=AT), 500),
        )
        show(
            f"{len(snapshot):6} rules: decide and list 4,300 files",
            timings(partial(listed, page, snapshot), 30),
        )


def listed(page: ProjectPage, snapshot: Snapshot) -> object:
    return list_page(decide_page([page], snapshot, repository="default", at=AT), hide_refused=False)


if __name__ == "__main__":
    main()
