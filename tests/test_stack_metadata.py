"""Core metadata of remote wheels whose index has none, through the whole stack (PEP 658, STANDARDS S37, T84)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import running
from tests.fake_index import FakeIndex, redirect, status
from tests.installer import Installer
from tests.stack import PROMISE_S, Stack, eventually
from tests.uploads import Distribution, make_sdist, make_wheel, sha256

pytestmark = pytest.mark.stack

LARGE = 400_000  #: bytes of a wheel that nobody should download to read it
FEW = 100_000  #: bytes of it that may be read instead


@pytest.fixture(scope="module")
def parts_index() -> Iterator[FakeIndex]:
    """An index that gives parts of files, and metadata of none."""
    with FakeIndex(ranges=True) as index:
        yield index


@pytest.fixture(scope="module")
def parts_stack(parts_index: FakeIndex) -> Iterator[Stack]:
    """A stack that has learned that its index gives parts."""
    with running(Stack(index_url=parts_index.url)) as stack:
        parts_index.add("first", make_wheel("first", "1.0", padding=LARGE), metadata=False)
        eventually(lambda: offered(stack, "first") is True, within_s=10)
        yield stack


@pytest.fixture
def wheel(parts_index: FakeIndex, project: str) -> Distribution:
    """A large wheel of the project, without metadata at the index."""
    return parts_index.add(project, make_wheel(project, "1.0", padding=LARGE), metadata=False)


def offered(stack: Stack, project: str) -> object:
    """What the page says of the metadata of the project's first file."""
    return stack.page(project).json()["files"][0].get("core-metadata")


def sent(index: FakeIndex, filename: str) -> int:
    """How many bytes of a file the index was asked for, a whole file counting as all that it has."""
    total = 0
    for seen in index.requests(filename):
        asked = seen.headers.get("range")
        if asked is None:
            return 10**9
        first, _, last = asked.removeprefix("bytes=").partition("-")
        total += int(last) - int(first) + 1 if first else int(last)
    return total


def test_offered_and_made(
    parts_stack: Stack, parts_index: FakeIndex, project: str, wheel: Distribution
) -> None:
    """The page offers it in both formats; it is the wheel's METADATA, read by parts once, and then kept."""
    page = parts_stack.page(project)
    assert page.file(wheel.filename)["core-metadata"] is True
    anchors = parts_stack.page(project, accept="text/html").text
    assert 'data-core-metadata="true"' in anchors
    answers = [parts_stack.file(project, f"{wheel.filename}.metadata") for _ in range(2)]
    assert [(answer.status, answer.body) for answer in answers] == [(200, wheel.metadata)] * 2
    assert answers[0].headers["ETag"] == f'"{sha256(wheel.metadata)}"'
    assert answers[0].headers["Cache-Control"] == "max-age=0"
    assert 0 < sent(parts_index, wheel.filename) < FEW
    asked = len(parts_index.requests(wheel.filename))
    again = parts_stack.file(project, f"{wheel.filename}.metadata", If_None_Match=answers[0].headers["ETag"])
    assert (again.status, again.body) == (304, b"")
    head = parts_stack.get(f"/files/{project}/{wheel.filename}.metadata", method="HEAD")
    assert (head.status, head.headers["Content-Length"]) == (200, str(len(wheel.metadata)))
    assert len(parts_index.requests(wheel.filename)) == asked
    assert parts_stack.file(project, wheel.filename).body == wheel.data


def test_read_from_the_cached_file(
    parts_stack: Stack, parts_index: FakeIndex, project: str, wheel: Distribution
) -> None:
    """Where nginx has the whole wheel it is read from there."""
    assert parts_stack.file(project, wheel.filename).status == 200
    asked = len(parts_index.requests(wheel.filename))
    assert parts_stack.file(project, f"{wheel.filename}.metadata").body == wheel.metadata
    assert len(parts_index.requests(wheel.filename)) == asked


def test_refused_wheel_is_not_read(
    parts_stack: Stack, parts_index: FakeIndex, project: str, wheel: Distribution
) -> None:
    """The metadata of a refused wheel is refused as the wheel is, made before or not, and no part of it is fetched."""
    rule = parts_stack.add_rule(action="block", project=project)
    path = f"{wheel.filename}.metadata"
    eventually(lambda: parts_stack.file(project, path).status == 403, within_s=PROMISE_S)
    assert parts_index.requests(wheel.filename) == []
    parts_stack.remove_rule(rule)
    eventually(lambda: parts_stack.file(project, path).status == 200, within_s=PROMISE_S)
    parts_stack.add_rule(action="block", project=project)
    eventually(lambda: parts_stack.file(project, path).status == 403, within_s=PROMISE_S)


