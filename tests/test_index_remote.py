"""A remote index: what is kept of it, for how long, and what happens when it fails; a server stands in for nginx."""

import gc
import json
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest

from decider.errors import IndexMisbehaved, IndexTimeout, IndexUnavailable, UnreadablePage
from decider.index import remote, unreadable
from decider.index.asking import FETCH_DEADLINE_S
from decider.index.remote import FRESH_S, FRESH_WHEN_FAILING_S, RemoteIndex
from decider.index.sharing import HANGS_S
from decider.names import NormalizedName
from decider.pages import ParsedPage, parse_page
from decider.settings import IndexSettings
from tests.listener import Asked, Listener, Said, failed, page
from tests.stack import JSON_TYPE, eventually

BASE = "https://index.example/simple/"
DEMO, OTHER = NormalizedName("demo"), NormalizedName("other")
HERE = "/indexes/public/"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clocks:
    """Both clocks, moved by hand."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds - 1000.0)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as started:
        yield started


@pytest.fixture
def make_index(listener: Listener, clocks: Clocks, tmp_path: Path) -> Callable[..., RemoteIndex]:
    """Make indexes; keyword arguments are settings, or `max_waiting`."""

    def make(*, max_waiting: int = 4, **settings: Any) -> RemoteIndex:
        return RemoteIndex(
            IndexSettings(name="public", url=BASE, **settings),
            socket=listener.socket,
            list_folder=tmp_path / "list",
            clock=clocks.now,
            monotonic=clocks.monotonic,
            max_waiting=max_waiting,
        )

    return make


@pytest.fixture
def index(make_index: Callable[..., RemoteIndex]) -> RemoteIndex:
    return make_index()


def listing(*versions: str, name: str = "demo") -> str:
    """A JSON page of wheels of those versions."""
    files = [
        {
            "filename": f"{name}-{version}-py3-none-any.whl",
            "url": f"../../files/{name}-{version}-py3-none-any.whl",
            "hashes": {},
        }
        for version in versions
    ]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": name, "files": files})


def versions_of(index: RemoteIndex, project: NormalizedName = DEMO) -> list[str] | None:
    """The versions on the project's page; None: no such project."""
    found = index.fetch_page(project)
    return None if found is None else [file.filename.split("-")[1] for file in found.files]


# Having and not having


def test_page(listener: Listener, index: RemoteIndex) -> None:
    """A page is what the index says, its links resolved against the index's own URL."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"))
    found = index.fetch_page(DEMO)
    assert found is not None
    assert found.files[0].url == "https://index.example/files/demo-1.0-py3-none-any.whl"
    assert (found.index, found.project) == ("public", "demo")


def test_absent_project(listener: Listener, index: RemoteIndex) -> None:
    """404 says that the index has no such project."""
    listener.answers[f"{HERE}demo/"] = Said(404)
    assert index.fetch_page(DEMO) is None


@pytest.mark.parametrize("status", [204, 302, 304, 401, 403, 410, 429, 500, 502, 503, 504])
def test_no_answer_is_not_absence(listener: Listener, index: RemoteIndex, status: int) -> None:
    """Any other answer is an index that could not be asked, never one that does not have the project."""
    listener.answers[f"{HERE}demo/"] = Said(status)
    with pytest.raises(IndexUnavailable, match=str(status)):
        index.fetch_page(DEMO)


def test_failure_that_the_fetcher_tells(listener: Listener, index: RemoteIndex) -> None:
    """An index that is too slow, or misbehaves, is told to be that."""
    listener.answers[f"{HERE}demo/"] = failed("timeout", "no answer in time", 504)
    with pytest.raises(IndexTimeout, match="no answer in time"):
        index.fetch_page(DEMO)
    listener.answers[f"{HERE}demo/"] = failed("malformed", "its answer is no proper HTTP")
    with pytest.raises(IndexMisbehaved, match="no proper HTTP"):
        index.fetch_page(DEMO)


def test_page_of_another_project(listener: Listener, index: RemoteIndex) -> None:
    """An index that answers every name with one page has no page of that name, and no name to claim."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0", name="other"))
    with pytest.raises(UnreadablePage, match="another project"):
        index.fetch_page(DEMO)


