"""Pass: replace a Gather and a Reshape by a Gather whose index has several axes."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from .graph import attribute, constants, drop_unused_initializers, producers, replace_nodes, uses


def gather_with_shaped_index(graph: Any) -> None:
    """Gather constants directly into their final shape; Paddle's gather accepts only flat indices, ONNX's any.

    `Reshape(Gather(table, index, axis), shape)`, with constant table, index and shape, where `shape` is the
    table's with the gathered axis replaced by several, becomes one Gather whose index has those axes.

    Requires: constants are initializers. Ensures: the same values; a Gather that is also used elsewhere is kept.
    """
    values, made_by, used = constants(graph), producers(graph), uses(graph)
    dropped: set[str] = set()
    for node in graph.node:
        gather = made_by.get(node.input[0]) if node.op_type == "Reshape" else None
        if gather is None or gather.op_type != "Gather" or used[gather.output[0]] != 1:
            continue
        if not {*gather.input, node.input[1]} <= values.keys():
            continue
        table, index, shape = values[gather.input[0]], values[gather.input[1]], values[node.input[1]].tolist()
        axis = attribute(gather, "axis", 0) % table.ndim
        before, after = list(table.shape[:axis]), list(table.shape[axis + 1 :])
        inner = shape[axis : len(shape) - len(after)]
        if [*before, *inner, *after] != shape or int(np.prod(inner)) != index.size:
            continue
        name = f"{gather.input[1]}.{'x'.join(map(str, inner))}"
        if name not in values:
            values[name] = index.reshape(inner)
            graph.initializer.append(numpy_helper.from_array(values[name], name))
        node.op_type = "Gather"
        node.input[:] = [gather.input[0], name]
        del node.attribute[:]
        node.attribute.extend(gather.attribute)
        dropped.add(gather.output[0])
    if dropped:
        replace_nodes(graph, [node for node in graph.node if node.output[0] not in dropped])
        drop_unused_initializers(graph)
