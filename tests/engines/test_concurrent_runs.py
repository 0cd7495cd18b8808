"""Batches in ONNX Runtime as several runs of one thread each: the same numbers, and errors of any run."""

from __future__ import annotations

import threading
from collections.abc import Mapping

import numpy as np
import pytest
from tiny import tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.engines import EngineOptions, create_engine
from onnxzoo.engines.concurrent_runs import ConcurrentRuns
from onnxzoo.engines.protocol import Array
from onnxzoo.errors import EngineError


def batch(count: int) -> dict[str, Array]:
    return {"a": np.arange(count, dtype=np.float32)[:, None], "b": np.ones((count, 2), np.float32)}


@pytest.mark.parametrize(
    ("size", "count", "runs"),
    [(1, 1, [1]), (1, 3, [1, 1, 1]), (3, 7, [1, 3, 3]), (None, 1, [1]), (None, 8, [4, 4]), (None, 5, [2, 3])],
)
def test_what_runs_and_in_which_order_results_come(size, count, runs):
    seen = []

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        seen.append(len(feeds["a"]))
        return {"sum": feeds["a"] + feeds["b"]}

    outputs = ConcurrentRuns(2, size).run(run, batch(count))
    np.testing.assert_array_equal(outputs["sum"], batch(count)["a"] + batch(count)["b"])
    assert sorted(seen) == runs


def test_as_many_runs_at_a_time_as_there_are_threads():
    together = threading.Barrier(3, timeout=20)

    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        together.wait()
        return dict(feeds)

    assert len(ConcurrentRuns(3, 1).run(run, batch(6))["a"]) == 6


def test_the_error_of_a_run_is_the_batchs():
    def run(feeds: Mapping[str, Array]) -> dict[str, Array]:
        if feeds["a"][0, 0] == 2:
            raise EngineError("the third fails")
        return dict(feeds)

    with pytest.raises(EngineError, match="the third fails"):
        ConcurrentRuns(2, 1).run(run, batch(4))


@pytest.mark.parametrize("small_bytes", [100, 2**20])
@pytest.mark.parametrize(
    ("options", "threads_of_a_run"),
    [
        (EngineOptions(hint="throughput", threads=2, batch_size=8), 1),
        (EngineOptions(hint="throughput", threads=5, batch_size=8), 5),
        (EngineOptions(hint="throughput", threads=1, batch_size=8), 1),
        (EngineOptions(hint="latency", threads=2, batch_size=8), 2),
    ],
)
def test_many_images_in_onnxruntime(model_file, monkeypatch, options, threads_of_a_run, small_bytes):
    onnxruntime = pytest.importorskip("onnxruntime")
    monkeypatch.setattr("onnxzoo.engines.onnxruntime.SMALL_BYTES", small_bytes)
    threads = []
    original = onnxruntime.InferenceSession

    def opened(path, chosen, **rest):
        threads.append(chosen.intra_op_num_threads)
        return original(path, chosen, **rest)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opened)
    engine = create_engine("onnxruntime", model_file, options)
    assert threads == [threads_of_a_run]
    for count in (1, 8, 5, 2):
        images = np.random.default_rng(count).standard_normal((count, 3, 32, 32)).astype(np.float32)
        outputs = engine.run({INPUT_NAME: images})
        for name, expected in tiny_outputs(images).items():
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)
    engine.close()
    with pytest.raises(EngineError, match="closed"):
        engine.run({INPUT_NAME: images})
