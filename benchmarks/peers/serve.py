"""How a contender of a timing runs: loads, then waits, and infers only when told. Standard library and numpy only.

Protocol, lines on standard input and output:

    (start)       the contender writes the outputs of one inference to OUT.npy and prints `ready`
    run W N       unmeasured inferences for W milliseconds, then N measured ones: a JSON list of seconds
    (end of file) the contender ends

Between commands the process sleeps in a read, so that it disturbs nobody else's timing.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
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
        _, warm_ms, count = line.split()
        start = time.perf_counter()
        infer()
        while time.perf_counter() - start < float(warm_ms) / 1000:
            infer()
        seconds = []
        for _ in range(int(count)):
            start = time.perf_counter()
            infer()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), file=answers, flush=True)
