"""What every part of a run shares: how much to do, the index, plain nginx, deciders."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.benchmarks.load import GZIP, HTML, JSON, OneClient
from tests.benchmarks.nginx_servers import PlainNginx, StandIn
from tests.benchmarks.recording import Recording
from tests.stack import Stack, system_trust

__all__ = ["FULL", "SMOKE", "Bench", "Scale", "interleaved"]


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    cases: int  #: kinds of pages, of files
    load_s: int  #: of one run of wrk
    repetitions: int
    tools: Sequence[str]  #: installers
    installs: int  #: repetitions of each installation
    projects: int  #: cold pages
    cold_files: int  #: large ones, at once
    rules: Sequence[int]  #: numbers of rules that decisions are timed with
    workers: Sequence[int]  #: of the decider, that uncached decisions are counted with
    blocks: int  #: rules
    nodes: Sequence[int]  #: that have to refuse what is blocked
    clients: int  #: light ones, at once
    resolves: int  #: real ones, at once
    mixed_requests: int
    soak_steps: int
    soak_step_s: int
    usage_records: int
    usage_days: int
    share_decider: bool  #: one for all parts that take a usual one: neither fresh nor cold, and started once


FULL = Scale(
    cases=10,
    load_s=1,
    repetitions=5,
    tools=("uv", "pip"),
    installs=3,
    projects=40,
    cold_files=200,
    rules=(10, 1_000, 100_000, 1_000_000),
    workers=(1, 2, 4),
    blocks=100,
    nodes=(1, 2),
    clients=500,
    resolves=16,
    mixed_requests=500_000,
    soak_steps=10,
    soak_step_s=60,
    usage_records=1_000_000,
    usage_days=30,
    share_decider=False,
)
SMOKE = Scale(
    cases=1,
    load_s=1,
    repetitions=1,
    tools=("uv",),
    installs=1,
    projects=3,
    cold_files=3,
    rules=(10, 1_000),
    workers=(1,),
    blocks=3,
    nodes=(1,),
    clients=20,
    resolves=2,
    mixed_requests=1_000,
    soak_steps=1,
    soak_step_s=3,
    usage_records=1_000,
    usage_days=1,
    share_decider=True,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run."""

    folder: Path  #: of this run, removed after it
    cache: Path  #: kept between runs
    scale: Scale
    recording: Recording
    stand_in: StandIn
    plain: PlainNginx
    opened: ExitStack  #: closed when the run ends
    shared: list[Stack] = field(default_factory=list)

    @contextmanager
    def decider(self, *, workers: int = 2, top: str = "") -> Iterator[Stack]:
        """A decider with empty caches, in front of the stand-in."""
        is_usual = workers == 2 and not top
        if self.scale.share_decider and is_usual:
            if not self.shared:
                self.shared.append(self._stack(workers, top))
                self.opened.callback(self.shared[0].close)
                self.shared[0].start()
            yield self.shared[0]
            return
        stack = self._stack(workers, top)
        try:
            stack.start()
            yield stack
        finally:
            stack.close()

    def _stack(self, workers: int, top: str) -> Stack:
        return Stack(
            index_url=self.stand_in.url,
            workers=workers,
            top=top,
            # Pages stay as they are while a part runs, whatever the machine is busy with.
            index='page_ttl = "1h"',
            environment=system_trust(self.stand_in.ca_file),
        )

    def publish(self, stack: Stack, projects: Sequence[str], files: Mapping[str, Sequence[str]]) -> None:
        """Give plain nginx, byte for byte, the pages and files that decider serves."""
        client = OneClient(stack.port)
        for project in projects:
            for accept, name in ((JSON, "index.json"), (HTML, "index.html")):
                target = self.plain.site / "simple" / project / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(client.get(f"/simple/{project}/", accept)[0])
                packed = client.get(f"/simple/{project}/", {**accept, **GZIP})[0]
                target.with_suffix(f"{target.suffix}.gz").write_bytes(packed)
        for project, names in files.items():
            for name in names:
                target = self.plain.site / "files" / project / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(client.get(f"/files/{project}/{name}", {})[0])
        client.close()


def interleaved(measures: Mapping[str, Callable[[], T]], repetitions: int) -> dict[str, list[T]]:
    """Each measured so many times, taking turns: A B C A B C …"""
    found: dict[str, list[T]] = {name: [] for name in measures}
    for _ in range(repetitions):
        for name, measure in measures.items():
            found[name].append(measure())
    return found
