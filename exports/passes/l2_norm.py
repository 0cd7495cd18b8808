"""Pass: compute the Euclidean norm by one operator."""

from __future__ import annotations

from typing import Any

import onnx

from .graph import attribute, constants, drop_unused_initializers, producers, replace_nodes, uses


def fuse_l2_norm(graph: Any) -> None:
    """Replace Abs, Pow(2), ReduceSum, Pow(0.5), to which paddle2onnx converts a norm, by ReduceL2.

    Requires: constants are initializers; operator set 13 to 17 (ReduceSum takes its axes as an input, ReduceL2 as an
    attribute). Ensures: the same values; a chain whose inner results are used elsewhere is kept.
    """
    values, made_by, used = constants(graph), producers(graph), uses(graph)

    def previous(node: Any, op_type: str) -> Any:
        """The node of this type that computes the first input of `node`, if that is its only use."""
        source = made_by.get(node.input[0]) if node is not None else None
        return source if source is not None and source.op_type == op_type and used[node.input[0]] == 1 else None

    def raises_to(node: Any, exponent: float) -> bool:
        power = values.get(node.input[1]) if node is not None and node.op_type == "Pow" else None
        return power is not None and power.size == 1 and float(power.reshape(())) == exponent

    replaced: dict[str, Any] = {}
    dropped: set[str] = set()
    for root in graph.node:
        if not raises_to(root, 0.5):
            continue
        total = previous(root, "ReduceSum")
        square = previous(total, "Pow")
        magnitude = previous(square, "Abs")
        if magnitude is None or not raises_to(square, 2.0) or len(total.input) != 2 or total.input[1] not in values:
            continue
        replaced[root.output[0]] = onnx.helper.make_node(
            "ReduceL2",
            [magnitude.input[0]],
            list(root.output),
            axes=values[total.input[1]].tolist(),
            keepdims=attribute(total, "keepdims", 1),
        )
        dropped |= {total.output[0], square.output[0], magnitude.output[0]}
    if replaced:
        nodes = [replaced.get(node.output[0], node) for node in graph.node if node.output[0] not in dropped]
        replace_nodes(graph, nodes)
        drop_unused_initializers(graph)
