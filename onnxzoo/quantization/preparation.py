"""The form of a graph in which its int8 layers run fastest: the same function in other operators.

ONNX Runtime finds quantised operators by patterns, and two of ours hid them (pvt_v2_b0 with both changes: 1.43 times as
fast in int8 as in fp32, with neither 1.12):

- A GELU behind a quantised layer is one operator, Gelu, of opset 20. As five operators it reads its input twice, and
  what dequantises that input is then duplicated, so that they are no longer recognised as a GELU.
- The head is a Gemm. As MatMul and Add of matrices it becomes one before quantised products are looked for, and a Gemm
  is a quantised product only if its bias is quantised, too, which the quantiser does for a Gemm alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ..errors import InputError, one_line

GELU_OPSET = 20
TOLERANCE = 1e-6
"""Relative, for the constants of a GELU: they are float32."""


def prepare(model: Any) -> Any:
    """An ONNX model (a ModelProto, which is changed) with the same outputs in the form above; layers keep their names.

    Its opset is raised to 20 if it has a GELU behind a convolution, and stays otherwise. Raises InputError if onnx
    cannot do that.
    """
    import onnx
    from onnx import version_converter

    from ..exports.passes.graph import drop_unused_initializers

    merge_head(model)
    if any(True for _ in gelus(model.graph)):
        notes = {prop.key: prop.value for prop in model.metadata_props}
        if next(one.version for one in model.opset_import if not one.domain) < GELU_OPSET:
            producer = model.producer_name, model.producer_version
            try:
                model = version_converter.convert_version(model, GELU_OPSET)
            except Exception as error:
                raise InputError(f"onnx cannot convert the model to opset {GELU_OPSET}: {one_line(error)}") from error
            model.producer_name, model.producer_version = producer
            model.ir_version = max(model.ir_version, onnx.helper.find_min_ir_version_for(model.opset_import))
        for chain in list(gelus(model.graph)):
            _replace(model.graph, chain, onnx.helper.make_node("Gelu", chain[0].input[:1], chain[-1].output))
        drop_unused_initializers(model.graph)
        onnx.helper.set_model_props(model, notes)
    return model


def gelus(graph: Any) -> Iterator[list[Any]]:
    """The operators of each GELU behind a convolution, x * (1 + erf(x / sqrt(2))) * 0.5; the first is x / sqrt(2)."""
    made_by = {name: node for node in graph.node for name in node.output}
    read_by: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            read_by.setdefault(name, []).append(node)
    constants = {tensor.name: tensor for tensor in graph.initializer}

    def scaled(node: Any, operator: str, value: float) -> bool:
        return node.op_type == operator and _is(constants.get(node.input[1]), value)

    for erf in graph.node:
        scaling = made_by.get(erf.input[0]) if erf.op_type == "Erf" else None
        if scaling is None or not scaled(scaling, "Div", math.sqrt(2)):
            continue
        source = made_by.get(scaling.input[0])
        chain = [scaling, erf]
        while len(chain) < 5 and len(following := read_by.get(chain[-1].output[0], [])) == 1:
            chain += following
        if source is None or source.op_type != "Conv" or len(chain) < 5:
            continue
        _, _, plus, times, half = chain
        product = times.op_type == "Mul" and set(times.input) == {scaling.input[0], plus.output[0]}
        if product and scaled(plus, "Add", 1.0) and scaled(half, "Mul", 0.5):
            yield chain


def merge_head(model: Any) -> None:
    """Make each MatMul and Add of a constant that compute an output [N, C] one Gemm, named as the MatMul."""
    from onnx import helper

    graph = model.graph
    made_by = {name: node for node in graph.node for name in node.output}
    readers = [name for node in graph.node for name in node.input]
    vectors = {tensor.name for tensor in graph.initializer if len(tensor.dims) == 1}
    for value in graph.output:
        add = made_by.get(value.name)
        product = made_by.get(add.input[0]) if add is not None and add.op_type == "Add" else None
        if add is None or product is None or product.op_type != "MatMul" or add.input[1] not in vectors:
            continue
        if len(value.type.tensor_type.shape.dim) == 2 and readers.count(product.output[0]) == 1:
            merged = helper.make_node("Gemm", [*product.input, add.input[1]], add.output, product.name)
            _replace(graph, [product, add], merged)


def _replace(graph: Any, old: list[Any], new: Any) -> None:
    """Put a node in the place of these, under the name of the last of them if it has none."""
    new.name = new.name or old[-1].name
    place = max(at for at, node in enumerate(graph.node) if node in old)
    graph.node.insert(place + 1, new)
    for node in old:
        graph.node.remove(node)


def _is(tensor: Any, value: float) -> bool:
    """Whether a constant is this number, up to rounding to float32."""
    from onnx import numpy_helper

    if tensor is None or math.prod(tensor.dims) != 1:
        return False
    return math.isclose(float(numpy_helper.to_array(tensor).reshape(())), value, rel_tol=TOLERANCE)
