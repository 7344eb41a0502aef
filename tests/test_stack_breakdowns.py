"""What no test of one part can break: the disk under everything, all processes at once, the store's own file."""

import itertools
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.fake_index import FakeIndex
from tests.stack import PROMISE_S, Stack, eventually
from tests.uploads import Distribution, make_wheel

pytestmark = pytest.mark.stack

MB = 1024 * 1024
BACK_S = 30.0

_fillers = itertools.count()


# A full disk


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[Path]:
    """A file system of that many bytes, mounted there."""
    folder.mkdir(exist_ok=True)
    options = ["-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", str(folder)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk takes the right to mount one: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free; the file that takes them."""
    filler = folder / f"filler-{next(_fillers)}"
    with filler.open("wb", buffering=0) as handle:
        for block in (b"x" * MB, b"x" * 512):
            try:
                while True:
                    handle.write(block)
            except OSError:
                continue
    return filler


def test_disk_full(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """On a full disk no acknowledged change is lost, the refused stays refused, the cached goes on; then all is well."""
    seen = own_index.add("seen", make_wheel("seen", "1.0"))
    bad = own_index.add("bad", make_wheel("bad", "1.0"))
    cold = own_index.add("cold", make_wheel("cold", "1.0", padding=200_000))
    stack = new_stack(index_url=own_index.url)
    with small_disk(stack.folder / "var", 64 * MB) as disk:
        stack.start()
        acknowledged = [stack.add_rule(action="block", project="bad")["id"]]
        eventually(lambda: stack.file("bad", bad.filename).status == 403, within_s=PROMISE_S)
        assert stack.file("seen", seen.filename).body == seen.data
        assert stack.page("seen").filenames == [seen.filename]
        filler = fill(disk)

        def refuses_changes() -> bool:
            fill(disk)  # nginx makes room by forgetting what it has cached
            answer = stack.api("POST", "/rules", {"action": "block", "project": "other", "reason": "x"})
            assert answer.status in {201, 503}, answer.body
            if answer.status == 201:
                acknowledged.append(answer.json()["id"])
            return answer.status == 503

        eventually(refuses_changes, within_s=BACK_S)
        refused = stack.file("bad", bad.filename)
        assert (refused.status, refused.reason[:7]) == (403, "Blocked")
        assert whole_or_nothing(stack, "cold", cold) is None
        whole_or_nothing(stack, "seen", seen)
        assert stack.get("/healthz").status == 200
        eventually(lambda: says_full(stack), within_s=BACK_S, what="the metric")

        for file in {filler, *disk.glob("filler*")}:
            file.unlink()
        eventually(lambda: whole_or_nothing(stack, "cold", cold), within_s=BACK_S, what="room")
        assert stack.file("seen", seen.filename).body == seen.data
        acknowledged.append(stack.add_rule(action="block", project="cold")["id"])
        eventually(lambda: stack.file("cold", cold.filename).status == 403, within_s=PROMISE_S)
        stack.restart()
        assert stack.file("cold", cold.filename).status == 403
        assert_kept(stack, acknowledged)
        stack.stop()


def says_full(stack: Stack) -> bool:
    """Whether the metrics say that there is no room for the database, and that there is for decisions."""
    lines = stack.get("/metrics", port=stack.internal_port).text.splitlines()
    free = {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith("decider_disk_free")}
    data_dir, memory = (
        free[f'decider_disk_free_bytes{{place="{place}"}}'] for place in ("data_dir", "memory")
    )
    return data_dir < MB < memory


def whole_or_nothing(stack: Stack, project: str, wheel: Distribution) -> bool | None:
    """Whether the file came; None where there was no 200, or it ended early. Fail where other bytes came."""
    try:
        answer = stack.file(project, wheel.filename)
    except (OSError, HTTPException):
        return None
    if answer.status != 200:
        return None
    assert answer.body == wheel.data
    return True


def assert_kept(stack: Stack, acknowledged: list[str]) -> None:
    """Every acknowledged rule is there, and so is the chain of what became of them."""
    stored = {rule["id"] for rule in stack.api("GET", "/rules", limit="1000").json()["items"]}
    assert stored >= set(acknowledged)
    verified = stack.run("audit", "verify")
    assert verified.returncode == 0, verified.stderr


# Everything killed at once


def test_killed_under_load(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """kill -9 of every process amid requests: no blocked byte was served, no acknowledged rule is lost, a start is enough."""
    wheels = {f"demo-{n}": make_wheel(f"demo-{n}", "1.0", padding=50_000) for n in range(8)}
    for name, wheel in wheels.items():
        own_index.add(name, wheel)
    bad = own_index.add("bad", make_wheel("bad", "1.0"))
    stack = new_stack(index_url=own_index.url)
    stack.start()
    stack.add_rule(action="block", project="bad")
    eventually(lambda: stack.file("bad", bad.filename).status == 403, within_s=PROMISE_S)
    acknowledged: list[str] = []
    stop = threading.Event()

    def change(number: int) -> None:
        while not stop.is_set():
            with suppress(OSError, HTTPException):
                name = f"other-{number}-{len(acknowledged)}"
                answer = stack.api("POST", "/rules", {"action": "block", "project": name, "reason": "x"})
                if answer.status == 201:
                    acknowledged.append(answer.json()["id"])

    def read(name: str) -> None:
        while not stop.is_set():
            whole_or_nothing(stack, name, wheels[name])
            with suppress(OSError, HTTPException):
                refused = stack.file("bad", bad.filename)
                assert refused.status in {403, 503}
                assert bad.data[:30] not in refused.body

    with ThreadPoolExecutor(10) as pool:
        jobs = [pool.submit(change, number) for number in range(2)]
        jobs += [pool.submit(read, name) for name in wheels]
        try:
            for _ in range(2):
                already = len(acknowledged)
                eventually(lambda: len(acknowledged) > already + 10, within_s=BACK_S)  # noqa: B023
                stack.kill()
                stack.start()
        finally:
            stop.set()
        for job in jobs:
            job.result()
    for name, wheel in wheels.items():
        assert stack.file(name, wheel.filename).body == wheel.data
    assert stack.file("bad", bad.filename).status == 403
    assert_kept(stack, acknowledged)


# The store's own file


def test_database_gone(new_stack: Callable[..., Stack], own_index: FakeIndex) -> None:
    """Without its database the rules in force go on, saying so, and no change is acknowledged; with it all is as before."""
    wheel = own_index.add("demo", make_wheel("demo", "1.0"))
    bad = own_index.add("bad", make_wheel("bad", "1.0"))
    # One process: another may not have heard of the rule yet when the store goes away.
    stack = new_stack(index_url=own_index.url, workers=1)
    stack.start()
    rule = stack.add_rule(action="block", project="bad")
    eventually(lambda: stack.file("bad", bad.filename).status == 403, within_s=PROMISE_S)
    database = stack.data_dir / "decider.sqlite"
    aside = database.rename(stack.folder / "aside.sqlite")
    eventually(
        lambda: stack.file("demo", wheel.filename).headers.get("X-Decider-Degraded") == "store",
        within_s=PROMISE_S + 1,
        what="the header",
    )
    assert stack.file("demo", wheel.filename).body == wheel.data
    assert stack.file("bad", bad.filename).status == 403
    refused = stack.api("POST", "/rules", {"action": "block", "project": "demo", "reason": "x"})
    assert refused.status == 503
    eventually(lambda: stack.get("/readyz").status == 503, within_s=10)
    away = b'decider_store_away{store="sqlite"} 1'
    eventually(lambda: away in stack.get("/metrics", port=stack.internal_port).body, within_s=5)
    assert not database.exists()
    aside.rename(database)
    eventually(stack.is_ready, within_s=BACK_S)
    assert_kept(stack, [rule["id"], stack.add_rule(action="block", project="demo")["id"]])
    eventually(lambda: stack.file("demo", wheel.filename).status == 403, within_s=PROMISE_S)
