"""Counting and listing what a graph consists of, on tiny graphs made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the export extra")
from onnx import TensorProto, helper, numpy_helper
from onnxzoo.exports.graph_facts import (
    foreign_operators,
    integer_arithmetic,
    node_count,
    operator_counts,
    unwanted_operators,
)


def model(*nodes, **constants):
    """x float32 [batch, 4, 3] -> y, with int64 constants."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4, 3])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    initializers = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", [x], [y], initializers)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    )


CLEAN = model(
    helper.make_node("Gather", ["x", "order"], ["gathered"], axis=1),
    helper.make_node("Reshape", ["gathered", "shape"], ["flat"]),
    helper.make_node("Gelu", ["flat"], ["y"], domain="com.microsoft"),
    order=[3, 1, 0, 2],
    shape=[-1, 12],
)
SHAPELY = model(
    helper.make_node("Shape", ["x"], ["dims"]),
    helper.make_node("Slice", ["dims", "zero", "one"], ["batch"]),
    helper.make_node("Concat", ["batch", "rest"], ["shape"], axis=0),
    helper.make_node("Reshape", ["x", "shape"], ["y"]),
    zero=[0],
    one=[1],
    rest=[12],
)


def test_stored_shapes_and_indices_are_no_arithmetic() -> None:
    assert integer_arithmetic(CLEAN) == []
    assert unwanted_operators(CLEAN) == {}
    assert foreign_operators(CLEAN) == {"com.microsoft::Gelu": 1}


def test_shapes_that_are_computed_are_listed() -> None:
    assert unwanted_operators(SHAPELY) == {"Shape": 1, "Slice": 1}
    places = integer_arithmetic(SHAPELY)
    assert "Shape computes the integer tensor 'dims'" in places
    assert "Slice reads the integer tensor 'dims' as input 0" in places
    assert "Concat reads the integer tensor 'rest' as input 1" in places
    assert not [place for place in places if place.startswith("Reshape")]


def test_operators_and_nodes_are_counted(tmp_path: Path) -> None:
    onnx.save(SHAPELY, tmp_path / "m.onnx")
    assert node_count(tmp_path / "m.onnx") == 4 == sum(operator_counts(SHAPELY).values())