def test_sdists_and_files_with_metadata(parts_stack: Stack, parts_index: FakeIndex, project: str) -> None:
    """An index's own metadata is relayed with its digest; of sdists none is offered."""
    wheel = parts_index.add(project, make_wheel(project, "1.0"))
    sdist = parts_index.add(project, make_sdist(project, "1.0"), metadata=False)
    page = parts_stack.page(project)
    assert page.file(wheel.filename)["core-metadata"] == {"sha256": sha256(wheel.metadata)}
    assert "core-metadata" not in page.file(sdist.filename)
    assert parts_stack.file(project, f"{wheel.filename}.metadata").body == wheel.metadata
    assert parts_stack.file(project, f"{sdist.filename}.metadata").status == 404
    assert parts_index.requests(wheel.filename)[0].path.endswith(".metadata")


def test_static_sdist(parts_stack: Stack, project: str, tmp_path: Path) -> None:
    """Of a local sdist that no build can change in what resolvers read, pip reads the metadata and builds nothing (PEP 643)."""
    sdist = make_sdist(project, "1.0")
    parts_stack.drop(sdist)
    eventually(lambda: parts_stack.page(project).status == 200, within_s=10)
    stated = parts_stack.page(project).file(sdist.filename)["core-metadata"]
    assert stated == {"sha256": sha256(sdist.metadata)}
    assert parts_stack.file(project, f"{sdist.filename}.metadata").body == sdist.metadata
    installer = Installer(tmp_path, parts_stack.simple_url)
    ran = installer.install("pip", "out", "--dry-run", project)
    assert ran.code == 0, ran.output
    assert f"{sdist.filename}.metadata" in ran.output
    assert "Would install" in ran.output
    assert "Preparing metadata" not in ran.output
    for tool in ("pip", "uv"):
        ran = installer.install(tool, tool, project)
        assert (ran.code, len(installer.installed(tool))) == (0, 1), ran.output


def test_broken_wheel(parts_stack: Stack, parts_index: FakeIndex, project: str) -> None:
    """Metadata that cannot be read is 502 with the reason, and the page offers it no longer; others' it still offers."""
    good = make_wheel(project, "1.0")
    broken = Distribution(good.filename, good.data[:-30], b"")
    parts_index.add(project, broken, metadata=False)
    parts_index.add(project, make_wheel(project, "2.0"), metadata=False)
    answer = parts_stack.file(project, f"{broken.filename}.metadata")
    assert (answer.status, answer.content_type) == (502, "application/problem+json")
    assert "no readable zip archive" in answer.json()["detail"]

    def claims() -> list[object]:
        files = parts_stack.page(project).json()["files"]
        return [file.get("core-metadata", False) for file in files]

    eventually(lambda: claims() == [False, True], within_s=PROMISE_S)
    assert parts_stack.file(project, f"{broken.filename}.metadata").status == 404


def test_advertised_and_not_had(
    parts_stack: Stack, parts_index: FakeIndex, project: str, tmp_path: Path
) -> None:
    """Metadata that an index states and does not have is read out of the wheel, and pip and uv install (T84)."""
    wheel = parts_index.add(project, make_wheel(project, "1.0"))
    parts_index.switch(f"/files/{project}/{wheel.filename}.metadata", status(404))
    answer = parts_stack.file(project, f"{wheel.filename}.metadata")
    assert (answer.status, answer.body) == (200, wheel.metadata)
    installer = Installer(tmp_path, parts_stack.simple_url)
    for tool in ("pip", "uv"):
        ran = installer.install(tool, tool, project)
        assert ran.code == 0, ran.output


