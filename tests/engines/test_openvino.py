"""The OpenVINO engine: any batch from a few compiled sizes, the arithmetic asked for, devices."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from tiny import tiny_graph, tiny_outputs

from onnxzoo.artifact.folder import INPUT_NAME

pytest.importorskip("openvino")

from openvino_engine import NANO, engine_for, images

from onnxzoo.engines import create_engine
from onnxzoo.engines.openvino_device import Device
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import ModelFile
from onnxzoo.errors import EngineError, EngineUnavailableError, InputError


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


@pytest.mark.slow
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


@pytest.mark.parametrize("options", [{"hint": "throughput", "threads": 2}, {"hint": "latency", "threads": 1}])
def test_a_request_of_one_thread_runs_single_images(model_file, compiled_sizes, monkeypatch, options):
    monkeypatch.setattr("onnxzoo.engines.openvino.SMALL_BYTES", 100)
    engine = engine_for(model_file, batch_size=32, **options)
    batch = images(35)
    for count in (1, 32, 32, 35, 7, 7):
        outputs = engine.run({INPUT_NAME: batch[:count]})
        np.testing.assert_allclose(outputs["logits"], tiny_outputs(batch[:count])["logits"], rtol=1e-5, atol=1e-5)
    assert compiled_sizes == [1]


@pytest.mark.parametrize(
    ("device", "hint", "threads", "small_bytes"),
    [("CPU", "latency", 2, 100), ("CPU", "throughput", 1, 2**20), ("AUTO", "throughput", 1, 100)],
)
def test_others_run_batches(model_file, compiled_sizes, monkeypatch, device, hint, threads, small_bytes):
    """Several threads of one run share a batch better than an image; small models take less time than a call."""
    monkeypatch.setattr("onnxzoo.engines.openvino.SMALL_BYTES", small_bytes)
    options = EngineOptions(batch_size=6, hint=hint, threads=threads)
    engine = create_engine(f"openvino:{device}", model_file, options)
    engine.run({INPUT_NAME: images(6)})
    assert compiled_sizes == [6]


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


@pytest.mark.slow
def test_fp32_is_exact_and_auto_says_what_it_takes():
    exact, fast = engine_for(NANO), engine_for(NANO, precision="auto")
    assert exact.info.precision == "fp32"
    assert fast.info.precision == ("bf16" if "BF16" in offered() else "fp32")
    batch = images(4)
    difference = np.abs(exact.run({INPUT_NAME: batch})["logits"] - fast.run({INPUT_NAME: batch})["logits"]).max()
    assert (difference > 1e-4) == (fast.info.precision == "bf16")


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_named_precision_is_used_or_refused(precision):
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


class Plugins:
    """Of OpenVINO's core what finding a device needs. `devices`: with capabilities. `listed`: whether they may be."""

    def __init__(self, devices: dict[str, list[str]], *, listed: bool) -> None:
        self._devices, self._listed = devices, listed

    @property
    def available_devices(self) -> list[str]:
        assert self._listed
        return list(self._devices)

    def get_property(self, device: str, name: str) -> list[str]:
        if device not in self._devices:
            raise RuntimeError(f"{device} is not registered")
        assert name == "OPTIMIZATION_CAPABILITIES"
        return self._devices[device]


def test_the_cpu_is_found_without_asking_the_plugins_of_other_devices():
    found = Device.find(Plugins({"CPU": ["FP32", "INT8"]}, listed=False), "cpu")
    assert (found.name, found.capabilities) == ("CPU", ("FP32", "INT8"))


def test_a_cpu_plugin_that_is_missing_is_an_error_that_lists_the_devices():
    with pytest.raises(EngineUnavailableError, match="openvino finds no device CPU here; it has GPU"):
        Device.find(Plugins({"GPU": ["FP16"]}, listed=True), "CPU")


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


# Threads


@pytest.mark.slow
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


def test_a_devices_driver_is_a_part_of_the_cache_key() -> None:
    class Devices:
        available_devices: ClassVar[list[str]] = ["CPU", "GPU.0", "GPU.1", "NPU"]

        def get_property(self, device: str, name: str) -> Any:
            found = {("GPU.0", "GPU_DRIVER_VERSION"): "25.1", ("NPU", "NPU_DRIVER_VERSION"): 1688}
            if (device, name) not in found:
                raise RuntimeError("there is no such property")
            return found[device, name]

    def drivers(name: str) -> str:
        return Device(Devices(), name, ()).drivers

    assert [drivers(name) for name in ("CPU", "GPU.0", "GPU.1", "NPU")] == ["", "GPU.0 25.1", "", "NPU 1688"]
    assert drivers("AUTO:NPU,CPU") == drivers("AUTO") == "GPU.0 25.1, NPU 1688"


@pytest.mark.slow
def test_with_auto_a_cpu_computes_an_int8_file_as_it_is_validated() -> None:
    cpu, gpu = Device(None, "CPU", ("FP32", "BF16", "INT8")), Device(None, "GPU", ("FP16", "INT8"))
    assert [cpu.arithmetic("auto", file) for file in ("int8", "fp32")] == ["int8", "auto"]
    assert gpu.arithmetic("auto", "int8") == "auto"
    options = EngineOptions(precision="auto")
    assert cpu.settings(options, "int8")["INFERENCE_PRECISION_HINT"] == "f32"
    assert "INFERENCE_PRECISION_HINT" not in cpu.settings(options, "auto")
    outputs = []
    for precision in ("auto", "int8"):
        file = ModelFile(NANO.with_name("model_int8.onnx"), precision="int8")
        engine = create_engine("openvino", file, EngineOptions(precision=precision))
        outputs.append(engine.run({INPUT_NAME: images(3)})["logits"])
        assert engine.info.precision == "int8"
    np.testing.assert_array_equal(*outputs)
