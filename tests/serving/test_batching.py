"""Joining requests into runs; every run is written down."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from oip import infer, pixels
from tiny import tiny_outputs

from onnxzoo.errors import EngineError
from onnxzoo.results import Array
from onnxzoo.serving.batching import Batcher

LONG_S = 60.0


class Runs:
    """A model that writes down the sizes of its runs, and rejects a batch that holds the value 9."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, batch: Array) -> dict[str, Array]:
        self.sizes.append(len(batch))
        if (batch == 9).any():
            raise EngineError("nine")
        return tiny_outputs(batch)


def images(count: int, value: float = 0.0) -> Array:
    return np.full((count, 3, 32, 32), value, dtype=np.float32)


def run(batches: list[Array], *, most: int, delay_s: float = LONG_S) -> tuple[list[object], list[int]]:
    """The results for these batches, sent at the same time, and the sizes of the runs."""
    runs = Runs()

    async def all_at_once() -> list[object]:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(runs, most, delay_s)
            return await asyncio.gather(*[batcher.run(one, pool) for one in batches], return_exceptions=True)

    return asyncio.run(all_at_once()), runs.sizes


def test_a_full_batch_runs_at_once_and_everyone_gets_their_own():
    batches = [images(1, 0.1), images(2, 0.2), images(1, 0.3)]
    results, sizes = run(batches, most=4)
    assert sizes == [4]
    for (outputs, began, ended), batch in zip(results, batches, strict=True):
        assert np.allclose(outputs["logits"], tiny_outputs(batch)["logits"])
        assert began <= ended


def test_a_batch_that_is_not_full_runs_after_the_delay():
    results, sizes = run([images(1), images(1)], most=4, delay_s=0.01)
    assert sizes == [2]
    assert len(results) == 2


def test_what_does_not_fit_comes_into_the_next_run():
    assert run([images(3), images(3), images(1)], most=4)[1] == [3, 4]


def test_a_batch_that_fails_fails_only_for_its_cause():
    results, sizes = run([images(1, 0.5), images(1, 9.0)], most=2)
    assert sizes == [2, 1, 1]
    assert np.allclose(results[0][0]["logits"], tiny_outputs(images(1, 0.5))["logits"])
    assert isinstance(results[1], EngineError)


def test_a_request_that_was_cancelled_is_left_out():
    runs = Runs()

    async def two() -> object:
        with ThreadPoolExecutor(1) as pool:
            batcher = Batcher(runs, 3, LONG_S)
            first = asyncio.ensure_future(batcher.run(images(2), pool))
            await asyncio.sleep(0)
            first.cancel()
            await asyncio.sleep(0)
            return await batcher.run(images(1), pool)

    asyncio.run(two())
    assert runs.sizes == [1]


def test_a_server_that_batches_gives_the_same_numbers(start, served_folders, served, tensors, gate, aside):
    with start(served_folders[0], batch=3, delay_ms=1.0) as address:
        gate.shut()
        answers = [aside.submit(infer, address.http, "tiny", pixels(tensors[i : i + 1])) for i in range(3)]
        assert gate.begun.acquire(timeout=20)
        gate.open()
        for index, answer in enumerate(answers):
            expected = served.model.logits(tensors[index : index + 1])
            assert np.allclose(answer.result().array("logits"), expected, rtol=1e-5, atol=1e-6)
        assert sum(gate.runs) == 3
        large = np.concatenate([tensors] * 3)  # more than a batch: in steps
        answer = infer(address.http, "tiny", pixels(large))
        assert np.allclose(answer.array("logits"), served.model.logits(large), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [7, 8, 9, 32])
def test_large_requests_run_in_steps(served, gate, count):
    batch = np.random.default_rng(1).standard_normal((count, 3, 32, 32)).astype(np.float32)
    gate.runs.clear()
    answer = infer(served.http, "tiny", pixels(batch))
    assert gate.runs == [8] * (count // 8) + ([count % 8] if count % 8 else [])
    assert np.array_equal(answer.array("logits").astype(np.float32), served.model.logits(batch))
