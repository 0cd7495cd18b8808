"""Counts and lists the contents of a graph, for tables, benchmarks and tests, without changing it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx

TENSOR = onnx.TensorProto
INTEGERS = {TENSOR.INT8, TENSOR.INT16, TENSOR.INT32, TENSOR.INT64, TENSOR.UINT8, TENSOR.UINT16, TENSOR.UINT32}

# Operators that compute shapes, convert types, branch or move data unnecessarily. A graph with the batch as its only
# free dimension needs none of them.
UNWANTED_OPERATORS = frozenset(
    {
        "Shape", "Slice", "Squeeze", "Unsqueeze", "Cast", "Identity", "Constant", "If", "Loop", "Where", "Expand",
        "Pad", "Mod", "Floor",
    }
)  # fmt: skip

# Permitted integer inputs as (operator, position of the input): shapes, indices, sizes and axes.
INTEGER_INPUTS = frozenset(
    {
        ("Reshape", 1), ("Gather", 1), ("Split", 1),
        ("ReduceSum", 1), ("ReduceMean", 1), ("ReduceL2", 1), ("ReduceMax", 1), ("ReduceSumSquare", 1),
    }
)  # fmt: skip


def node_count(file: Path) -> int:
    """Number of nodes of an ONNX file."""
    return len(onnx.load(file, load_external_data=False).graph.node)


def operator_counts(model: Any) -> Counter[str]:
    """The number of nodes per operator, the most frequent first; other domains as `domain::Operator`."""
    names = (node.op_type if _standard(node.domain) else f"{node.domain}::{node.op_type}" for node in model.graph.node)
    return Counter(dict(Counter(names).most_common()))


def unwanted_operators(model: Any) -> dict[str, int]:
    """The UNWANTED_OPERATORS in the graph, with their numbers."""
    return {name: count for name, count in operator_counts(model).items() if name in UNWANTED_OPERATORS}


def foreign_operators(model: Any) -> dict[str, int]:
    """Operators outside ONNX's own domain, with their numbers."""
    return {name: count for name, count in operator_counts(model).items() if "::" in name}


def integer_arithmetic(model: Any) -> list[str]:
    """The places where an integer tensor is not a stored shape, index, size or axis; [] for a clean graph.

    There is a line per place: a node that computes an integer tensor, or an integer tensor at an input that is not
    one of INTEGER_INPUTS.
    """
    return list(_integer_places(model))


def _integer_places(model: Any) -> Iterator[str]:
    inferred = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value.type.tensor_type.elem_type for value in (*inferred.graph.value_info, *model.graph.input)}
    types |= {value.name: value.type.tensor_type.elem_type for value in model.graph.output}
    types |= {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    for node in model.graph.node:
        for name in node.output:
            if types.get(name) in INTEGERS:
                yield f"{node.op_type} computes the integer tensor {name!r}"
        for position, name in enumerate(node.input):
            if types.get(name) in INTEGERS and (node.op_type, position) not in INTEGER_INPUTS:
                yield f"{node.op_type} reads the integer tensor {name!r} as input {position}"


def _standard(domain: str) -> bool:
    return domain in ("", "ai.onnx")