def test_login_page_for_every_name(listener: Listener, index: RemoteIndex) -> None:
    """A login form that answers every name with 200 is no page, so it owns nothing."""
    listener.answers[f"{HERE}demo/"] = Said(
        body=b"<html><form action='/login'><input name=p></form></html>",
        headers={"Content-Type": "text/html"},
    )
    with pytest.raises(UnreadablePage):
        index.fetch_page(DEMO)


# Keeping


def test_fresh_page_is_from_memory(listener: Listener, index: RemoteIndex, clocks: Clocks) -> None:
    """A page is asked for again after a second, by its ETag, and stays as it is on 304."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"), ETag='"a"')
    first = index.fetch_page(DEMO)
    assert index.fetch_page(DEMO) is first
    assert len(listener.asked) == 1
    clocks.seconds += FRESH_S
    listener.answers[f"{HERE}demo/"] = Said(304, headers={"ETag": '"a"', "X-Decider-Cache": "HIT"})
    assert index.fetch_page(DEMO) is first
    assert listener.asked[1].headers["if-none-match"] == '"a"'
    clocks.seconds += FRESH_S
    listener.answers[f"{HERE}demo/"] = page(listing("1.0", "2.0"), ETag='"b"')
    assert versions_of(index) == ["1.0", "2.0"]
    clocks.seconds += FRESH_S
    index.fetch_page(DEMO)
    assert listener.asked[3].headers["if-none-match"] == '"b"'


def test_absence_is_kept_and_ends(listener: Listener, index: RemoteIndex, clocks: Clocks) -> None:
    """A project that was not there is noticed a second after nginx has it, and asked for without an ETag."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"), ETag='"a"')
    assert versions_of(index) == ["1.0"]
    clocks.seconds += FRESH_S
    listener.answers[f"{HERE}demo/"] = Said(404, headers={"ETag": '"not found"'})
    assert index.fetch_page(DEMO) is None
    assert index.fetch_page(DEMO) is None
    assert len(listener.asked) == 2
    clocks.seconds += FRESH_S
    listener.answers[f"{HERE}demo/"] = page(listing("2.0"))
    assert versions_of(index) == ["2.0"]
    assert "if-none-match" not in listener.asked[2].headers


def test_unchanged_page_is_not_read_again(listener: Listener, index: RemoteIndex, clocks: Clocks) -> None:
    """The page of an index without ETags stays the same value as long as its bytes do."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"))
    first = index.fetch_page(DEMO)
    clocks.seconds += FRESH_S
    assert index.fetch_page(DEMO) is first
    assert len(listener.asked) == 2


def test_same_bytes_elsewhere(listener: Listener, index: RemoteIndex, clocks: Clocks) -> None:
    """The same bytes under another URL are another page: relative links start from where it is now."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"))
    index.fetch_page(DEMO)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"), X_Decider_Final_Url=f"{BASE}v2/demo/")
    clocks.seconds += FRESH_S
    found = index.fetch_page(DEMO)
    assert found is not None
    assert found.files[0].url == "https://index.example/simple/files/demo-1.0-py3-none-any.whl"


def test_star_for_an_etag(listener: Listener, index: RemoteIndex, clocks: Clocks) -> None:
    """An index whose page once came with `ETag: *` does not keep that page alive for ever."""

    def honest(asked: Asked) -> Said:
        return Said(304) if "if-none-match" in asked.headers else page(listing("1.0"), ETag='"good"')

    listener.answers[f"{HERE}demo/"] = page(listing("6.6.6"), ETag="*")
    assert versions_of(index) == ["6.6.6"]
    clocks.seconds += FRESH_S
    listener.answers[f"{HERE}demo/"] = honest
    assert versions_of(index) == ["1.0"]


