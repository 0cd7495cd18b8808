"""The form in which int8 layers run fastest computes the same as before, and is only what was asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.version_converter
import pytest
from artifacts import PVT, SWIN
from int8 import quantise

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.artifact.vectors import read_vectors
from onnxzoo.engines import create_engine
from onnxzoo.errors import InputError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.quantization.layers import Layer, head_in_fp32
from onnxzoo.quantization.preparation import gelus, prepare
from onnxzoo.quantization.static import StaticQuantizer

pytest.importorskip("onnxruntime", reason="needs the extra quantize")


def shipped(name: str) -> tuple[onnx.ModelProto, np.ndarray]:
    """The fp32 graph of a shipped model, and its recorded inputs."""
    artifact = read_artifact(SHIPPED_DIR / name)
    return onnx.load(artifact.model_file()), read_vectors(artifact).images


def run(model: onnx.ModelProto, images: np.ndarray, tmp_path: Path, engine: str) -> dict[str, np.ndarray]:
    onnx.save(model, tmp_path / "model.onnx")
    return dict(create_engine(engine, tmp_path / "model.onnx").run({"pixel_values": images}))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("name", "opset"), [(PVT, 20), (SWIN, 17)])
def test_the_function_is_the_same_and_the_opset_is_raised_only_for_a_gelu(
    tmp_path: Path, name: str, opset: int, engine: str
) -> None:
    pytest.importorskip(engine)
    model, images = shipped(name)
    before = run(model, images, tmp_path, engine)
    names = [node.name for node in model.graph.node if node.op_type in ("MatMul", "Conv")]
    prepared = prepare(model)
    onnx.checker.check_model(prepared, full_check=True)
    assert prepared.opset_import[0].version == opset
    assert {one.key: one.value for one in prepared.metadata_props}["name"] == name
    operators = Counter(node.op_type for node in prepared.graph.node)
    if name == PVT:
        assert operators["Gelu"] == sum(
            ".dwconv" in node.name for node in prepared.graph.node if node.op_type == "Conv"
        )
    assert (operators["Gelu"] > 0, operators["Erf"] > 0) == (name == PVT, name == SWIN), "OpenVINO and SwinV2 need none"
    assert [node.name for node in prepared.graph.node if node.op_type in ("MatMul", "Conv", "Gemm")] == names
    assert next(node.op_type for node in prepared.graph.node if "logits" in node.output) == "Gemm"
    after = run(prepared, images, tmp_path, engine)
    assert before.keys() == after.keys()
    for key, value in before.items():
        np.testing.assert_allclose(after[key], value, rtol=1e-4, atol=1e-4 * np.abs(value).max())


def spoilt(model: onnx.ModelProto, how: str) -> None:
    """Make every GELU of the model another function, or read by another node, too."""
    for scaling, _, plus, times, half in list(gelus(model.graph)):
        if how == "other scale":
            plus.input[1] = scaling.input[1]
        elif how == "other order":
            scaling.input[:] = reversed(scaling.input)
        elif how == "other factor":
            times.input[:] = [plus.output[0], plus.output[0]]
        else:
            model.graph.node.append(onnx.helper.make_node("Identity", [half.input[0]], [half.name + "/read"]))


@pytest.mark.parametrize("how", ["other scale", "other order", "other factor", "read elsewhere"])
def test_what_only_looks_like_a_gelu_stays(how: str) -> None:
    model, _ = shipped(PVT)
    assert len(list(gelus(model.graph))) > 2
    spoilt(model, how)
    assert not list(gelus(model.graph))
    assert "Gelu" not in {node.op_type for node in prepare(model).graph.node}


def test_a_model_that_onnx_cannot_convert_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def convert_version(model: Any, version: int) -> None:
        raise RuntimeError("No Adapter\nFor Upsample")

    monkeypatch.setattr(onnx.version_converter, "convert_version", convert_version)
    model, _ = shipped(PVT)
    with pytest.raises(InputError, match="onnx cannot convert the model to opset 20: No Adapter For Upsample"):
        prepare(model)


def test_convolutions_run_in_int8_in_onnxruntime(tmp_path: Path) -> None:
    import onnxruntime

    artifact = read_artifact(SHIPPED_DIR / PVT)
    quantise(artifact.model_file(), tmp_path / "int8.onnx", read_vectors(artifact).images)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(tmp_path / "int8.onnx", options, providers=["CPUExecutionProvider"])
    made = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    before = Counter(node.op_type for node in onnx.load(artifact.model_file()).graph.node)
    assert "Conv" not in made
    assert made.count("QLinearConv") == before["Conv"]
    assert "QGemm" in made, "the head"
    assert sum(name in ("Gelu", "Erf") for name in made) == before["Erf"]
    assert "Erf" not in made


@pytest.mark.parametrize(("head", "kept"), [(5, ("head",)), (6, ())])
def test_a_small_head_stays_in_fp32(head: int, kept: tuple[str, ...]) -> None:
    layers = [Layer("body", "MatMul", "w", 100 - head), Layer("head", "Gemm", "v", head)]
    assert head_in_fp32(layers) == kept
    assert head_in_fp32(layers[1:]) == (), "the only layer"


def test_a_convolution_alone_is_rounded_as_in_the_whole(tmp_path: Path) -> None:
    artifact = read_artifact(SHIPPED_DIR / PVT)
    images = read_vectors(artifact).images
    quantizer = StaticQuantizer(artifact.model_file(), images, 7, tmp_path)
    whole = tmp_path / "whole.onnx"
    quantizer.write(whole, ())
    grafts = quantizer.grafts(whole)
    stem = quantizer.layers[0]
    assert stem.operator == "Conv"
    alone = onnx.load_from_string(grafts.alone(stem))
    onnx.checker.check_model(alone, full_check=True)
    assert values_after(alone, stem.name, images, tmp_path) == values_after(
        onnx.load(whole), stem.name, images, tmp_path
    )


def values_after(model: Any, layer: str, images: np.ndarray, tmp_path: Path) -> int:
    """The number of different values of a layer's output, as the next nodes read it."""
    import onnxruntime

    node = next(node for node in model.graph.node if node.name == layer)
    follows = next(other for other in model.graph.node if node.output[0] in other.input)
    assert follows.op_type == "QuantizeLinear"
    seen = next(other for other in model.graph.node if follows.output[0] in other.input).output[0]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(seen))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (values,) = session.run([seen], {"pixel_values": images})
    assert len(np.unique(values)) <= 256
    return len(np.unique(values))
