"""The benchmarks' way of timing: what counts as a healthy moment, and processes that run only when told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from timed import SteadyGate

from onnxzoo.bench import timing
from onnxzoo.bench.timing import Contender, Sample, Worker, interleave, summary
from onnxzoo.errors import BenchmarkError

PEER = """
import sys
import numpy as np
from onnxzoo.bench.children.serve import serve

def load():
    print("a library talks")
    return lambda: np.full((1, 4), 7.0, np.float32)

serve(load, sys.argv[1])
"""


def peer(name: str, code: str = PEER) -> Contender:
    return Contender(name, "numpy", [sys.executable, "-P", "-c", code])


def test_contenders_run_in_turn_and_only_healthy_samples_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "WARM_MS", 1.0)
    contenders = [peer("a"), peer("b")]
    workers = [Worker(contender, tmp_path / f"{contender.graph}.npy", 2) for contender in contenders]
    # Two rounds of two contenders, a product before and after each: b's first sample ends in a bad moment.
    gate = SteadyGate(0.020, 0.021, 0.020, 0.027, 0.020, 0.020, 0.025, 0.020)
    said: list[str] = []
    interleave(contenders, workers, gate, rounds=2, runs=3, log=said.append)
    assert workers[0].peak_mib() is None or workers[0].peak_mib() > 5  # type: ignore[operator]
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
    with pytest.raises(BenchmarkError, match="g, e: none of 1 samples came from a healthy moment"):
        summary(contender, SteadyGate(0.02))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import sys; print('no such graph', file=sys.stderr); sys.exit(3)", "ended with exit code 3: no such graph"),
        ("raise ValueError('no such graph')", "ended with exit code 1: ValueError: no such graph"),
        ("import os; os.kill(os.getpid(), 9)", "ended with exit code -9"),
    ],
)
def test_a_contender_that_fails_is_an_error_with_its_last_words(tmp_path: Path, code: str, message: str) -> None:
    with pytest.raises(BenchmarkError) as caught:
        Worker(peer("g", code), tmp_path / "o.npy", 2)
    assert str(caught.value) == f"g, numpy {message}"
    assert caught.value.contender == "g, numpy"


def test_hints_after_the_exception_are_not_its_last_words() -> None:
    traceback = "Traceback ...\n  x()\ntorch.OutOfMemoryError: CUDA\n\nSet X=1 for more\n"
    assert timing.ending(1, traceback) == "ended with exit code 1: torch.OutOfMemoryError: CUDA"


def test_a_contender_that_hangs_is_killed(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"^g, numpy gave no answer in 0 s and was killed$"):
        Worker(peer("g", "import time; time.sleep(600)"), tmp_path / "o.npy", 2, timeout_s=0.2)


def test_no_contender_outlives_what_interrupts_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []

    def interrupted(worker: Worker) -> str:
        started.append(worker._process.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(Worker, "_answer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Worker(peer("g", "import time; time.sleep(600)"), tmp_path / "o.npy", 2)
    assert not Path(f"/proc/{started[0]}").exists()


def test_rounds_end_when_every_contender_has_enough_healthy_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    class Idle(Worker):
        def __init__(self) -> None:
            self.counts: list[int] = []

        def run(self, _warm_ms: float, count: int) -> list[float]:
            self.counts.append(count)
            return [0.001] * count

    contenders = [Contender("a", "", []), Contender("b", "", [])]
    workers = [Idle(), Idle()]
    # b has a bad moment in the first round, nobody in the second and third.
    gate = SteadyGate(*[0.02] * 3, 0.9, *[0.02] * 8)
    interleave(contenders, workers, gate, rounds=9, runs=[1, 4], log=lambda text: None, enough=2)
    assert [len(contender.samples) for contender in contenders] == [3, 3]
    assert [worker.counts for worker in workers] == [[1, 1, 1], [4, 4, 4]]