def test_memory_is_bounded(listener: Listener, index: RemoteIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are forgotten, those first that were not asked for longest, before they are too many bytes."""
    monkeypatch.setattr(remote, "CACHE_BYTES", 10_000)
    for number in range(8):
        listener.answers[f"{HERE}p{number}/"] = page(listing("1.0", name=f"p{number}") + " " * 2000)
        assert versions_of(index, NormalizedName(f"p{number}")) == ["1.0"]
    assert index._entries_bytes == sum(entry.size for entry in index._entries.values())
    assert index._entries_bytes + 1024 * len(index._entries) <= 10_000
    assert list(index._entries) == ["p5", "p6", "p7"]
    listener.asked.clear()
    index.fetch_page(NormalizedName("p7"))
    index.fetch_page(NormalizedName("p0"))
    assert [asked.path for asked in listener.asked] == [f"{HERE}p0/"]


def test_names_that_nobody_has_are_bounded(index: RemoteIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking for names that do not exist fills no memory."""
    monkeypatch.setattr(remote, "CACHE_BYTES", 20 * 1024)
    for number in range(50):
        assert index.fetch_page(NormalizedName(f"p{number}")) is None
    assert len(index._entries) == 20


def test_page_larger_than_the_memory(
    listener: Listener, index: RemoteIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that alone is larger than what may be kept is served all the same."""
    monkeypatch.setattr(remote, "CACHE_BYTES", 100)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0") + " " * 2000)
    assert versions_of(index) == ["1.0"]
    assert index.fetch_page(OTHER) is None
    assert list(index._entries) == ["other"]


@pytest.mark.parametrize("error", [IndexTimeout("public", "slow"), IndexUnavailable("public", "broke off")])
def test_answer_that_breaks_off(
    listener: Listener,
    make_index: Callable[..., RemoteIndex],
    clocks: Clocks,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """An index that breaks off in its answer leaves the page as it was, as stale, for `stale_if_error` and no longer."""
    index = make_index(page_ttl_s=10, stale_if_error_s=100)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"))
    assert versions_of(index) == ["1.0"]

    def broken(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(index._asker, "get", broken)
        for seconds in (FRESH_S, 100.0):
            clocks.seconds += seconds
            assert versions_of(index) == ["1.0"]
            assert index.is_stale(DEMO)
        with pytest.raises(type(error)):
            index.fetch_page(OTHER)
        clocks.seconds += 20
        with pytest.raises(type(error)):
            index.fetch_page(DEMO)
    assert versions_of(index) == ["1.0"]
    assert not index.is_stale(DEMO)


# Refreshing


def test_refresh_asks_the_index_itself(listener: Listener, index: RemoteIndex) -> None:
    """A refresh goes past every cache, and what it brings is what everybody gets."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"), ETag='"a"')
    index.fetch_page(DEMO)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0", "2.0"), ETag='"b"')
    found = index.refresh_page(DEMO)
    assert listener.asked[1].headers["x-decider-refresh"] == "1"
    assert index.fetch_page(DEMO) is found
    assert len(listener.asked) == 2


def test_bad_page_does_not_stay_bad(listener: Listener, index: RemoteIndex) -> None:
    """A page that nginx kept and that cannot be read is asked for at the index itself before it is given up."""

    def answer(asked: Asked) -> Said:
        if "x-decider-refresh" in asked.headers:
            return page(listing("1.0"))
        return page("broken", X_Decider_Cache="HIT")

    listener.answers[f"{HERE}demo/"] = answer
    assert versions_of(index) == ["1.0"]
    assert len(listener.asked) == 2


def test_bad_page_from_the_index_itself(listener: Listener, index: RemoteIndex) -> None:
    """A page that came from the index just now and cannot be read is not asked for twice."""
    listener.answers[f"{HERE}demo/"] = page("broken", X_Decider_Cache="MISS")
    with pytest.raises(UnreadablePage):
        index.fetch_page(DEMO)
    assert len(listener.asked) == 1


