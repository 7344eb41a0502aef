"""Asks about many projects at once, within a time, and keeps what could not be answered apart.

What is asked, and what is made of the answers, may not be added here.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from decider.errors import IndexError_, IndexTimeout, NotFound

__all__ = ["BUDGET_S", "ask_all"]

J = TypeVar("J")
R = TypeVar("R")

BUDGET_S = 60.0  #: after which no further question is begun; one that hangs is answered for within 30 s more
_THREADS = 8


def ask_all(
    ask: Callable[[J], R], jobs: Sequence[J], *, monotonic: Callable[[], float] = time.monotonic
) -> list[R | NotFound | IndexError_]:
    """What `ask` answers to each of `jobs`, in their order, or why it did not; other errors are raised."""
    deadline = monotonic() + BUDGET_S

    def one(job: J) -> R | NotFound | IndexError_:
        if monotonic() > deadline:
            return IndexTimeout("*", "not asked: the projects before took too long")
        try:
            return ask(job)
        except (NotFound, IndexError_) as error:
            return error

    if len(jobs) < 2:
        return [one(job) for job in jobs]
    with ThreadPoolExecutor(min(_THREADS, len(jobs)), thread_name_prefix="decider-ask") as pool:
        return list(pool.map(one, jobs))
