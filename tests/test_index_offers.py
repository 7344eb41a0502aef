"""Which wheels' metadata is offered besides what an index offers, and what is learned about it."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from decider.errors import IndexTimeout, IndexUnavailable, NoParts, UnreadableDistribution
from decider.files import DistributionFile, ProjectPage
from decider.index import offers
from decider.index.location import Location
from decider.index.offers import TRY_AGAIN_S, TRY_SOON_S, WheelOffers
from decider.index.wheel_parts import Part, PartReader
from decider.settings import IndexSettings
from tests.samples import DEMO, make_file, make_page
from tests.uploads import make_wheel

WHEEL = make_wheel("demo", "1.0")
OTHER = make_wheel("demo", "2.0")
SETTINGS = IndexSettings(name="public", url="https://index.example/simple/")


class Index(PartReader):
    """What an index gives of its files, without nginx."""

    def __init__(self) -> None:
        self.files = {one.filename: one.data for one in (WHEEL, OTHER)}
        self.gives_parts: bool | None = True
        self.error: Exception | None = None
        self.asked: list[str] = []

    def read(self, place: Location, asked: str, **_: object) -> Part:  # noqa: ARG002 (the whole is what it gives)
        filename = place.url.rpartition("/")[2]
        self.asked.append(filename)
        if self.error is not None:
            raise self.error
        data = self.files[filename]
        return Part(0, data, len(data), self.gives_parts)


class World:
    """One index, its clock, and processes that know of it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = Index()
        self.seconds = 1e9

    def process(self) -> WheelOffers:
        return WheelOffers(
            SETTINGS,
            self.index,
            self.folder,
            wall_clock=lambda: self.seconds,
            monotonic=lambda: self.seconds,
        )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def wheel_file(made: object = WHEEL, **fields: object) -> DistributionFile:
    known = {"hashes": {"sha256": made.sha256}, **fields}  # type: ignore[attr-defined]
    return make_file(made.filename, **known)  # type: ignore[attr-defined]


PAGE = make_page(wheel_file(), wheel_file(OTHER))


def claims(page: ProjectPage) -> list[object]:
    return [file.core_metadata for file in page.files]


def learn(process: WheelOffers) -> None:
    """Try it out, by the first wheel that is proposed."""
    process.try_out(DEMO, next(process.untried(PAGE)))


def test_nothing_before_a_trial(world: World) -> None:
    """Nothing is offered by an index that was not tried, and its pages are what they are."""
    process = world.process()
    assert process.overlay(PAGE) is PAGE
    assert [file.filename for file in process.untried(PAGE)] == [OTHER.filename, WHEEL.filename]


def test_offered_after_a_trial(world: World) -> None:
    """After one trial all wheels without metadata are offered, in every process, restarted ones too."""
    first, second = world.process(), world.process()
    learn(first)
    for process in (first, second, world.process()):
        page = process.overlay(PAGE)
        assert claims(page) == [True, True]
        assert all(file.is_metadata_ours for file in page.files)
        assert list(process.untried(PAGE)) == []
    assert world.index.asked == [OTHER.filename]


def test_another_page(world: World) -> None:
    """A page that offers more is another page, each time the same one."""
    process = world.process()
    learn(process)
    page = process.overlay(PAGE)
    assert page.digest != PAGE.digest
    assert process.overlay(PAGE) is page
    assert world.process().overlay(PAGE).digest == page.digest
    assert msgspec.structs.replace(page, digest="", files=()) == msgspec.structs.replace(
        PAGE, digest="", files=()
    )


@pytest.mark.parametrize(
    "file",
    [
        wheel_file(core_metadata={"sha256": "0" * 64}),
        wheel_file(core_metadata=True),
        make_file(WHEEL.filename),
        make_file("demo-1.0.tar.gz", hashes={"sha256": "0" * 64}),
        make_file("demo-x-y-z.whl", hashes={"sha256": "0" * 64}),
        make_file("demo-1.0-py2.7.egg", hashes={"sha256": "0" * 64}),
    ],
)
def test_left_alone(world: World, file: DistributionFile) -> None:
    """What has metadata, or is no wheel, or cannot be told by a digest, is left as the index has it."""
    process = world.process()
    learn(process)
    page = make_page(file)
    assert process.overlay(page) is page
    assert list(world.process().untried(page)) == []


def test_read(world: World) -> None:
    """The metadata is the wheel's own."""
    assert world.process().read(DEMO, wheel_file()) == WHEEL.metadata


def test_unreadable_wheel(world: World) -> None:
    """A wheel whose metadata cannot be read is remembered, in all processes, and is not offered, by the index neither."""
    process = world.process()
    learn(process)
    world.index.files[WHEEL.filename] = b"no zip"
    with pytest.raises(UnreadableDistribution, match="no readable zip"):
        process.read(DEMO, wheel_file())
    for one in (process, world.process()):
        assert claims(one.overlay(PAGE)) == [False, True]
        stated = make_page(wheel_file(core_metadata={"sha256": "0" * 64}))
        assert claims(one.overlay(stated)) == [False]


