"""Each thing that the fetcher is asked for is counted once, by what came of it and how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from decider.errors import FetchFailed
from decider.metrics import meters

__all__ = ["Course", "counted"]


class Course:
    """How it went with one thing; without another word its client has gone before anything came of it."""

    outcome = "left"


@contextmanager
def counted(kind: str) -> Iterator[Course]:
    """Count what its block does: by the outcome that it sets, or by the kind of its FetchFailed."""
    course, started = Course(), time.monotonic()
    try:
        yield course
    except FetchFailed as error:
        course.outcome = error.kind
        raise
    finally:
        meters().fetches.labels(kind, course.outcome).inc()
        meters().egress_seconds.labels(kind).observe(time.monotonic() - started)
