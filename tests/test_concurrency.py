"""Many threads on one model, models in several processes, and memory that stays where it is."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny import write_artifact

from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import EngineError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.loading import load
from onnxzoo.model import Model

NANO = SHIPPED_DIR / "pvt_v2_nano_fashion"
RSS = Path("/proc/self/statm")


@pytest.fixture(params=["openvino", "onnxruntime"])
def model(request: pytest.FixtureRequest) -> Iterator[Model]:
    pytest.importorskip(request.param)
    with load(NANO, engine=request.param) as loaded:
        yield loaded


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 28, 28, 3), dtype=np.uint8))


@pytest.mark.slow
def test_2000_predictions_of_16_threads_equal_those_of_one(model):
    pictures = images(250)
    alone = [model.predict(picture, top_k=10) for picture in pictures]
    assert len({one.class_id for one in alone}) > 1
    with ThreadPoolExecutor(16) as pool:
        together = list(pool.map(lambda i: model.predict(pictures[i % 250], top_k=10), range(2000)))
    assert together == alone * 8


@pytest.mark.slow
def test_threads_with_batches_of_every_size_get_the_same_logits(model):
    batch = np.random.default_rng(1).standard_normal((40, 3, 32, 32)).astype(np.float32)
    alone = np.concatenate([model.logits(one[None]) for one in batch])
    sizes = [1 + i % 19 for i in range(160)]
    with ThreadPoolExecutor(16) as pool:
        for size, logits in zip(sizes, pool.map(lambda size: model.logits(batch[:size]), sizes), strict=True):
            # ONNX Runtime's kernels add up in another order at other batch sizes.
            np.testing.assert_allclose(logits, alone[:size], rtol=1e-5, atol=1e-5)


def test_closing_under_16_threads_is_an_engine_error_at_worst(model):
    pictures = images(9)
    expected = model.predict(pictures)
    failures: list[BaseException] = []
    running = threading.Semaphore(0)

    def work() -> None:
        running.release()
        try:
            while True:
                assert model.predict(pictures) == expected
        except BaseException as error:  # noqa: BLE001 - looked at below
            failures.append(error)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(16)]
    for thread in threads:
        thread.start()
    for _ in threads:
        running.acquire()
    time.sleep(0.1)
    model.close()
    for thread in threads:
        thread.join(30)
    assert [type(error) for error in failures] == [EngineError] * 16
    assert {str(error) for error in failures} == {f"the {model.engine.name} engine is closed; load the model again"}


def test_a_batch_beyond_the_engines_limit_is_cut_and_keeps_its_order(tiny, batch):
    from tiny import tiny_logits, tiny_outputs

    from onnxzoo.artifact.folder import read_artifact

    class Limited(FakeEngine):
        max_batch = 4

    engine = Limited(tiny_outputs)
    model = Model(read_artifact(tiny), engine, batch_size=32)
    many = np.concatenate([batch * scale for scale in (1, 2, 3, 4)])[:11]
    np.testing.assert_array_equal(model.logits(many), tiny_logits(many))
    assert engine.batches == [4, 4, 3]
    engine.batches.clear()
    assert len(model.predict(images(9))) == 9
    assert engine.batches == [4, 4, 1]


@pytest.mark.slow
@pytest.mark.skipif(not RSS.exists(), reason="memory is read from /proc")
def test_memory_is_flat(model):
    """A leak of one input per prediction would be 12 MiB here; benchmarks/memory.py has the figures of 10,000."""
    pictures = images(8)

    def run(count: int) -> int:
        for i in range(count):
            model.predict(pictures[i % 8])
            if i % 20 == 0:
                model.predict(pictures)
        return int(RSS.read_text().split()[1]) * 4096

    run(200)
    before = run(100)
    assert run(1000) - before < 4 * 2**20


# Processes

FORKED = """
    import multiprocessing, sys, threading
    import numpy as np
    from onnxzoo import load
    from onnxzoo.errors import EngineError

    folder, engine, method = sys.argv[1:]
    picture = np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)

    def inherited(model, answers):
        try:
            model.predict(picture)
            answers.put("it ran")
        except EngineError as error:
            answers.put(str(error))
        model.close()
        del model

    def loaded(answers):
        with load(folder, engine=engine) as own:
            answers.put([own.predict(picture).score for _ in range(20)])

    if __name__ == "__main__":
        model = load(folder, engine=engine)
        expected = model.predict(picture).score
        context = multiprocessing.get_context(method)
        answers = context.Queue()
        if method == "fork":
            child = context.Process(target=inherited, args=(model, answers))
            child.start()
            print(answers.get(timeout=60))
            child.join(60)
            assert child.exitcode == 0, child.exitcode
        child = context.Process(target=loaded, args=(answers,))
        child.start()
        assert answers.get(timeout=60) == [expected] * 20
        child.join(60)
        assert child.exitcode == 0, child.exitcode
        assert model.predict(picture).score == expected
        print("all right")
"""


def run_in_processes(tmp_path: Path, engine: str, method: str) -> list[str]:
    pytest.importorskip(engine)
    script = tmp_path / "processes.py"
    script.write_text(textwrap.dedent(FORKED), encoding="utf-8")
    command = [sys.executable, "-P", str(script), str(NANO), engine, method]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_forked_child_is_told_to_load_its_own_model_and_can(tmp_path, engine):
    refusal, verdict = run_in_processes(tmp_path, engine, "fork")
    assert refusal.startswith("pvt_v2_nano_fashion was loaded by process ")
    assert refusal.endswith("load the model in the child, or, as CUDA needs, start processes with the method 'spawn'")
    assert verdict == "all right"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_a_spawned_child_loads_its_own_model(tmp_path, engine):
    assert run_in_processes(tmp_path, engine, "spawn") == ["all right"]


def test_a_model_cannot_be_pickled_and_says_what_to_do(tmp_path):
    import pickle

    model = load(write_artifact(tmp_path / "tiny"), engine="openvino")
    with pytest.raises(TypeError, match="'tiny' cannot be pickled; load it in the process that uses it"):
        pickle.dumps(model)
