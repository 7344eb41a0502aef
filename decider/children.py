"""Work that takes much memory for a moment, done in a process of its own, so that this one does not keep it.

Python gives little back to the system: a worker that once held a million names would stay as large as that. A child is
`python -m <module>`: it reads its job from standard input and writes its result to standard output, both JSON. It dies
with the process that waits for it. What children do may not be added here.
"""

import ctypes
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TypeVar

import msgspec

from decider.errors import ChildFailed

__all__ = ["run_child", "serve_job"]

J = TypeVar("J")
R = TypeVar("R")

_PR_SET_PDEATHSIG = 1  # prctl(2)


def run_child(module: str, job: msgspec.Struct, result: type[R], *, timeout_s: float) -> R:
    """What the child `module` makes of `job`; raise ChildFailed where it ends without a result, or not in time."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", module],
            input=msgspec.json.encode(job),
            stdout=subprocess.PIPE,
            timeout=timeout_s,
            check=True,
        )
        return msgspec.json.decode(done.stdout, type=result)
    except subprocess.TimeoutExpired:
        raise ChildFailed(module, f"no result within {timeout_s:.0f} s") from None
    except subprocess.CalledProcessError as error:
        raise ChildFailed(module, f"ended with {error.returncode}") from None
    except (OSError, msgspec.DecodeError) as error:
        raise ChildFailed(module, f"could not be run: {error}") from error


def serve_job(job: type[J], work: Callable[[J], object], *, max_memory: int) -> None:
    """Be a child: do the job that waits on standard input, in at most `max_memory` bytes of address space."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (max_memory, max_memory))
    found = work(msgspec.json.decode(sys.stdin.buffer.read(), type=job))
    sys.stdout.buffer.write(msgspec.json.encode(found))
