"""The passes and checks on an exported graph, on tiny graphs made here."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from onnxzoo.artifact.folder import INPUT_NAME

onnx = pytest.importorskip("onnx", reason="needs the export extra")
from onnx import TensorProto, helper, numpy_helper
from onnxzoo.exports.check import check_graph
from onnxzoo.exports.finish import finish
from onnxzoo.exports.passes.interface import name_batch_dimension, rename_outputs

from onnxzoo.errors import ExportError
from onnxzoo.families import ModelSpec
from onnxzoo.registry import find

SPEC = ModelSpec(find("pvt_v2_b0").architecture, 32, 4)
FEATURES = SPEC.architecture.num_features


def graph(*, batch: str | int = "DynamicDimension.0", opset: int = 17, domain: str = "", size: int = 32):
    """image -> mean over pixels -> (3 -> FEATURES) embedding -> (FEATURES -> 4) logits."""
    expand = numpy_helper.from_array(np.ones((3, FEATURES), np.float32))
    nodes = [
        helper.make_node("ReduceMean", [INPUT_NAME], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("Constant", [], ["expand"], value=expand),
        helper.make_node("MatMul", ["mean", "expand"], ["fetch_1"], domain=domain),
        helper.make_node("MatMul", ["fetch_1", "head"], ["fetch_0"]),
    ]
    head = numpy_helper.from_array(np.ones((FEATURES, 4), np.float32), "head")
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [batch, 3, size, size])
    outputs = [
        helper.make_tensor_value_info("fetch_0", TensorProto.FLOAT, [batch, 4]),
        helper.make_tensor_value_info("fetch_1", TensorProto.FLOAT, [batch, FEATURES]),
    ]
    built = helper.make_graph(nodes, "g", [image], outputs, [head])
    opsets = [helper.make_opsetid("", opset)]
    if domain:
        opsets.append(helper.make_opsetid(domain, 1))
    return helper.make_model(built, opset_imports=opsets, ir_version=8)


def finished(**options):
    model = graph(**options)
    finish(model, {"name": "tiny", "source_sha256": "0" * 64, "onnxzoo": "1"})
    return model


def test_finish_gives_the_artifacts_form() -> None:
    model = finished()
    assert [output.name for output in model.graph.output] == ["logits", "embedding"]
    dims = [value.type.tensor_type.shape.dim[0].dim_param for value in (*model.graph.input, *model.graph.output)]
    assert dims == ["batch"] * 3
    assert [node.op_type for node in model.graph.node] == ["ReduceMean", "MatMul", "MatMul"]
    assert {p.key: p.value for p in model.metadata_props} == {"name": "tiny", "source_sha256": "0" * 64, "onnxzoo": "1"}
    assert not model.graph.value_info
    check_graph(model, SPEC, 17)


def test_finish_keeps_the_numbers() -> None:
    ort = pytest.importorskip("onnxruntime")
    image = np.random.RandomState(0).standard_normal((2, 3, 32, 32)).astype(np.float32)
    results = []
    for model in (graph(), finished()):
        session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        results.append(session.run(None, {INPUT_NAME: image}))
    for before, after in zip(*results, strict=True):
        np.testing.assert_array_equal(before, after)


def test_rename_outputs_refuses_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match="expected the outputs"):
        rename_outputs(graph().graph, ["logits"])
    with pytest.raises(ValueError, match="already used"):
        rename_outputs(graph().graph, ["mean", "embedding"])
    twice = graph()
    twice.graph.output[1].name = "fetch_0"
    with pytest.raises(ValueError, match="same tensor"):
        rename_outputs(twice.graph, ["logits", "embedding"])


def test_rename_outputs_follows_uses_inside_the_graph() -> None:
    model = graph()
    rename_outputs(model.graph, ["logits", "embedding"])
    assert list(model.graph.node[3].input) == ["embedding", "head"]
    name_batch_dimension(model.graph)
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"opset": 16}, "operator sets {'ai.onnx': 16}, expected only ai.onnx 17"),
        ({"domain": "com.microsoft"}, "operator sets"),
        (
            {"size": 64},
            "the inputs {'pixel_values': ['batch', 3, 64, 64]}, expected {'pixel_values': ['batch', 3, 32, 32]}",
        ),
    ],
)
def test_check_refuses_another_form(options: dict[str, object], message: str) -> None:
    with pytest.raises(ExportError) as caught:
        check_graph(finished(**options), SPEC, 17)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_check_refuses_another_number_of_classes() -> None:
    with pytest.raises(ExportError, match="'logits': \\['batch', 4\\]"):
        check_graph(finished(), dataclasses.replace(SPEC, num_classes=5), 17)


def test_check_refuses_a_batch_that_is_baked_in() -> None:
    model = finished()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    with pytest.raises(ExportError, match=r"\[1, 3, 32, 32\]"):
        check_graph(model, SPEC, 17)


def test_check_refuses_a_second_free_dimension() -> None:
    model = finished()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(ExportError, match="'height'"):
        check_graph(model, SPEC, 17)


def test_check_refuses_an_invalid_graph() -> None:
    model = finished()
    model.graph.node[2].input[1] = "nowhere"
    with pytest.raises(ExportError, match="not valid ONNX"):
        check_graph(model, SPEC, 17)


def test_check_refuses_data_outside_the_file() -> None:
    model = finished()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../elsewhere.bin")
    with pytest.raises(ExportError):
        check_graph(model, SPEC, 17)