def test_bad_page_is_read_once(
    listener: Listener, index: RemoteIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page that cannot be read, which may take seconds to find out, is not read again while it is the same."""
    read: list[bytes] = []

    def parse(body: bytes, **more: Any) -> ParsedPage:
        read.append(body)
        return parse_page(body, **more)

    monkeypatch.setattr(remote, "parse_page", parse)
    monkeypatch.setattr(unreadable, "MAX_KNOWN", 1)
    for body, project in (("broken", DEMO), ("broken", DEMO), ("worse", DEMO), ("x", OTHER), ("worse", DEMO)):
        listener.answers[f"{HERE}{project}/"] = page(body, X_Decider_Cache="HIT")
        with pytest.raises(UnreadablePage, match="no project page in JSON"):
            index.fetch_page(project)
    assert read == [b"broken", b"worse", b"x", b"worse"]
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"))
    assert versions_of(index) == ["1.0"]


class _Body:
    """Stands for the page, which the frames hold that found it unreadable."""


def test_bad_page_is_not_kept() -> None:
    """What is remembered of an unreadable page is why: a thousand of them, each of 100 MB, would fill the memory."""

    def read(body: _Body) -> None:
        try:
            json.loads(repr(body))
        except ValueError as error:
            raise UnreadablePage("corp", "no project page in JSON") from error

    known = unreadable.UnreadablePages()
    body = _Body()
    gone = weakref.ref(body)
    try:
        read(body)
    except UnreadablePage as error:
        known.add(DEMO, b"digest", error)
    del body
    gc.collect()
    assert gone() is None
    for _ in range(2):
        with pytest.raises(UnreadablePage) as raised:
            known.refuse(DEMO, b"digest")
        assert str(raised.value) == "index `corp`: unreadable page: no project page in JSON"
    known.refuse(DEMO, b"another")


def test_old_copy_while_the_index_is_away(
    listener: Listener, make_index: Callable[..., RemoteIndex], clocks: Clocks
) -> None:
    """While the index cannot be asked a copy that is too old goes on, and it is asked again only after that time."""
    index = make_index(page_ttl_s=100, stale_if_error_s=800)
    kept = page(listing("1.0"), X_Decider_Cache="HIT", Date=sent(clocks, ago_s=300))
    listener.answers[f"{HERE}demo/"] = lambda asked: (
        failed("away", "gone") if "x-decider-refresh" in asked.headers else kept
    )
    for _ in range(5):
        assert versions_of(index) == ["1.0"]
        clocks.seconds += FRESH_S
    assert sum("x-decider-refresh" in asked.headers for asked in listener.asked) == 1


@pytest.mark.parametrize("date", ["", "yesterday", "Mon, 99 Foo 2026 00:00:00 GMT", "0"])
def test_unreadable_date(listener: Listener, index: RemoteIndex, date: str) -> None:
    """A Date that cannot be read is none."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"), X_Decider_Cache="HIT", Date=date)
    assert versions_of(index) == ["1.0"]
    assert len(listener.asked) == 1


@pytest.mark.parametrize("cache_status", ["HIT", "REVALIDATED"])
def test_old_copy_is_fetched_anew(
    listener: Listener, make_index: Callable[..., RemoteIndex], clocks: Clocks, cache_status: str
) -> None:
    """What nginx has had for long is fetched whole, so that its age can be told after a restart; once in that time."""
    index = make_index(page_ttl_s=100, stale_if_error_s=800)
    old = page(listing("1.0"), X_Decider_Cache=cache_status, Date=sent(clocks, ago_s=201))
    listener.answers[f"{HERE}demo/"] = old
    assert versions_of(index) == ["1.0"]
    assert [asked.headers.get("x-decider-refresh") for asked in listener.asked] == [None, "1"]
    clocks.seconds += 199
    assert versions_of(index) == ["1.0"]
    assert len(listener.asked) == 3
    clocks.seconds += 2
    assert versions_of(index) == ["1.0"]
    assert [asked.headers.get("x-decider-refresh") for asked in listener.asked[3:]] == [None, "1"]
    assert make_index(page_ttl_s=100, stale_if_error_s=10_000).fetch_page(DEMO) is not None
    assert len(listener.asked) == 6


# Failing


def sent(clocks: Clocks, *, ago_s: float) -> str:
    """A Date header of so many seconds ago."""
    return format_datetime(clocks.now() - timedelta(seconds=ago_s), usegmt=True)


@pytest.mark.parametrize(("age_s", "is_served"), [(-5000, True), (50, True), (1050, True), (1101, False)])
def test_stale_page_after_a_restart(
    listener: Listener, make_index: Callable[..., RemoteIndex], clocks: Clocks, age_s: int, is_served: bool
) -> None:
    """A process that has not seen the index before goes by the age of the copy: a restart starts no new `stale_if_error`."""
    index = make_index(page_ttl_s=100, stale_if_error_s=1000)
    listener.answers[f"{HERE}demo/"] = page(
        listing("1.0"), X_Decider_Cache="STALE", Date=sent(clocks, ago_s=age_s)
    )
    if is_served:
        assert versions_of(index) == ["1.0"]
        clocks.seconds += 1100 - max(age_s, 0) + 1
    with pytest.raises(IndexUnavailable, match="away for longer"):
        index.fetch_page(DEMO)


