"""How a contender of a timing runs: loads, then waits, and infers only when told. Standard library and numpy only.

Protocol, lines on standard input and output:

    (start)       the contender writes the outputs of one inference to OUT.npy and prints `ready`
    run W N       unmeasured inferences for W milliseconds, then N measured ones: a JSON list of seconds
    memory        the largest resident memory of the process so far, in MiB: a JSON number, or null
    (end of file) the contender ends

Between commands the process sleeps in a read, so that it disturbs nobody else's timing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def serve(load: Callable[[], Callable[[], Any]], out: str) -> None:
    """Answer commands until the input ends; `load()` gives a function that infers once and returns the logits.

    Whatever the libraries print goes to stderr: only answers go to the pipe.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    infer = load()
    np.save(out, np.asarray(infer()))
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        answer = peak_mib() if line.strip() == "memory" else timed(infer, *line.split()[1:])
        print(json.dumps(answer), file=answers, flush=True)


def timed(infer: Callable[[], Any], warm_ms: str, count: str) -> list[float]:
    """Seconds of `count` inferences, after unmeasured ones for `warm_ms` milliseconds, at least one."""
    start = time.perf_counter()
    infer()
    while time.perf_counter() - start < float(warm_ms) / 1000:
        infer()
    seconds = []
    for _ in range(int(count)):
        start = time.perf_counter()
        infer()
        seconds.append(time.perf_counter() - start)
    return seconds


def peak_mib() -> float | None:
    """The largest resident memory of this process so far; None where the system does not say.

    On Linux not `ru_maxrss`, which begins with what the parent process had.
    """
    if sys.platform == "linux":
        with Path("/proc/self/status").open(encoding="utf-8") as status:
            return next((int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:")), None)
    if sys.platform == "darwin":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    return None
