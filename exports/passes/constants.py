"""Passes: turn constants into initializers, and store equal ones once."""

from __future__ import annotations

from typing import Any

from .graph import drop_unused_initializers, replace_nodes


def constants_to_initializers(graph: Any) -> None:
    """Turn Constant nodes with a tensor into initializers, where quantisers and readers expect them.

    Ensures: no Constant node with a tensor is left; other nodes keep their order.
    """
    kept = []
    for node in graph.node:
        tensors = [attribute.t for attribute in node.attribute if attribute.name == "value"]
        if node.op_type == "Constant" and tensors:
            initializer = graph.initializer.add()
            initializer.CopyFrom(tensors[0])
            initializer.name = node.output[0]
        else:
            kept.append(node)
    if len(kept) != len(graph.node):
        replace_nodes(graph, kept)


def share_initializers(graph: Any) -> None:
    """Keep only the first of several initializers with the same type, shape and bytes.

    Requires: constants are initializers. Ensures: no two are equal, none is unused.
    """
    first: dict[tuple[int, tuple[int, ...], bytes], str] = {}
    shared = {}
    for tensor in graph.initializer:
        stripped = type(tensor)()
        stripped.CopyFrom(tensor)
        stripped.ClearField("name")
        key = (tensor.data_type, tuple(tensor.dims), stripped.SerializeToString(deterministic=True))
        shared[tensor.name] = first.setdefault(key, tensor.name)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = shared.get(name, name)
    drop_unused_initializers(graph)
