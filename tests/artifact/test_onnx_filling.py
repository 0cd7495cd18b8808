"""A weightless ONNX file, filled with its numbers, is the file that was emptied; whatever does not fit is refused."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the export extra")
from onnx import TensorProto, helper, numpy_helper

from onnxzoo.artifact.onnx_filling import fill, parse_weightless
from onnxzoo.errors import ArtifactError

WEIGHTS = {
    "weight": np.arange(200 * 300, dtype=np.float32).reshape(200, 300),
    "bias": np.float32([1.5, -0.0, np.inf]),
    "index": np.arange(6, dtype=np.int32).reshape(2, 3),
    "scalar": np.array(7, dtype=np.float32),
}
KEPT = {"ints.1x3": np.array([1, 3], dtype=np.int64)}
METADATA = {"name": "small", "empty": "", "source_sha256": "0" * 64}


def original(values: dict[str, Any] | None = None) -> onnx.ModelProto:
    """A model with initializers of every type that graphs have, between two that keep their numbers."""
    values = {**KEPT, **WEIGHTS, "ints.2": np.array([2], dtype=np.int64)} if values is None else values
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3])]
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="node")],
        "small",
        given,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model.producer_name, model.producer_version = "onnxzoo", "1.2.3"
    for key, value in METADATA.items():
        model.metadata_props.add(key=key, value=value)
    return model


def emptied(model: onnx.ModelProto) -> bytes:
    result = onnx.ModelProto.FromString(model.SerializeToString())
    for tensor in result.graph.initializer:
        if tensor.name in WEIGHTS:
            tensor.ClearField("raw_data")
    result.ClearField("producer_version")
    del result.metadata_props[:]
    return result.SerializeToString()


def filled(content: bytes, values: dict[str, Any]) -> tuple[bytes, str]:
    out = io.BytesIO()
    digest = fill(
        parse_weightless(content),
        lambda hole: values[hole.name],
        out,
        producer_version="1.2.3",
        metadata=METADATA,
    )
    return out.getvalue(), digest


def test_the_filled_file_is_byte_for_byte_the_one_that_was_emptied() -> None:
    model = original()
    content, digest = filled(emptied(model), WEIGHTS)
    assert content == model.SerializeToString()
    assert digest == hashlib.sha256(content).hexdigest()


def test_numbers_may_come_in_another_shape_order_in_memory_or_byte_order() -> None:
    strange = {
        "weight": np.asfortranarray(WEIGHTS["weight"]),
        "bias": WEIGHTS["bias"].astype(">f4"),
        "index": WEIGHTS["index"].reshape(-1),
        "scalar": WEIGHTS["scalar"].reshape(1),
    }
    assert filled(emptied(original()), strange)[0] == original().SerializeToString()


def test_what_is_to_be_filled_has_a_name_a_shape_and_a_type() -> None:
    holes = parse_weightless(emptied(original())).holes
    assert [(hole.name, hole.shape, hole.dtype.name) for hole in holes] == [
        ("weight", (200, 300), "float32"),
        ("bias", (3,), "float32"),
        ("index", (2, 3), "int32"),
        ("scalar", (), "float32"),
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight", WEIGHTS["weight"][:, :299]),
        ("weight", WEIGHTS["weight"].astype(np.float64)),
        ("index", WEIGHTS["index"].astype(np.int64)),
        ("bias", np.arange(3, dtype=np.int32)),
    ],
)
def test_numbers_of_another_count_or_type_are_refused(name: str, value: Any) -> None:
    with pytest.raises(ArtifactError, match=f"'{name}' takes (float|int)32 of shape"):
        filled(emptied(original()), {**WEIGHTS, name: value})


@pytest.mark.parametrize("content", [b"", b"\x08\x08", b"\x3a\x7f\x00", b"not a model at all"])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        parse_weightless(content)


def test_an_initializer_of_a_type_that_graphs_do_not_have_is_refused() -> None:
    model = original({"weight": np.zeros(3, np.float64)})
    with pytest.raises(ValueError, match="element type 11"):
        parse_weightless(emptied(model))