def test_advertised_and_another(parts_stack: Stack, parts_index: FakeIndex, project: str) -> None:
    """Metadata is not passed off as that which the index stated when it is another."""
    wheel = make_wheel(project, "1.0")
    parts_index.add(project, wheel, fields={"core-metadata": {"sha256": "0" * 64}})
    parts_index.switch(f"/files/{project}/{wheel.filename}.metadata", status(404))
    answer = parts_stack.file(project, f"{wheel.filename}.metadata")
    assert answer.status == 502
    assert "does not have the metadata that its index states" in answer.json()["detail"]


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_resolvers_download_nothing(
    parts_stack: Stack, parts_index: FakeIndex, project: str, tool: str, tmp_path: Path
) -> None:
    """pip and uv resolve without that any wheel is downloaded, here or there."""
    needed = parts_index.add(
        f"{project}-needed", make_wheel(f"{project}-needed", "1.0", padding=LARGE), metadata=False
    )
    parts_index.add(
        project, make_wheel(project, "1.0", requires=[f"{project}-needed"], padding=LARGE), metadata=False
    )
    installer = Installer(tmp_path, parts_stack.simple_url)
    ran = installer.install(tool, "out", "--dry-run", project)
    assert ran.code == 0, ran.output
    assert f"{project}-needed" in ran.output
    assert 0 < sent(parts_index, needed.filename) < FEW
    ran = installer.install(tool, "out", project)
    assert ran.code == 0, ran.output
    assert len(installer.installed("out")) == 2


def test_parts_behind_a_redirect(
    own_index: FakeIndex, new_stack: Callable[..., Stack], parts_index: FakeIndex
) -> None:
    """Files that redirect to another host are read there where the index may use it, and nowhere else."""
    allowed = f'file_hosts = ["127.0.0.1:{parts_index.port}"]'
    wheel = make_wheel("moved", "1.0", padding=LARGE)
    parts_index.add("moved", wheel, metadata=False)
    own_index.add("moved", wheel, metadata=False)
    path = f"/files/moved/{wheel.filename}"
    own_index.switch(path, redirect(f"{parts_index.origin}{path}"))
    stack = new_stack(index_url=own_index.url, index=allowed)
    stack.start()
    eventually(lambda: offered(stack, "moved") is True, within_s=10)
    assert stack.file("moved", f"{wheel.filename}.metadata").body == wheel.metadata
    parts_index.forget_requests()
    closed = new_stack(index_url=own_index.url)
    closed.start()
    assert offered(closed, "moved") is None
    assert parts_index.requests() == []


def test_index_that_gives_no_parts(own_index: FakeIndex, new_stack: Callable[..., Stack]) -> None:
    """An index that gives files only whole is tried once, by a file that is not refused, and offers nothing."""
    first = own_index.add("demo", make_wheel("demo", "1.0", padding=LARGE), metadata=False)
    newest = own_index.add("demo", make_wheel("demo", "2.0", padding=LARGE), metadata=False)
    stack = new_stack(index_url=own_index.url)
    stack.launch()
    assert (
        stack.run(
            "rules", "add", "demo", "--versions", "==2.0", "--action", "block", "--reason", "no"
        ).returncode
        == 0
    )
    eventually(stack.is_ready, within_s=40)
    assert [offered(stack, "demo") for _ in range(3)] == [None] * 3
    assert len(own_index.requests(first.filename)) == 1
    assert own_index.requests(newest.filename) == []
    assert stack.file("demo", f"{first.filename}.metadata").status == 404


def test_parts_are_for_the_decider_alone(parts_stack: Stack, parts_index: FakeIndex, project: str) -> None:
    """Nobody is given a part of anything over TCP, whatever address he names; the sockets are in a folder closed to others."""
    wheel = parts_index.add(project, make_wheel(project, "1.0"), metadata=False)
    url = f"{parts_index.origin}/files/{project}/{wheel.filename}"
    named = {"X-Decider-Url": url, "X-Decider-Expect": "public - -", "Range": "bytes=0-9"}
    for path in ("/-/part", "/part", "/file", "/indexes/public/demo/", "/nginx", "/-/nginx", "/-/webhook"):
        for port in (parts_stack.port, parts_stack.internal_port):
            assert parts_stack.get(path, named, port=port).status == 404
    assert parts_index.requests(wheel.filename) == []
    folder = parts_stack.data_dir / "run"
    assert folder.stat().st_mode & 0o007 == 0
    assert (folder / "egress.sock").stat().st_mode & 0o007 == 0


def test_index_gone_while_it_is_read(
    parts_stack: Stack, parts_index: FakeIndex, project: str, wheel: Distribution
) -> None:
    """An index that fails is an error of the moment: nothing is remembered against the wheel."""
    parts_index.switch(f"/files/{project}/{wheel.filename}", status(503))
    answer = parts_stack.file(project, f"{wheel.filename}.metadata")
    assert answer.status in {502, 503}
    parts_index.behave(f"/files/{project}/{wheel.filename}")
    eventually(
        lambda: parts_stack.file(project, f"{wheel.filename}.metadata").body == wheel.metadata, within_s=10
    )
    assert offered(parts_stack, project) is True