def test_unreadable_wheel_of_an_untried_index(world: World) -> None:
    """An index that states metadata which it does not have need not give parts for that to be noticed."""
    world.index.files[WHEEL.filename] = b"no zip"
    world.index.gives_parts = False
    process = world.process()
    with pytest.raises(UnreadableDistribution):
        process.read(DEMO, wheel_file())
    assert claims(process.overlay(make_page(wheel_file(core_metadata=True), wheel_file(OTHER)))) == [
        False,
        False,
    ]


def test_trial_by_an_unreadable_wheel(world: World) -> None:
    """One bad wheel does not speak for the others: its index has given a part."""
    world.index.files[OTHER.filename] = b"no zip"
    process = world.process()
    learn(process)
    assert claims(process.overlay(PAGE)) == [True, False]


def test_index_without_parts(world: World) -> None:
    """An index that gives files only whole offers nothing, and is tried again after a while."""
    process = world.process()
    world.index.gives_parts = False
    learn(process)
    assert process.overlay(PAGE) is PAGE
    world.seconds += TRY_AGAIN_S - 1
    assert list(process.untried(PAGE)) == []
    world.seconds += 1
    world.index.gives_parts = True
    learn(process)
    assert claims(process.overlay(PAGE)) == [True, True]


def test_index_that_ceases_to_give_parts(world: World) -> None:
    """Once an index gives a large file whole, nothing more is offered."""
    process = world.process()
    learn(process)
    world.index.error = NoParts("public", "whole")
    with pytest.raises(NoParts):
        process.read(DEMO, wheel_file())
    assert process.overlay(PAGE) is PAGE


@pytest.mark.parametrize("error", [IndexUnavailable("public", "gone"), IndexTimeout("public", "slow")])
def test_trial_that_tells_nothing(world: World, error: Exception) -> None:
    """An index that is away for a moment, or a file that nginx has cached, leaves the question open for a minute."""
    process = world.process()
    world.index.error = error
    learn(process)
    assert list(process.untried(PAGE)) == []
    world.seconds += TRY_SOON_S
    world.index.error, world.index.gives_parts = None, None
    learn(process)
    assert process.overlay(PAGE) is PAGE
    world.seconds += TRY_SOON_S
    world.index.gives_parts = True
    learn(process)
    assert claims(process.overlay(PAGE)) == [True, True]


def test_error_of_the_moment(world: World) -> None:
    """An index that fails while a wheel is read leaves nothing behind."""
    process = world.process()
    learn(process)
    world.index.error = IndexUnavailable("public", "gone")
    with pytest.raises(IndexUnavailable):
        process.read(DEMO, wheel_file())
    assert claims(process.overlay(PAGE)) == [True, True]


def test_no_wheel(world: World) -> None:
    """What is no wheel is not even asked for."""
    with pytest.raises(UnreadableDistribution, match="is no wheel"):
        world.process().read(DEMO, make_file("demo-1.0.tar.gz", hashes={"sha256": "0" * 64}))
    assert world.index.asked == []


@pytest.mark.parametrize("damage", [b"", b"[]", b"\xff"])
def test_damaged_memory(world: World, damage: bytes) -> None:
    """What a power cut left of what was learned is learned anew."""
    learn(world.process())
    (world.folder / "public.json").write_bytes(damage)
    process = world.process()
    assert process.overlay(PAGE) is PAGE
    learn(process)
    assert claims(process.overlay(PAGE)) == [True, True]


def test_what_is_kept_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pages nor bad wheels are kept without end."""
    monkeypatch.setattr(offers, "_MEMO_FILES", 5)
    monkeypatch.setattr(offers, "MAX_UNREADABLE", 1)
    process = world.process()
    learn(process)
    pages = [make_page(wheel_file(), wheel_file(OTHER), last_serial=number) for number in range(4)]
    overlaid = [process.overlay(page) for page in pages]
    assert process.overlay(pages[3]) is overlaid[3]
    assert process.overlay(pages[0]) is not overlaid[0]
    world.index.files = dict.fromkeys(world.index.files, b"no zip")
    for made in (WHEEL, OTHER):
        with pytest.raises(UnreadableDistribution):
            process.read(DEMO, wheel_file(made))
    assert claims(process.overlay(PAGE)) == [False, True]


def test_too_many_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wheels that are read hold only so many threads."""
    monkeypatch.setattr(offers, "MAX_WAITING", 1)
    process = world.process()
    inner: list[Callable[[], object]] = [lambda: process.read(DEMO, wheel_file(OTHER))]

    def nested(place: Location, asked: str, **_: object) -> Part:
        with pytest.raises(IndexTimeout, match="too many"):
            inner.pop()()
        return Index.read(world.index, place, asked)

    monkeypatch.setattr(world.index, "read", nested)
    started = time.monotonic()
    assert process.read(DEMO, wheel_file()) == WHEEL.metadata
    assert time.monotonic() - started < 30
