"""Fair timings on a machine with bad moments: contenders in processes of their own, interleaved, behind a health gate.

Two threads of a virtual machine run for seconds at a time like one, with no sign of it elsewhere. So every sample
stands between two runs of a fixed matrix product; it counts only if both took at most GATE_TOLERANCE times the
fastest of the whole session.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..errors import BenchmarkError

GATE_TOLERANCE = 1.3
# 3.9 GFLOP: 20 ms on two cores that give 200 GFLOP/s.
GATE_SIDE = 1250
# Thread pools of numpy, Paddle and PyTorch spin on after their work, Paddle's for 200 ms.
SETTLE_S = 0.3
WARM_MS = 60.0
TIMEOUT_S = 600.0
"""For loading, and for one sample: a library that hangs must not keep everybody waiting."""
LOG_CHARS = 2000

Log = Callable[[str], None]


@dataclass(frozen=True)
class Sample:
    """Seconds of consecutive inferences, and of the matrix products before and after them."""

    seconds: list[float]
    gates: tuple[float, float]


@dataclass
class Contender:
    """A way to run the model: the command of a process that speaks the protocol of children/serve.py.

    `graph` and `engine` name it in tables.
    """

    graph: str
    engine: str
    command: Sequence[str]
    environment: dict[str, str] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)

    @property
    def name(self) -> str:
        """For messages and ratios."""
        return f"{self.graph}, {self.engine}" if self.engine else self.graph


class Worker:
    """The process of a contender, loaded and waiting. Leaving a `with` block by an exception kills it."""

    def __init__(self, contender: Contender, out: Path, threads: int, timeout_s: float = TIMEOUT_S) -> None:
        """Start it and wait until it is loaded. `out`: the file for its outputs. `timeout_s`: then it is killed.

        Raises BenchmarkError with its last words when it ends or is not ready in time.
        """
        self._name = contender.name
        self._timeout_s = timeout_s
        self._late = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "GLOG_minloglevel": "2", **contender.environment}
        self._process = subprocess.Popen(
            [*contender.command, str(out), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment,
        )  # fmt: skip
        try:
            if self._answer() != "ready":
                self._fail()
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            self.close()
        else:
            self.kill()

    def run(self, warm_ms: float, count: int) -> list[float]:
        """Seconds of `count` inferences, after unmeasured ones for `warm_ms` milliseconds."""
        seconds: list[float] = self._ask(f"run {warm_ms} {count}")
        return seconds

    def peak_mib(self) -> float | None:
        """The largest resident memory of the process so far, in MiB; None where the system does not say."""
        peak: float | None = self._ask("memory")
        return peak

    def close(self) -> None:
        """End the process by ending its input."""
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=30)
        self.kill()

    def kill(self) -> None:
        """End the process at once, if it still runs."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self._log.close()

    def _ask(self, question: str) -> Any:
        if self._process.stdin is None:
            self._fail()
        try:
            self._process.stdin.write(f"{question}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        return json.loads(self._answer())

    def _answer(self) -> str:
        timer = threading.Timer(self._timeout_s, self._give_up)
        timer.daemon = True
        timer.start()
        try:
            line = self._process.stdout.readline().strip() if self._process.stdout is not None else ""
        finally:
            timer.cancel()
        if not line:
            self._fail()
        return line

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def _fail(self) -> NoReturn:
        code = self._process.wait(timeout=30)
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip()[-LOG_CHARS:]
        ended = f"gave no answer in {self._timeout_s:.0f} s and was killed" if self._late else ending(code, words)
        raise BenchmarkError(f"{self._name} {ended}", contender=self._name, log=words)


def ending(code: int, words: str) -> str:
    """How a process ended, and the exception that it ended with, not the hints after that."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception|Exit|Interrupt)\b", line)]
    return ": ".join([f"ended with exit code {code}", *(errors or lines)[-1:]])


class Gate:
    """A fixed float32 matrix product as a measure of the machine's health; `best` is the fastest of the session."""

    def __init__(self) -> None:
        stream = np.random.default_rng(0)
        self._a, self._b = (stream.standard_normal((GATE_SIDE, GATE_SIDE)).astype(np.float32) for _ in range(2))
        self.best = min(self.seconds() for _ in range(20))

    def seconds(self) -> float:
        """Seconds of one product."""
        start = time.perf_counter()
        np.matmul(self._a, self._b)
        return time.perf_counter() - start

    def check(self) -> float:
        """Seconds of one product after a rest and one unmeasured product; keeps the best of the session."""
        self.settle()
        self.seconds()
        found = self.seconds()
        self.best = min(self.best, found)
        return found

    def settle(self) -> None:
        """Let the threads of the contender that ran last come to rest."""
        time.sleep(SETTLE_S)

    def healthy(self, sample: Sample) -> bool:
        """Whether both products around the sample were near the best of the session."""
        return max(sample.gates) <= GATE_TOLERANCE * self.best


class OpenGate(Gate):
    """For work on a GPU, of whose health the processor's matrix product says nothing: every sample counts."""

    def __init__(self) -> None:
        self.best = 0.0

    def check(self) -> float:
        """Takes no time."""
        return 0.0

    def settle(self) -> None:
        """Takes no time."""


def interleave(
    contenders: Sequence[Contender],
    workers: Sequence[Worker],
    gate: Gate,
    *,
    rounds: int,
    runs: int | Sequence[int],
    log: Log,
    warm_ms: float | None = None,
    enough: int | None = None,
) -> None:
    """Take up to `rounds` samples of every contender in turn; each round starts with another one.

    `runs`: inferences in a sample, of all contenders or of each. `warm_ms`: milliseconds of unmeasured inferences
    before each sample, by default WARM_MS. `enough`: healthy samples of every contender after which no round follows.

    Raises BenchmarkError naming the contender whose process fails.
    """
    counts = [runs] * len(contenders) if isinstance(runs, int) else runs
    everyone = list(zip(contenders, workers, counts, strict=True))
    for turn in range(rounds):
        start = turn % len(everyone)
        for contender, worker, count in everyone[start:] + everyone[:start]:
            before = gate.check()
            gate.settle()
            seconds = worker.run(WARM_MS if warm_ms is None else warm_ms, count)
            contender.samples.append(Sample(seconds, (before, gate.check())))
        healthy = [len(healthy_samples(contender, gate)) for contender in contenders]
        total = (turn + 1) * len(everyone)
        log(f"  round {turn + 1} of {rounds}: {sum(healthy)} of {total} samples from healthy moments")
        if enough is not None and min(healthy) >= enough:
            return


def healthy_samples(contender: Contender, gate: Gate) -> list[Sample]:
    """The samples of a contender that come from healthy moments."""
    return [sample for sample in contender.samples if gate.healthy(sample)]


def summary(contender: Contender, gate: Gate) -> dict[str, Any]:
    """Minimum and median in ms over the healthy samples; raises BenchmarkError when there is none."""
    kept = healthy_samples(contender, gate)
    if not kept:
        raise BenchmarkError(
            f"{contender.name}: none of {len(contender.samples)} samples came from a healthy moment of the machine; "
            "run again with more --rounds when it is quieter",
            contender=contender.name,
        )
    milliseconds = [second * 1000 for sample in kept for second in sample.seconds]
    return {
        "graph": contender.graph,
        "engine": contender.engine,
        "min_ms": min(milliseconds),
        "median_ms": statistics.median(milliseconds),
        "samples_kept": len(kept),
        "samples": len(contender.samples),
        "all_samples_ms": [[round(second * 1000, 4) for second in sample.seconds] for sample in contender.samples],
        "gates_ms": [[round(second * 1000, 3) for second in sample.gates] for sample in contender.samples],
    }
