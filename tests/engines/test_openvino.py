"""The OpenVINO engine: any batch from a few compiled sizes, the arithmetic asked for, devices, the cache."""

from __future__ import annotations

import dataclasses
import logging
import os
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny import tiny_graph, tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME

pytest.importorskip("openvino")

from onnxzoo.cpu import cpu
from onnxzoo.engines import create_engine, openvino_compile
from onnxzoo.engines.batches import Cutter, batch_sizes
from onnxzoo.engines.openvino import OpenVINOEngine
from onnxzoo.engines.openvino_compile import BLOB, Compiler
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import CachedEngine, Choice, ModelFile
from onnxzoo.errors import EngineError, EngineUnavailableError, InputError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.model import load

NANO = SHIPPED_DIR / "pvt_v2_nano_fashion" / "onnx" / "model.onnx"


@pytest.fixture
def compiled_sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The batch sizes that models were compiled for, in order."""
    sizes: list[int] = []
    original = Compiler.compile

    def recorded(self: Compiler, size: int) -> Any:
        sizes.append(size)
        return original(self, size)

    monkeypatch.setattr(Compiler, "compile", recorded)
    return sizes


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)


def engine_for(file: Path, device: str | None = None, **options: Any) -> OpenVINOEngine:
    return OpenVINOEngine(ModelFile(file), options=EngineOptions(**options), device=device, choice=Choice())


@pytest.mark.parametrize(
    ("largest", "few", "sizes"),
    [
        (1, False, (1,)),
        (2, False, (2, 1)),
        (7, False, (7, 1)),
        (8, False, (8, 2, 1)),
        (32, False, (32, 8, 2, 1)),
        (1000, False, (1000, 250, 62, 1)),
        (8, True, (8, 1)),
        (1, True, (1,)),
    ],
)
def test_a_few_sizes_down_to_one(largest, few, sizes):
    assert batch_sizes(largest, few=few) == sizes


@pytest.mark.parametrize("first", [0, -1])
@pytest.mark.parametrize("largest", [1, 2, 5, 8, 32])
def test_the_pieces_make_up_the_batch_whatever_was_cut_before(largest, first):
    sizes = batch_sizes(largest)
    cutter, ready = Cutter(sizes), {sizes[first]}
    for count in (*range(1, 70), *range(69, 0, -1)):
        pieces = list(cutter.cut(count, ready))
        assert [index for piece in pieces for index in range(piece.start, piece.stop)] == list(range(count))
        assert all(0 <= piece.size - (piece.stop - piece.start) <= 8 for piece in pieces)
        assert {piece.size for piece in pieces} <= set(sizes)
        ready |= {piece.size for piece in pieces}


def sizes_of(cutter: Cutter, count: int, ready: set[int]) -> list[int]:
    return [piece.size for piece in cutter.cut(count, ready)]


def test_a_rest_is_filled_up_once_and_compiled_for_when_it_comes_again():
    cutter = Cutter((8, 2, 1))
    assert sizes_of(cutter, 11, {8}) == [8, 8]
    assert sizes_of(cutter, 11, {8}) == [8, 2, 1]
    # With the size 1 at hand, nothing is filled up.
    assert sizes_of(Cutter((8, 2, 1)), 11, {1, 8}) == [8, 1, 1, 1]
    # The largest size is no exception, where a smaller one was compiled first.
    cutter = Cutter((8, 2, 1))
    assert sizes_of(cutter, 16, {1}) == [1] * 16
    assert sizes_of(cutter, 16, {1}) == [8, 8]
    # Two were never wanted as long as eight were.
    assert sizes_of(cutter, 3, {1, 8}) == [1, 1, 1]
    assert sizes_of(cutter, 3, {1, 8}) == [2, 1]
    # One image is not worth 32.
    assert sizes_of(Cutter((32, 8, 2, 1)), 1, {32}) == [1]
    assert sizes_of(Cutter((32, 8, 2, 1)), 25, {32}) == [32]


@pytest.mark.parametrize("hint", ["latency", "throughput"])
@pytest.mark.parametrize("batch_size", [None, 1, 3, 4])
def test_any_batch_gives_the_numbers_of_its_images(model_file, hint, batch_size):
    engine = engine_for(model_file, hint=hint, batch_size=batch_size)
    batch = images(41)
    for count in [*range(1, 20), 41, 3, 2, 1]:
        outputs = engine.run({INPUT_NAME: batch[:count]})
        for name, expected in tiny_outputs(batch[:count]).items():
            assert outputs[name].shape == expected.shape
            np.testing.assert_allclose(outputs[name], expected, rtol=1e-5, atol=1e-5)


def test_cut_batches_are_the_same_to_the_bit_as_images_alone():
    engine, throughput = engine_for(NANO, batch_size=8), engine_for(NANO, batch_size=8, hint="throughput")
    batch = images(23)
    alone = np.concatenate([engine.run({INPUT_NAME: one[None]})["logits"] for one in batch])
    np.testing.assert_array_equal(engine.run({INPUT_NAME: batch})["logits"], alone)
    np.testing.assert_array_equal(throughput.run({INPUT_NAME: batch})["logits"], alone)


def test_an_empty_batch_is_refused(model_file):
    with pytest.raises(InputError, match=r"at least one image, got shapes \[\(0, 3, 32, 32\)\]"):
        engine_for(model_file).run({INPUT_NAME: images(0)})


def test_what_is_compiled_when(model_file, compiled_sizes):
    engine = engine_for(model_file)
    assert compiled_sizes == [1]
    engine.run({INPUT_NAME: images(1)})
    # A list that comes once costs less image by image than compiling for it.
    engine.run({INPUT_NAME: images(8)})
    assert compiled_sizes == [1]
    engine.run({INPUT_NAME: images(19)})
    assert compiled_sizes == [1, 8]
    engine.run({INPUT_NAME: images(19)})
    assert compiled_sizes == [1, 8, 2]
    for count in range(1, 40):
        engine.run({INPUT_NAME: images(count)})
    assert compiled_sizes == [1, 8, 2]


def test_the_batch_size_that_is_expected_is_compiled_first(model_file, compiled_sizes):
    engine = engine_for(model_file, batch_size=6)
    assert compiled_sizes == [6]
    engine.run({INPUT_NAME: images(6)})
    engine.run({INPUT_NAME: images(12)})
    engine.run({INPUT_NAME: images(7)})  # the rest of a folder
    assert compiled_sizes == [6]
    engine.run({INPUT_NAME: images(1)})
    assert compiled_sizes == [6, 1]


def test_few_sizes_for_a_large_file(model_file, compiled_sizes, monkeypatch):
    monkeypatch.setattr("onnxzoo.engines.openvino.LARGE_BYTES", 100)
    engine = engine_for(model_file)
    engine.run({INPUT_NAME: images(7)})
    assert compiled_sizes == [1]
    for _ in range(3):
        engine.run({INPUT_NAME: images(7)})
        engine.run({INPUT_NAME: images(8)})
    assert compiled_sizes == [1, 8]


def test_many_threads_at_a_size_compile_it_once(model_file, compiled_sizes):
    engine = engine_for(model_file)
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: engine.run({INPUT_NAME: images(8)})["logits"], range(64)))
    assert compiled_sizes == [1, 8]
    for result in results:
        np.testing.assert_array_equal(result, results[0])


def test_a_graph_of_a_fixed_batch_runs_at_that(tmp_path):
    file = tmp_path / "two.onnx"
    file.write_bytes(tiny_graph(batch=2).SerializeToString())
    engine = engine_for(file)
    assert engine.inputs[INPUT_NAME].shape == (2, 3, 32, 32)
    assert engine.run({INPUT_NAME: images(2)})["logits"].shape == (2, 4)
    with pytest.raises(InputError, match="must have shape"):
        engine.run({INPUT_NAME: images(4)})
    with pytest.raises(EngineError, match="keeps no compiled models for graphs of a fixed batch size"):
        engine.warm()


def graph_without_a_batch_axis() -> onnx.ModelProto:
    """Its second output is one row for the whole batch."""
    model = tiny_graph()
    model.graph.node.append(helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=0))
    model.graph.output.append(helper.make_tensor_value_info("mean", TensorProto.FLOAT, [4]))
    return model


def test_a_graph_that_cannot_be_cut_is_refused(tmp_path):
    file = tmp_path / "mean.onnx"
    file.write_bytes(graph_without_a_batch_axis().SerializeToString())
    with pytest.raises(EngineError, match=r"the output mean has shape \[4\], whose first size should be 1"):
        engine_for(file)


# Arithmetic


def offered() -> list[str]:
    import openvino

    return list(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def test_fp32_is_exact_and_auto_says_what_it_takes():
    exact, fast = engine_for(NANO), engine_for(NANO, precision="auto")
    assert exact.info.precision == "fp32"
    assert fast.info.precision == ("bf16" if "BF16" in offered() else "fp32")
    batch = images(4)
    difference = np.abs(exact.run({INPUT_NAME: batch})["logits"] - fast.run({INPUT_NAME: batch})["logits"]).max()
    assert (difference > 1e-4) == (fast.info.precision == "bf16")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_precision_by_name_is_had_or_refused(precision):
    if precision.upper() in offered():
        assert engine_for(NANO, precision=precision).info.precision == precision
    else:
        with pytest.raises(EngineUnavailableError, match=rf"does not compute in {precision}; it has fp32, "):
            engine_for(NANO, precision=precision)


def test_fp32_is_asked_for_by_name_on_any_processor(model_file):
    """OpenVINO's own choice is bf16 on a processor that has it: other processors would not show that."""
    compiler = engine_for(model_file)._compiler
    assert compiler._settings["INFERENCE_PRECISION_HINT"] == "f32"


