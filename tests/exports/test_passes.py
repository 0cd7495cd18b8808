"""Each pass over a graph, on tiny graphs: it does what it ensures, keeps the numbers, and leaves the rest alone."""

from __future__ import annotations

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs the export extra")
ort = pytest.importorskip("onnxruntime")
from onnx import TensorProto, helper, numpy_helper
from onnxzoo.exports.passes.constants import constants_to_initializers, share_initializers
from onnxzoo.exports.passes.gather_shape import gather_with_shaped_index
from onnxzoo.exports.passes.l2_norm import fuse_l2_norm
from onnxzoo.exports.passes.names import name_constants, name_nodes


def model(nodes, constants, shape=(None, 4, 6), outputs=("y",)):
    """A model x -> outputs from nodes (op, inputs, outputs, attributes) and constants by name."""
    made = [helper.make_node(op, list(ins), list(outs), **attributes) for op, ins, outs, attributes in nodes]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, list(shape))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(made, "g", [x], values, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(built) -> list[np.ndarray]:
    session = ort.InferenceSession(built.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.RandomState(0).standard_normal((2, 4, 6)).astype(np.float32)
    return session.run(None, {"x": x})


def ops(built) -> list[str]:
    return [node.op_type for node in built.graph.node]


NORM = [
    ("Abs", ["x"], ["a"], {}),
    ("Pow", ["a", "two"], ["s"], {}),
    ("ReduceSum", ["s", "axes"], ["t"], {"keepdims": 1}),
    ("Pow", ["t", "half"], ["y"], {}),
]
NORM_CONSTANTS = {"two": np.float32([2]), "half": np.float32([0.5]), "axes": np.int64([-1])}


def test_constants_become_initializers_and_other_nodes_keep_their_order() -> None:
    built = model([("Add", ["x", "c"], ["b"], {}), ("Relu", ["b"], ["y"], {})], {})
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.float32(3)))
    built.graph.node.insert(0, constant)
    before = run(built)
    constants_to_initializers(built.graph)
    assert ops(built) == ["Add", "Relu"]
    assert [tensor.name for tensor in built.graph.initializer] == ["c"]
    np.testing.assert_array_equal(run(built), before)
    constants_to_initializers(built.graph)
    assert len(built.graph.initializer) == 1


def test_equal_initializers_are_stored_once_and_unused_ones_go() -> None:
    nodes = [("Add", ["x", "a"], ["p"], {}), ("Add", ["p", "b"], ["q"], {}), ("Add", ["q", "c"], ["y"], {})]
    one = np.float32([1])
    built = model(nodes, {"a": one, "b": one, "c": np.float32(1), "unused": np.float32([9])})
    before = run(built)
    share_initializers(built.graph)
    assert [tensor.name for tensor in built.graph.initializer] == ["a", "c"], "another shape is another constant"
    assert list(built.graph.node[1].input) == ["p", "a"]
    np.testing.assert_array_equal(run(built), before)


def test_a_norm_becomes_one_operator() -> None:
    built = model(NORM, NORM_CONSTANTS)
    before = run(built)
    fuse_l2_norm(built.graph)
    assert ops(built) == ["ReduceL2"]
    assert not built.graph.initializer
    np.testing.assert_allclose(run(built), before, rtol=1e-6)


@pytest.mark.parametrize("constant", ["two", "half"])
def test_another_norm_stays(constant: str) -> None:
    built = model(NORM, {**NORM_CONSTANTS, constant: np.float32([3])})
    fuse_l2_norm(built.graph)
    assert ops(built) == ["Abs", "Pow", "ReduceSum", "Pow"]


def test_a_norm_whose_inner_result_is_used_elsewhere_stays() -> None:
    built = model([*NORM, ("Neg", ["t"], ["z"], {})], NORM_CONSTANTS, outputs=("y", "z"))
    fuse_l2_norm(built.graph)
    assert ops(built) == ["Abs", "Pow", "ReduceSum", "Pow", "Neg"]


def test_a_sum_that_does_not_say_so_keeps_its_axes() -> None:
    """ONNX's default for ReduceSum is keepdims=1."""
    nodes = [*NORM[:2], ("ReduceSum", ["s", "axes"], ["t"], {}), NORM[3]]
    built = model(nodes, NORM_CONSTANTS)
    before = run(built)
    assert before[0].shape == (2, 4, 1)
    fuse_l2_norm(built.graph)
    assert ops(built) == ["ReduceL2"]
    np.testing.assert_allclose(run(built), before, rtol=1e-6)


TABLE = np.arange(12, dtype=np.float32).reshape(2, 6)
INDEX = np.int32([0, 5, 1, 4, 2, 3, 5, 0])


