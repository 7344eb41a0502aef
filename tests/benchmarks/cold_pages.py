"""Pages that nobody has asked for yet, and where their time goes."""

import time
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from decider.decision import decide_page, list_page
from decider.names import NormalizedName
from decider.pages import PageFormat, parse_page, render_page
from decider.rules import Snapshot
from decider.run_files import INDEXES_SOCKET
from decider.unix_sockets import UnixPool
from decider.web.exchange import pack
from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Cell, Figure, Table, percentile
from tests.benchmarks.load import GZIP, JSON, OneClient

__all__ = ["measure_cold_pages"]

T = TypeVar("T")


def measure_cold_pages(bench: Bench) -> Table:
    """One client, one page after the other, every cache empty."""
    sizes = list(bench.recording.sizes.values())
    others = [name for name in bench.recording.projects if name not in sizes]
    projects = [*sizes, *others][: bench.scale.projects]
    asked = {**JSON, **GZIP}
    found: dict[str, list[float]] = {}

    def note(step: str, taken_ms: float) -> None:
        found.setdefault(step, []).append(taken_ms)

    index = OneClient(bench.stand_in.port)
    bench.plain.forget()
    plain = OneClient(bench.plain.mirror)
    with bench.decider() as stack, bench.decider() as other:
        decider = OneClient(stack.port)
        behind = UnixPool(other.data_dir / INDEXES_SOCKET, connections=1)
        # A page of its own warms connections and code; what is measured is new to every cache.
        for client in (index, plain, decider):
            client.get("/simple/bench-files/", asked)
        _fetch(behind, "bench-files", bench.stand_in.url)
        for project in projects:
            packed, taken_ms = index.get(f"/simple/{project}/", asked)
            note("index itself", taken_ms)
            note("plain nginx, first request", plain.get(f"/simple/{project}/", asked)[1])
            note("decider, first request", decider.get(f"/simple/{project}/", asked)[1])
            note("decider, second request", decider.get(f"/simple/{project}/", asked)[1])
            note("- nginx and fetcher: from the index", _fetch(behind, project, bench.stand_in.url))
            _take_apart(project, packed, bench.stand_in.url, note)
        for client in (index, plain, decider):
            client.close()
        behind.close()
    rows: list[Sequence[Cell]] = [
        [step, Figure(tuple(taken)), Figure((percentile(taken, 95),))] for step, taken in found.items()
    ]
    added = [
        whole - itself
        for whole, itself in zip(found["decider, first request"], found["index itself"], strict=True)
    ]
    rows.append(["decider above the index itself", Figure(tuple(added)), Figure((percentile(added, 95),))])
    note_text = (
        f"{len(projects)} projects, milliseconds. Steps begin with a dash; each was timed on its own, those after "
        "the fetch inside this process."
    )
    return Table("Cold project pages", ["", "ms", "p95 ms"], rows, [note_text])


def _fetch(behind: UnixPool, project: str, source: str) -> float:
    """Milliseconds for an index's page, as the decider asks nginx for it."""
    start = time.perf_counter()
    sent = {"Accept-Encoding": "identity", "X-Decider-Source": source}
    answer = behind.request("GET", f"/indexes/public/{project}/", headers=sent, decode_content=False)
    assert answer.status == 200, answer.status
    return (time.perf_counter() - start) * 1_000


def _take_apart(project: str, packed: bytes, url: str, note: Callable[[str, float], None]) -> None:
    """What the decider does with a page, step by step."""

    def timed(step: str, run: Callable[[], T]) -> T:
        start = time.perf_counter()
        value = run()
        note(step, (time.perf_counter() - start) * 1_000)
        return value

    name = NormalizedName(project)
    body = timed("- unpack", lambda: zlib.decompress(packed, 31))
    parsed = timed(
        "- parse",
        lambda: parse_page(
            body,
            content_type=JSON["Accept"],
            url=f"{url}{project}/",
            index="public",
            project=name,
            is_allowed_host=lambda _: True,
        ),
    )
    snapshot = Snapshot(1, ())
    decision = timed(
        "- decide",
        lambda: decide_page([parsed.page], snapshot, repository="default", at=datetime.now(UTC)),
    )
    listing, private = timed("- list", lambda: list_page(decision, hide_refused=False))
    rendered = timed("- render", lambda: render_page(listing, PageFormat.JSON, private=private))
    timed("- compress", lambda: pack(rendered))
