"""The benchmarks' way of timing: what counts as a healthy moment, and processes that run only when told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS), str(BENCHMARKS / "peers")]

import timing
from timing import Contender, Gate, Sample, Worker, interleave, summary

PEER = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS / "peers")!r})
import numpy as np
from serve import serve

def load():
    print("a library talks")
    return lambda: np.full((1, 4), 7.0, np.float32)

serve(load, sys.argv[1])
"""


class SteadyGate(Gate):
    """A machine whose product takes these seconds, in turn."""

    def __init__(self, *seconds: float) -> None:
        self.left = list(seconds)
        self.best = min(seconds)

    def check(self) -> float:
        return self.left.pop(0)


def peer(name: str, code: str = PEER) -> Contender:
    return Contender(name, "numpy", [sys.executable, "-P", "-c", code])


def test_contenders_run_in_turn_and_only_healthy_samples_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "SETTLE_S", 0.0)
    monkeypatch.setattr(timing, "WARM_MS", 1.0)
    contenders = [peer("a"), peer("b")]
    workers = [Worker(contender, tmp_path / f"{contender.graph}.npy", 2) for contender in contenders]
    # Two rounds of two contenders, a product before and after each: b's first sample ends in a bad moment.
    gate = SteadyGate(0.020, 0.021, 0.020, 0.027, 0.020, 0.020, 0.025, 0.020)
    said: list[str] = []
    interleave(contenders, workers, gate, rounds=2, runs=3, log=said.append)
    for worker in workers:
        worker.close()
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.full((1, 4), 7.0))
    kept = {row["graph"]: row["samples_kept"] for row in (summary(contender, gate) for contender in contenders)}
    assert kept == {"a": 2, "b": 1}
    assert said[-1] == "  round 2 of 2: 3 of 4 samples from healthy moments"
    assert all(len(sample.seconds) == 3 for contender in contenders for sample in contender.samples)


def test_minimum_and_median_are_of_the_healthy_samples() -> None:
    contender = Contender("g", "e", [], samples=[Sample([0.003, 0.001], (0.02, 0.02)), Sample([0.0001], (0.02, 0.9))])
    row = summary(contender, SteadyGate(0.02))
    assert (row["min_ms"], row["median_ms"], row["samples"]) == (1.0, 2.0, 2)


def test_no_healthy_sample_is_an_error_that_says_so() -> None:
    contender = Contender("g", "e", [], samples=[Sample([0.001], (0.02, 0.9))])
    with pytest.raises(SystemExit, match="g, e: none of 1 samples came from a healthy moment"):
        summary(contender, SteadyGate(0.02))


def test_a_contender_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"(?s)g, numpy ended with exit code 3\n.*no such graph"):
        Worker(peer("g", "import sys; print('no such graph', file=sys.stderr); sys.exit(3)"), tmp_path / "o.npy", 2)