def gathering(shape, **extra):
    nodes = [
        ("Gather", ["table", "index"], ["g"], {"axis": 1}),
        ("Reshape", ["g", "shape"], ["r"], {}),
        ("ReduceSum", ["r"], ["y"], {"keepdims": 0}),
        ("ReduceSum", ["x"], ["unused"], {}),
    ]
    constants = {"table": TABLE, "index": INDEX, "shape": np.int64(shape), **extra}
    return model(nodes, constants, outputs=("y", "r"))


def test_a_gather_takes_its_shape_from_the_index() -> None:
    built = gathering([2, 2, 4])
    before = run(built)
    gather_with_shaped_index(built.graph)
    assert ops(built) == ["Gather", "ReduceSum", "ReduceSum"]
    assert {tensor.name: list(tensor.dims) for tensor in built.graph.initializer} == {
        "table": [2, 6],
        "index.2x4": [2, 4],
    }
    for old, new in zip(before, run(built), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_gather_that_does_not_say_so_gathers_rows() -> None:
    """ONNX's default for Gather is axis=0."""
    built = gathering([2, 2, 6], index=np.int32([0, 1, 1, 0]))
    del built.graph.node[0].attribute[:]
    before = run(built)
    gather_with_shaped_index(built.graph)
    assert ops(built)[:2] == ["Gather", "ReduceSum"]
    for old, new in zip(before, run(built), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_gather_that_is_used_elsewhere_too_stays() -> None:
    built = gathering([2, 2, 4])
    built.graph.node.append(helper.make_node("Neg", ["g"], ["z"]))
    built.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, None))
    before = run(built)
    gather_with_shaped_index(built.graph)
    assert "Reshape" in ops(built)
    for old, new in zip(before, run(built), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_reshape_that_mixes_axes_stays() -> None:
    built = gathering([4, 4])
    gather_with_shaped_index(built.graph)
    assert ops(built)[:2] == ["Gather", "Reshape"]


def test_names_follow_the_checkpoint() -> None:
    nodes = [
        ("MatMul", ["x", "blocks.0.attn.q.weight"], ["m1"], {}),
        ("Add", ["m1", "blocks.0.attn.q.bias"], ["m2"], {}),
        ("Softmax", ["m2"], ["m3"], {"axis": -1}),
        ("MatMul", ["m3", "blocks.0.mlp.fc1.weight"], ["m4"], {}),
        ("Mul", ["m4", "helper.7"], ["m5"], {}),
        ("Reshape", ["m5", "helper.8"], ["m6"], {}),
        ("Relu", ["m6"], ["y"], {}),
    ]
    square = np.eye(6, dtype=np.float32)
    constants = {
        "blocks.0.attn.q.weight": square,
        "blocks.0.attn.q.bias": np.ones(6, np.float32),
        "blocks.0.mlp.fc1.weight": 2 * square,
        "helper.7": np.float32(0.5),
        "helper.8": np.int64([-1, 24]),
    }
    built = model(nodes, constants)
    before = run(built)
    name_constants(built.graph)
    name_nodes(built.graph)
    assert [node.name for node in built.graph.node] == [
        "blocks.0.attn.q/MatMul",
        "blocks.0.attn.q/Add",
        "blocks.0.attn/Softmax",
        "blocks.0.mlp.fc1/MatMul",
        "blocks.0.mlp/Mul",
        "blocks.0.mlp/Reshape",
        "blocks.0.mlp/Relu",
    ]
    assert [tensor.name for tensor in built.graph.initializer][3:] == ["scalar.0.5", "ints.-1x24"]
    assert built.graph.node[-1].output[0] == "y", "outputs of the graph keep their names"
    np.testing.assert_array_equal(run(built), before)


def test_a_convolutions_bias_is_called_after_its_weight() -> None:
    nodes = [("Conv", ["x", "stem.proj.weight", "_v_12"], ["y"], {})]
    built = model(
        nodes,
        {"stem.proj.weight": np.ones((3, 4, 1), np.float32), "_v_12": np.ones(3, np.float32)},
    )
    name_constants(built.graph)
    assert list(built.graph.node[0].input) == ["x", "stem.proj.weight", "stem.proj.bias"]


def test_node_names_are_unique() -> None:
    nodes = [("Relu", ["x"], ["a"], {}), ("Relu", ["a"], ["b"], {}), ("Relu", ["b"], ["y"], {})]
    built = model(nodes, {})
    name_nodes(built.graph)
    assert [node.name for node in built.graph.node] == ["model/Relu", "model/Relu_2", "model/Relu_3"]
