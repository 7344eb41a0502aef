"""Log lines: an event word, then fields; to standard error, which `up` and systemd collect."""

import logging
import sys

__all__ = ["EventFormatter", "configure"]

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """`2026-11-22T10:00:00+0000 WARNING index.file_skipped path='x' why='y'`: one event a line, whatever it says.

    A trace follows on lines that begin with a blank. What terminals obey is escaped everywhere.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the trace; nothing that a record holds can forge another line."""
        at = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        fields = {name: value for name, value in vars(record).items() if name not in _ORDINARY}
        words = [
            at,
            record.levelname,
            record.getMessage(),
            *(f"{name}={value!r}" for name, value in fields.items()),
        ]
        lines = [_printable(" ".join(words))]
        if record.exc_info:
            lines += [f"  {_printable(line)}" for line in self.formatException(record.exc_info).splitlines()]
        return "\n".join(lines)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def configure(level: int = logging.INFO) -> None:
    """Send decider's events to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(EventFormatter())
    logger = logging.getLogger("decider")
    logger.handlers[:] = [handler]
    logger.setLevel(level)
    logger.propagate = False
