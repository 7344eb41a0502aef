"""How long `decider up` takes until it serves, on what an earlier start has made."""

import time

from tests.benchmarks.bench import Bench
from tests.benchmarks.figures import Figure, Table
from tests.stack import Stack

__all__ = ["measure_starts"]


def measure_starts(bench: Bench) -> Table:
    """Second starts: none is to take 3 s."""
    with bench.decider() as stack:
        taken = tuple(_start_again(stack) for _ in range(bench.scale.repetitions))
    return Table("Second starts", ["", "s"], [["until /readyz is 200", Figure(taken)]])


def _start_again(stack: Stack) -> float:
    stack.stop()
    began = time.perf_counter()
    stack.start()
    return time.perf_counter() - began