def test_stale_page_that_nobody_asked_for(
    listener: Listener, make_index: Callable[..., RemoteIndex], clocks: Clocks
) -> None:
    """The time of a page that was asked for long ago began when the index last confirmed it, not with the next question."""
    index = make_index(page_ttl_s=100, stale_if_error_s=1000)
    listener.answers[f"{HERE}demo/"] = page(
        listing("1.0"), X_Decider_Cache="REVALIDATED", Date=sent(clocks, ago_s=150)
    )
    assert versions_of(index) == ["1.0"]
    listener.answers[f"{HERE}demo/"] = page(
        listing("1.0"), X_Decider_Cache="STALE", Date=sent(clocks, ago_s=150)
    )
    clocks.seconds += 1050
    assert versions_of(index) == ["1.0"]
    clocks.seconds += 51
    with pytest.raises(IndexUnavailable, match="away for longer"):
        index.fetch_page(DEMO)


def test_stale_page(listener: Listener, make_index: Callable[..., RemoteIndex], clocks: Clocks) -> None:
    """A stale page goes on for `stale_if_error`, is asked for less often, and then the index counts as away."""
    index = make_index(stale_if_error_s=100)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"), X_Decider_Cache="STALE")
    assert versions_of(index) == ["1.0"]
    clocks.seconds += FRESH_WHEN_FAILING_S - 0.1
    assert versions_of(index) == ["1.0"]
    assert len(listener.asked) == 1
    clocks.seconds += 90
    assert versions_of(index) == ["1.0"]
    clocks.seconds += 10
    with pytest.raises(IndexUnavailable, match="away for longer"):
        index.fetch_page(DEMO)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0", "2.0"), X_Decider_Cache="EXPIRED")
    assert versions_of(index) == ["1.0", "2.0"]


def test_answer_ends_staleness(
    listener: Listener, make_index: Callable[..., RemoteIndex], clocks: Clocks
) -> None:
    """One answer of the index itself, though it be 304, and the bound starts anew."""
    index = make_index(stale_if_error_s=100)
    for cache_status in ("STALE", "REVALIDATED", "STALE"):
        listener.answers[f"{HERE}demo/"] = page(listing("1.0"), X_Decider_Cache=cache_status)
        assert versions_of(index) == ["1.0"]
        clocks.seconds += 60


def test_failure_does_not_forget(listener: Listener, index: RemoteIndex, clocks: Clocks) -> None:
    """After a failure the page is asked for with the ETag of what is still known."""
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"), ETag='"a"')
    first = index.fetch_page(DEMO)
    clocks.seconds += FRESH_S
    listener.answers[f"{HERE}demo/"] = Said(502)
    assert index.fetch_page(DEMO) is first
    assert index.is_stale(DEMO)
    clocks.seconds += FRESH_WHEN_FAILING_S
    listener.answers[f"{HERE}demo/"] = lambda asked: Said(
        304 if asked.headers.get("if-none-match") == '"a"' else 500
    )
    assert index.fetch_page(DEMO) is first
    assert not index.is_stale(DEMO)


FAILURES: list[tuple[Said, type[Exception], str]] = [
    (failed("refused", "answered 520"), IndexUnavailable, "answered 520"),
    (failed("away", "its answer ended before its end"), IndexUnavailable, "before its end"),
    (failed("malformed", "its answer is no proper HTTP"), IndexMisbehaved, "no proper HTTP"),
    (failed("timeout", "no answer in time", 504), IndexTimeout, "in time"),
    (Said(502), IndexUnavailable, "nginx answered 502"),
    (Said(body=b"12", length=4), IndexUnavailable, "no whole answer"),
]


