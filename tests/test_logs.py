"""Log lines: one event a line, whatever an index, a client or an error puts into it."""

import logging
from collections.abc import Iterator

import pytest
from gunicorn.config import Config

from decider.logs import EventFormatter, configure
from decider.wsgi import GunicornLogger


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Loggers are the process's: put back what a test changed."""
    kept = [
        (logger, logger.handlers[:], logger.level, logger.propagate)
        for logger in map(logging.getLogger, ("decider", "gunicorn.error", "gunicorn.access"))
    ]
    yield
    for logger, handlers, level, propagate in kept:
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate = propagate


def line(message: str, *arguments: object, level: int = logging.WARNING, **fields: object) -> str:
    """What the formatter makes of a record."""
    record = logging.getLogger("decider.x").makeRecord(
        "decider.x", level, "x.py", 1, message, arguments, None, extra=fields
    )
    return EventFormatter().format(record)


def test_event_and_fields() -> None:
    """An event is its word, then its fields."""
    (_, level, *words) = line("index.file_skipped", path="a b", count=3).split(" ", 2)
    assert level == "WARNING"
    assert words == ["index.file_skipped path='a b' count=3"]


@pytest.mark.parametrize("text", ["a\nb", "a\r\nb", "a\x1b[2Jb", "a\x00b", "a\u2028b", "a\x85b", "a\ud800b"])
def test_no_field_and_no_message_can_forge_a_line(text: str) -> None:
    """Line ends and what terminals obey are escaped, in fields, in words and in their arguments."""
    for made in (line("x", field=text), line(text), line("%s", text)):
        assert made.isprintable()
        assert len(made.splitlines()) == 1
        made.encode()


def test_trace() -> None:
    """A trace follows its event on lines that begin with a blank, though the error's text tries to look like an event."""
    error = ValueError("x\n2026-11-22T10:00:00+0000 INFO rules.removed\x1b[2J")
    record = logging.getLogger("decider").makeRecord(
        "decider", logging.ERROR, "x.py", 1, "request.failed", (), (ValueError, error, None)
    )
    first, *rest = EventFormatter().format(record).splitlines()
    assert first.endswith("ERROR request.failed")
    assert any("rules.removed" in one for one in rest)
    assert all(one.startswith("  ") and one.isprintable() for one in rest)


def test_configure(capsys: pytest.CaptureFixture[str]) -> None:
    """decider's events go to standard error, once each, from the level asked for on."""
    configure()
    configure(logging.INFO)
    logger = logging.getLogger("decider.part")
    logger.debug("too.small")
    logger.info("index.moved", extra={"hosts": ["index.example"]})
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("index.moved hosts=['index.example']") == 1
    assert "too.small" not in said.err


def test_gunicorn_speaks_alike(capsys: pytest.CaptureFixture[str]) -> None:
    """gunicorn's own words are lines of the same form, and cannot forge any either."""
    config = Config()
    config.set("errorlog", "-")
    config.set("loglevel", "warning")
    logger = GunicornLogger(config)
    logger.warning("Invalid request from ip=%s: %s", "127.0.0.1", "bad\nheader")
    logging.getLogger("decider").warning("store.unavailable")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    for one in lines:
        assert one.isprintable()
    assert lines[0].endswith(r"WARNING Invalid request from ip=127.0.0.1: bad\nheader")