def test_what_fills_a_batch_up_reaches_no_answer(tmp_path):
    """Also where a graph looks at the whole batch, as one does whose scale is computed from all values."""
    x = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, ["batch", 3, 4, 4])
    nodes = [
        helper.make_node("ReduceMean", [INPUT_NAME], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("ReduceSum", [INPUT_NAME], ["sum"], keepdims=0),
        helper.make_node("Add", ["mean", "sum"], ["y"]),
    ]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph(nodes, "g", [x], [y])
    file = tmp_path / "model.onnx"
    file.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    engine = engine_for(file, batch_size=8)
    three = np.full((3, 3, 4, 4), 2, np.float32)
    np.testing.assert_array_equal(engine.run({INPUT_NAME: three})["y"], np.full((3, 3), 2 + three.sum()))


def test_other_arithmetic_than_was_asked_for_is_refused(model_file, monkeypatch):
    monkeypatch.setattr("onnxzoo.engines.openvino_compile.arithmetic_of", lambda _: "bf16")
    with pytest.raises(EngineUnavailableError, match=r"took bf16 where f32 was asked for \(fp32\)"):
        engine_for(model_file)


def test_int8_needs_an_int8_file(model_file):
    with pytest.raises(InputError, match="int8"):
        create_engine("openvino", ModelFile(model_file), EngineOptions(precision="int8"))


# Devices


@pytest.mark.parametrize("device", ["GPU", "npu", "GPU.1", "FOO", "AUTO:GPU", "CPU.3"])
def test_a_device_that_is_not_there_lists_those_that_are(model_file, device):
    import openvino

    here = [str(name) for name in openvino.Core().available_devices]
    if device.upper().removeprefix("AUTO:") in here:
        pytest.skip("this machine has one")
    with pytest.raises(EngineUnavailableError, match=f"openvino finds no device .* here; it has {', '.join(here)}"):
        create_engine(f"openvino:{device}", model_file)


@pytest.mark.parametrize("device", ["CPU", "cpu", "AUTO", "AUTO:CPU", "HETERO:CPU", "MULTI:CPU"])
def test_devices_that_come_down_to_the_cpu_are_exact_too(model_file, device):
    engine = create_engine(f"openvino:{device}", model_file)
    assert (engine.info.precision, engine.info.device) == ("fp32", "CPU")
    outputs = engine.run({INPUT_NAME: images(3)})
    np.testing.assert_allclose(outputs["logits"], tiny_outputs(images(3))["logits"], rtol=1e-5, atol=1e-5)


def test_threads_are_those_asked_for(model_file):
    engine = engine_for(model_file, threads=1)
    assert engine._models[1].model.get_property("INFERENCE_NUM_THREADS") == 1


def test_the_operations_are_counted(model_file):
    engine = engine_for(NANO)
    kinds = [
        node.get_rt_info()["layerType"].astype(str) for node in engine._models[1].model.get_runtime_model().get_ops()
    ]
    assert {"Const", "Input", "Output", "Convolution"} <= set(kinds)
    computed = len(kinds) - kinds.count("Const") - kinds.count("Input") - kinds.count("Output")
    assert engine.info.nodes == {"CPU": computed}
    assert 0 < engine_for(model_file).info.nodes["CPU"] <= 8


# The cache


def blobs(folder: Path) -> list[Path]:
    return sorted(folder.rglob(BLOB))


def test_nothing_is_written_for_the_cpu_unless_asked_for(model_file, cache):
    engine_for(model_file).run({INPUT_NAME: images(8)})
    assert list(cache.iterdir()) == []


def test_what_warming_kept_is_used_without_the_onnx_file(tmp_path, cache, compiled_sizes):
    file = tmp_path / "model.onnx"
    file.write_bytes(NANO.read_bytes())
    sha256 = ModelFile(file).digest()
    engine = engine_for(file, batch_size=8)
    assert isinstance(engine, CachedEngine)
    built = engine.warm()
    assert [(one.batch_size, one.found) for one in built] == [(8, False), (1, False)]
    assert all(one.folder.is_relative_to(cache / "engines" / "openvino") and one.seconds > 0 for one in built)
    assert [one.found for one in engine.warm()] == [True, True]
    assert len(blobs(cache)) == 2
    expected = engine.run({INPUT_NAME: images(9)})

    file.write_bytes(b"no longer a model")
    again = OpenVINOEngine(ModelFile(file, sha256), options=EngineOptions(batch_size=8), device=None, choice=Choice())
    assert again.inputs == engine.inputs
    assert again.info == engine.info
    outputs = again.run({INPUT_NAME: images(9)})
    assert outputs.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(outputs[name], value)
    # A size that is not in the cache has to come from the file, which is another by now.
    again.run({INPUT_NAME: images(2)})
    with pytest.raises(EngineError, match=r"model\.onnx was replaced since it was loaded; load the model again"):
        again.run({INPUT_NAME: images(2)})


@pytest.mark.parametrize(
    "other",
    [{"precision": "auto"}, {"threads": 1}, {"hint": "throughput"}, {"batch_size": 4}],
    ids=lambda options: next(iter(options)),
)
def test_other_options_are_other_entries(model_file, cache, other):
    engine_for(model_file, batch_size=1).warm()
    assert len(blobs(cache)) == 1
    engine_for(model_file, **{"batch_size": 1, **other}).warm()
    assert len(blobs(cache)) >= 2


@pytest.mark.parametrize(
    "changes",
    [{"instruction_sets": ("avx2",)}, {"instruction_sets": None}, {"cores": 4096}, {"name": "another"}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_another_processor_compiled_is_not_used(model_file, cache, monkeypatch, changes):
    """A folder on a network is shared: machine code for instructions that are not here ends the process."""
    here = dataclasses.replace(cpu(), instruction_sets=("avx2", "fma"))
    monkeypatch.setattr(openvino_compile, "cpu", lambda: here)
    engine_for(model_file, batch_size=1).warm()
    assert [one.found for one in engine_for(model_file, batch_size=1).warm()] == [True]
    monkeypatch.setattr(openvino_compile, "cpu", lambda: dataclasses.replace(here, **changes))
    assert [one.found for one in engine_for(model_file, batch_size=1).warm()] == [False]
    assert len(blobs(cache)) == 2


def test_another_version_of_openvino_does_not_use_the_entry(model_file, cache, monkeypatch):
    import openvino

    engine_for(model_file, batch_size=1).warm()
    monkeypatch.setattr(openvino, "__version__", "2099.1.0-1")
    assert [one.found for one in engine_for(model_file, batch_size=1).warm()] == [False]
    assert len(blobs(cache)) == 2


def flip(path: Path, at: float) -> None:
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    data = bytearray(path.read_bytes())
    middle = int(len(data) * at)
    data[middle : middle + 64] = os.urandom(64)
    path.write_bytes(data)


def truncate(path: Path, at: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * at)])


@pytest.mark.parametrize(("damage", "at"), [(flip, 0.5), (flip, 0.01), (flip, 0.999), (truncate, 0.5), (truncate, 0)])
def test_a_damaged_entry_is_thrown_away_and_built_again(cache, caplog, damage, at):
    expected = engine_for(NANO, batch_size=1).run({INPUT_NAME: images(1)})["logits"]
    engine_for(NANO, batch_size=1).warm()
    (blob,) = blobs(cache)
    whole = blob.stat().st_size
    damage(blob, at)
    with caplog.at_level(logging.WARNING):
        engine = engine_for(NANO, batch_size=1)
    assert f"the compiled model in {blob.parent} is thrown away and built again: {BLOB} was altered" in caplog.text
    np.testing.assert_array_equal(engine.run({INPUT_NAME: images(1)})["logits"], expected)
    # Not to the byte: OpenVINO numbers the operations of a process through, and writes the numbers.
    assert blob.stat().st_size == pytest.approx(whole, rel=0.01)
    caplog.clear()
    engine_for(NANO, batch_size=1)
    assert caplog.text == ""


def test_an_entry_that_openvino_does_not_take_is_built_again(cache, caplog, monkeypatch):
    """As after a change of machine that the key knows nothing of: whole by its checksums, and useless."""
    engine_for(NANO, batch_size=1).warm()

    def reject(*_: Any) -> Any:
        raise RuntimeError("Exception from src/plugin.cpp:1: requirements differ")

    import openvino

    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(openvino.Core, "import_model", reject)
        engine = engine_for(NANO, batch_size=1)
    assert "is thrown away and built again: openvino does not take" in caplog.text
    assert "requirements differ" in caplog.text
    assert np.isfinite(engine.run({INPUT_NAME: images(1)})["logits"]).all()


@pytest.mark.skipif(sys.platform == "win32", reason="folders have no such mode")
def test_a_cache_that_cannot_be_written(model_file, cache, caplog, monkeypatch):
    (cache / "engines").write_text("a file where the folder should be", encoding="utf-8")
    engine = engine_for(model_file, batch_size=2)
    engine.run({INPUT_NAME: images(5)})
    assert caplog.text == ""  # nothing is kept for the CPU
    for named in (None, cache / "engines"):
        with pytest.raises(
            InputError, match=rf"the cache folder {cache}/engines cannot be written \(.*\); name another"
        ):
            engine_for(model_file, batch_size=2, cache=named).warm()


def test_without_a_place_for_a_cache_a_shipped_model_runs(monkeypatch, caplog):
    monkeypatch.setenv("ONNXZOO_CACHE", "~no such user/x")
    with load("pvt_v2_nano_fashion", engine="openvino") as model:
        assert model.logits(np.zeros((1, 3, model.image_size, model.image_size), np.float32)).shape == (1, 10)
    assert not caplog.records
    monkeypatch.setattr("onnxzoo.engines.openvino_compile.SLOW_TO_COMPILE", ("CPU",))
    with caplog.at_level("WARNING"):
        engine_for(NANO).run({INPUT_NAME: images(1)})
    assert "cannot be written" in caplog.text
    assert "set ONNXZOO_CACHE to a folder of yours" in caplog.text
    with pytest.raises(InputError, match="cannot be written"):
        engine_for(NANO).warm()


def test_a_device_that_is_slow_to_compile_for_keeps_by_itself_and_warns_once(model_file, cache, caplog, monkeypatch):
    monkeypatch.setattr("onnxzoo.engines.openvino_compile.SLOW_TO_COMPILE", ("CPU",))
    engine = engine_for(model_file, batch_size=2)
    for _ in range(2):
        engine.run({INPUT_NAME: images(3)})
    assert len(blobs(cache)) == 2
    monkeypatch.setenv("ONNXZOO_CACHE", str(cache / "file" / "below"))
    (cache / "file").write_text("in the way", encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        engine = engine_for(model_file, batch_size=2)
        for _ in range(2):
            outputs = engine.run({INPUT_NAME: images(3)})
    np.testing.assert_allclose(outputs["logits"], tiny_outputs(images(3))["logits"], rtol=1e-5, atol=1e-5)
    assert caplog.text.count("cannot be written") == 1


# Threads


@pytest.mark.parametrize("hint", ["latency", "throughput"])
def test_closing_while_others_run_is_an_error_at_worst(hint):
    engine = engine_for(NANO, batch_size=4, hint=hint)
    stop = threading.Event()
    expected = engine.run({INPUT_NAME: images(7)})["logits"]
    failures: list[Exception] = []

    def work() -> None:
        while not stop.is_set():
            try:
                np.testing.assert_array_equal(engine.run({INPUT_NAME: images(7)})["logits"], expected)
            except Exception as error:  # noqa: BLE001 - looked at below
                failures.append(error)
                return

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    engine.close()
    stop_at = time.monotonic() + 20
    for thread in threads:
        thread.join(max(0.1, stop_at - time.monotonic()))
    stop.set()
    assert len(failures) == 8
    for failure in failures:
        assert isinstance(failure, EngineError)
        assert str(failure) == "the openvino engine is closed; load the model again"