@pytest.mark.parametrize("failure", FAILURES, ids=[one[2] for one in FAILURES])
def test_failure_that_nginx_has_no_stale_copy_for(
    listener: Listener,
    make_index: Callable[..., RemoteIndex],
    clocks: Clocks,
    failure: tuple[Said, type[Exception], str],
) -> None:
    """However an index fails, its page goes on for `stale_if_error`; that it has none does not."""
    said, error, words = failure
    index = make_index(page_ttl_s=10, stale_if_error_s=100)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"))
    assert versions_of(index) == ["1.0"]
    listener.answers[f"{HERE}other/"] = Said(404)
    assert index.fetch_page(OTHER) is None
    listener.answers[f"{HERE}demo/"] = listener.answers[f"{HERE}other/"] = said
    for seconds in (FRESH_S, 100.0):
        clocks.seconds += seconds
        assert versions_of(index) == ["1.0"]
        assert index.is_stale(DEMO)
    with pytest.raises(error, match=words):
        index.fetch_page(OTHER)
    clocks.seconds += 10
    with pytest.raises(error, match=words):
        index.fetch_page(DEMO)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0", "2.0"))
    assert versions_of(index) == ["1.0", "2.0"]
    assert not index.is_stale(DEMO)


class Hanging:
    """An index that does not answer before it is let go."""

    def __init__(self, then: Said) -> None:
        self.then = then
        self.reached = threading.Semaphore(0)
        self.released = threading.Event()

    def __call__(self, _: Asked) -> Said:
        self.reached.release()
        self.released.wait(20)
        return self.then


@pytest.fixture
def hanging() -> Iterator[Callable[[Said], Hanging]]:
    made: list[Hanging] = []

    def make(then: Said) -> Hanging:
        made.append(Hanging(then))
        return made[-1]

    yield make
    for one in made:
        one.released.set()


def test_many_ask_once(
    listener: Listener, make_index: Callable[..., RemoteIndex], hanging: Callable[[Said], Hanging]
) -> None:
    """Many who want the same cold page cause one request, and all get the page."""
    index = make_index(max_waiting=8)
    listener.answers[f"{HERE}demo/"] = slow = hanging(page(listing("1.0")))
    with ThreadPoolExecutor(8) as threads:
        waiting = [threads.submit(index.fetch_page, DEMO) for _ in range(8)]
        assert slow.reached.acquire(timeout=10)
        slow.released.set()
        pages = [one.result(10) for one in waiting]
    assert len(listener.asked) == 1
    assert all(found is pages[0] for found in pages)


def test_hanging_index_holds_only_its_places(
    listener: Listener,
    make_index: Callable[..., RemoteIndex],
    hanging: Callable[[Said], Hanging],
    clocks: Clocks,
) -> None:
    """An index that hangs keeps no more threads waiting than there are places: what is in memory goes on at once."""
    index = make_index(max_waiting=2)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"))
    assert versions_of(index) == ["1.0"]
    slow = hanging(page(listing("1.0")))
    listener.answers |= {f"{HERE}{name}/": slow for name in ("demo", "a", "b", "c")} | {HERE: slow}
    with ThreadPoolExecutor(2) as threads:
        waiting = [threads.submit(index.fetch_page, NormalizedName(name)) for name in "ab"]
        assert all(slow.reached.acquire(timeout=10) for _ in waiting)
        clocks.seconds += HANGS_S + FRESH_S + 1
        assert versions_of(index) == ["1.0"]
        with pytest.raises(IndexTimeout, match="too many"):
            index.fetch_page(NormalizedName("c"))
        with pytest.raises(IndexTimeout, match="too many"):
            index.fetch_projects()
        slow.released.set()
        for one in waiting:
            with pytest.raises(UnreadablePage):  # the page of `demo`
                one.result(10)
    assert versions_of(index) == ["1.0"]


def test_what_is_in_memory_does_not_go_on_for_ever(
    listener: Listener,
    make_index: Callable[..., RemoteIndex],
    hanging: Callable[[Said], Hanging],
    clocks: Clocks,
) -> None:
    """While an index hangs, what is in memory goes on for `stale_if_error` and no longer."""
    index = make_index(max_waiting=1, stale_if_error_s=100)
    listener.answers[f"{HERE}demo/"] = page(listing("1.0"))
    assert versions_of(index) == ["1.0"]
    listener.answers[f"{HERE}other/"] = slow = hanging(Said(404))
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(index.fetch_page, OTHER)
        assert slow.reached.acquire(timeout=10)
        clocks.seconds += 99
        assert versions_of(index) == ["1.0"]
        clocks.seconds += 2
        with pytest.raises(IndexTimeout):
            index.fetch_page(DEMO)
        slow.released.set()
        assert waiting.result(10) is None


