"""Fair timings on a machine with bad moments: contenders in processes of their own, interleaved, behind a health gate.

Two threads of a virtual machine run for seconds at a time like one, with no sign of it elsewhere. So every sample
stands between two runs of a fixed matrix product; it counts only if both took at most GATE_TOLERANCE times the
fastest of the whole session.
"""

from __future__ import annotations

import contextlib
import json
import os
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

GATE_TOLERANCE = 1.3
# 3.9 GFLOP: 20 ms on two cores that give 200 GFLOP/s.
GATE_SIDE = 1250
# Thread pools of numpy, Paddle and PyTorch spin on after their work, Paddle's for 200 ms.
SETTLE_S = 0.3
WARM_MS = 60.0
LOAD_TIMEOUT_S = 600


@dataclass(frozen=True)
class Sample:
    """Seconds of consecutive inferences, and of the matrix products before and after them."""

    seconds: list[float]
    gates: tuple[float, float]


@dataclass
class Contender:
    """A way to run the model: the command of a process that speaks the protocol of peers/serve.py.

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


class WorkerError(SystemExit):
    """A contender's process ended or did not get ready; the message has its last words. `contender`: its name."""

    def __init__(self, contender: str, message: str) -> None:
        super().__init__(message)
        self.contender = contender


class Worker:
    """The process of a contender, loaded and waiting. Raises WorkerError with its last words when it fails.

    `timeout_s`: it is killed when it is not ready after that.
    """

    def __init__(self, contender: Contender, out: Path, threads: int, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        self._name = contender.name
        self._late = False
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the worker
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "GLOG_minloglevel": "2", **contender.environment}
        self._process = subprocess.Popen(
            [*contender.command, str(out), str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, env=environment,
        )  # fmt: skip
        timer = threading.Timer(timeout_s, self._give_up)
        timer.start()
        try:
            answer = self._answer()
        finally:
            timer.cancel()
        if answer != "ready":
            self._fail()

    def run(self, warm_ms: float, count: int) -> list[float]:
        """Seconds of `count` inferences, after unmeasured ones for `warm_ms` milliseconds."""
        if self._process.stdin is None:
            self._fail()
        try:
            self._process.stdin.write(f"run {warm_ms} {count}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail()
        seconds: list[float] = json.loads(self._answer())
        return seconds

    def close(self) -> None:
        """End the process by ending its input."""
        with contextlib.suppress(BrokenPipeError):
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _answer(self) -> str:
        line = self._process.stdout.readline().strip() if self._process.stdout is not None else ""
        if not line:
            self._fail()
        return line

    def _give_up(self) -> None:
        self._late = True
        self._process.kill()

    def _fail(self) -> NoReturn:
        code = self._process.wait(timeout=30)
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip()[-2000:]
        ended = "was not ready in time and was killed" if self._late else f"ended with exit code {code}"
        raise WorkerError(self._name, f"{self._name} {ended}\n{words}")


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
    runs: int,
    log: Callable[[str], None],
    warm_ms: float | None = None,
) -> None:
    """Take `rounds` samples of `runs` inferences of every contender in turn; each round starts with another one.

    `warm_ms`: milliseconds of unmeasured inferences before each sample, by default WARM_MS.
    """
    pairs = list(zip(contenders, workers, strict=True))
    for turn in range(rounds):
        start = turn % len(pairs)
        for contender, worker in pairs[start:] + pairs[:start]:
            before = gate.check()
            gate.settle()
            seconds = worker.run(WARM_MS if warm_ms is None else warm_ms, runs)
            contender.samples.append(Sample(seconds, (before, gate.check())))
        healthy = sum(gate.healthy(sample) for contender in contenders for sample in contender.samples)
        log(f"  round {turn + 1} of {rounds}: {healthy} of {(turn + 1) * len(pairs)} samples from healthy moments")


def summary(contender: Contender, gate: Gate) -> dict[str, Any]:
    """Minimum and median in ms over the healthy samples; raises SystemExit when there is none."""
    kept = [sample for sample in contender.samples if gate.healthy(sample)]
    if not kept:
        raise SystemExit(
            f"{contender.name}: none of {len(contender.samples)} samples came from a healthy moment of the machine; "
            "run again with more --rounds when it is quieter"
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
