"""fp16: what is converted, what overflows, what loses too much, and that the file is right on CPUs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from artifacts import MODEL, SWIN, announce, copy_shipped
from onnx import TensorProto, helper, numpy_helper
from quantizing import fashion_images, plain_images, write_colours

from onnxzoo import load
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import InputError, QuantizationError
from onnxzoo.precisions import FP16
from onnxzoo.quantization.half import HalfConverter
from onnxzoo.quantization.quantize import Limits, quantize
from onnxzoo.quantization.report import Report

pytestmark = pytest.mark.slow

pytest.importorskip("onnxruntime", reason="needs the extra quantize")

HALF = "onnx/model_fp16.onnx"


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The SwinV2 model that ships, copied and converted in its place."""
    artifact = read_artifact(copy_shipped(tmp_path_factory.mktemp("swin") / SWIN, SWIN))
    return quantize(artifact, fashion_images(artifact), limits=Limits(50), precision=FP16)


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    return write_colours(tmp_path / "colours")


def chain(scale: float, *, squared: bool = False) -> onnx.ModelProto:
    """x [1, 4] times `scale` and divided by it again; with `squared`, over its own length instead."""
    last = (
        [
            helper.make_node("ReduceL2", ["large"], ["length"], name="block.1/ReduceL2", keepdims=1, axes=[1]),
            helper.make_node("Div", ["large", "length"], ["y"], name="block.1/Div"),
        ]
        if squared
        else [helper.make_node("Div", ["large", "scale"], ["y"], name="block.1/Div")]
    )
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "scale"], ["large"], name="block.0/Mul"), *last],
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.array(scale, np.float32), "scale")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def converter(model: onnx.ModelProto, folder: Path) -> HalfConverter:
    onnx.save(model, folder / "model.onnx")
    return HalfConverter(folder / "model.onnx", folder)


def test_half_the_size_and_right_on_cpus(halved: Report) -> None:
    assert 0.5 < halved.share < 0.52
    artifact = read_artifact(halved.folder)
    artifact.verify()
    assert artifact.precisions == ("fp32", "fp16")
    assert artifact.required_model(FP16).weights_bits is None
    assert {result.engine.precision for result in halved.engines} == {"fp16"}
    assert all(result.held_out_db > 55 and result.recorded_db > 55 for result in halved.engines)
    assert artifact.validated(FP16)
    assert (halved.fp32_layers, halved.candidates) == ((), 1), "57 dB with everything in fp16: nothing need be measured"
    images = fashion_images(artifact).held_out
    for name in ("onnxruntime", "openvino"):
        with load(halved.folder, engine=name, precision=FP16) as half, load(halved.folder, engine=name) as exact:
            assert half.engine.precision == FP16
            np.testing.assert_allclose(half.logits(images), exact.logits(images), atol=0.03)


def test_inputs_and_outputs_stay_fp32_and_weights_do_not(halved: Report) -> None:
    graph = onnx.load(halved.folder / HALF).graph
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {TensorProto.FLOAT}
    kinds = {tensor.data_type for tensor in graph.initializer}
    assert kinds - {TensorProto.INT32, TensorProto.INT64} == {TensorProto.FLOAT16}
    assert [node.op_type for node in graph.node].count("Cast") == 3, "one in, two out"


def test_a_value_that_overflows_stays_in_fp32(tmp_path: Path) -> None:
    model = chain(30000)
    found = converter(model, tmp_path)
    images = np.array([[1, -2, 3, 0.5]], np.float32)
    assert found.overflowing(images) == {"block.0/Mul": 90000.0, "block.1/Div": 90000.0}
    assert not np.isfinite(found.rounded(images, [])["y"]).all()
    np.testing.assert_allclose(found.rounded(images, ["block.0/Mul", "block.1/Div"])["y"], images, rtol=1e-3)
    small = tmp_path / "small"
    small.mkdir()
    assert converter(chain(3000), small).overflowing(images) == {}, "9000, with headroom for 4 times as much"
    assert set(converter(chain(6000), small).overflowing(images)) == {"block.0/Mul", "block.1/Div"}


def test_squares_that_are_summed_overflow_earlier(tmp_path: Path) -> None:
    images = np.array([[1, -2, 3, 0.5]], np.float32)
    assert set(converter(chain(300, squared=True), tmp_path).overflowing(images)) == {"block.1/ReduceL2"}
    assert set(converter(chain(1e5, squared=True), tmp_path).overflowing(images * 0)) == {"block.0/Mul"}, "a constant"


def test_rounding_is_what_numpy_makes_of_each_result(tmp_path: Path) -> None:
    images = np.array([[1.2345678, -2.3456789, 3.1, 0.01]], np.float32)
    scale = np.float16(7.7)
    expected = ((images * np.float32(scale)).astype(np.float16).astype(np.float32) / np.float32(scale)).astype(
        np.float16
    )
    found = converter(chain(7.7), tmp_path).rounded(images, [])["y"]
    np.testing.assert_array_equal(found, expected.astype(np.float32))
    np.testing.assert_array_equal(
        converter(chain(7.7), tmp_path).rounded(images, ["block.0/Mul", "block.1/Div"])["y"],
        images * np.float32(7.7) / np.float32(7.7),
    )


def test_a_model_that_overflows_is_converted_around_it(colours: Path) -> None:
    model = onnx.load(colours / MODEL)
    graph = model.graph
    # The features a hundred thousand times as large, and back again.
    graph.initializer.append(numpy_helper.from_array(np.array(1e5, np.float32), "large"))
    head = next(node for node in graph.node if node.op_type == "Gemm")
    for node in (
        helper.make_node("Mul", ["embedding", "large"], ["grown"], name="grow"),
        helper.make_node("Div", ["grown", "large"], ["shrunk"], name="shrink"),
    ):
        graph.node.insert(len(graph.node) - 1, node)
    head.input[0] = "shrunk"
    onnx.save(model, colours / MODEL)
    announce(colours, MODEL)
    artifact = read_artifact(colours)
    made = quantize(artifact, plain_images(artifact), limits=Limits(50), precision=FP16)
    assert "grow" in made.fp32_layers
    assert all(result.held_out_db > 50 for result in made.engines)
    kinds = {tensor.name: tensor.data_type for tensor in onnx.load(colours / HALF).graph.initializer}
    assert kinds["head_weight"] == TensorProto.FLOAT16
    assert kinds["large"] == TensorProto.FLOAT


def test_what_loses_most_goes_back_to_fp32(colours: Path) -> None:
    artifact = read_artifact(colours)
    free = quantize(artifact, plain_images(artifact), limits=Limits(50), precision=FP16)
    assert free.fp32_layers == ()
    with pytest.raises(QuantizationError, match="the limits cannot be kept"):
        quantize(read_artifact(colours), plain_images(artifact), limits=Limits(100), precision=FP16)


def test_a_precision_that_no_file_is_made_in_is_refused(colours: Path) -> None:
    artifact = read_artifact(colours)
    with pytest.raises(InputError, match="files are made in int8 or fp16, got 'bf16'"):
        quantize(artifact, plain_images(artifact), limits=Limits(50), precision="bf16")


def test_an_int8_file_is_not_converted(colours: Path) -> None:
    artifact = read_artifact(colours)
    quantize(artifact, plain_images(artifact), limits=Limits(10))
    with pytest.raises(InputError, match="is already quantised"):
        HalfConverter(colours / "onnx" / "model_int8.onnx", colours)