# The project list


def projects_page(*names: str) -> Said:
    return Said(
        body=json.dumps(
            {"meta": {"api-version": "1.0"}, "projects": [{"name": name} for name in names]}
        ).encode(),
        headers={"Content-Type": JSON_TYPE},
    )


def test_projects(listener: Listener, make_index: Callable[..., RemoteIndex], clocks: Clocks) -> None:
    """The project list is asked for again after `page_ttl`; while it is, and for as long again, the old one will do."""
    index = make_index(page_ttl_s=60)
    listener.answers[HERE] = projects_page("demo", "Other")
    assert set(index.fetch_projects()) == {"demo", "other"}
    listener.answers[HERE] = projects_page("demo")
    clocks.seconds += 59
    assert set(index.fetch_projects()) == {"demo", "other"}
    assert len(listener.asked) == 1
    clocks.seconds += 1
    assert set(index.fetch_projects()) == {"demo", "other"}
    eventually(lambda: set(index.fetch_projects()) == {"demo"}, within_s=10)
    listener.answers[HERE] = projects_page("new")
    clocks.seconds += 120
    assert set(index.fetch_projects()) == {"new"}


@pytest.mark.parametrize("status", [404, 500, 403])
def test_no_project_list(listener: Listener, index: RemoteIndex, status: int) -> None:
    """An index that gives no list has not said that it has no projects."""
    listener.answers[HERE] = Said(status)
    with pytest.raises(IndexUnavailable):
        index.fetch_projects()


# Readiness


@pytest.mark.parametrize("status", [200, 404])
def test_ping(listener: Listener, index: RemoteIndex, status: int) -> None:
    """An index that says of some name whether it has it is there; the index itself is asked."""
    listener.answers[f"{HERE}{remote.PROBE}/"] = Said(status)
    index.ping(timeout_s=5)
    assert listener.asked[0].headers["x-decider-refresh"] == "1"


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (Said(500), IndexUnavailable),
        (Said(304), IndexUnavailable),
        (failed("refused", "answered 403"), IndexUnavailable),
        (failed("malformed", "odd"), IndexMisbehaved),
        (failed("timeout", "slow", 504), IndexTimeout),
    ],
)
def test_ping_fails(listener: Listener, index: RemoteIndex, said: Said, error: type[Exception]) -> None:
    """An index that answers with an error is not there."""
    listener.answers[f"{HERE}{remote.PROBE}/"] = said
    with pytest.raises(error):
        index.ping(timeout_s=5)


def test_ping_of_a_hanging_index(
    listener: Listener,
    make_index: Callable[..., RemoteIndex],
    hanging: Callable[[Said], Hanging],
) -> None:
    """Readiness is told in time although all places are taken."""
    index = make_index(max_waiting=1)
    slow = hanging(Said(404))
    listener.answers |= {f"{HERE}demo/": slow, f"{HERE}{remote.PROBE}/": slow}
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(index.fetch_page, DEMO)
        assert slow.reached.acquire(timeout=10)
        with pytest.raises(IndexTimeout, match="no answer in time"):
            index.ping(timeout_s=0.2)
        slow.released.set()
        assert waiting.result(10) is None


def test_internal(make_index: Callable[..., RemoteIndex]) -> None:
    """A remote index claims names only where it is configured as internal."""
    assert not make_index().is_internal
    assert make_index(internal=True).is_internal


def test_all_questions_have_one_deadline(
    listener: Listener, index: RemoteIndex, clocks: Clocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that takes all the time there is leaves a second for the next question, not as much again."""
    asked: list[float] = []
    original = index._asker.get

    def get(project: str, *, timeout_s: float = FETCH_DEADLINE_S, **more: Any) -> Any:
        asked.append(timeout_s)
        clocks.seconds += FETCH_DEADLINE_S - 0.5
        return original(project, timeout_s=timeout_s, **more)

    monkeypatch.setattr(index._asker, "get", get)
    listener.answers[f"{HERE}demo/"] = page("broken", X_Decider_Cache="HIT")
    with pytest.raises(UnreadablePage):
        index.fetch_page(DEMO)
    assert asked == [FETCH_DEADLINE_S, 1.0]
