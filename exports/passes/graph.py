"""Queries and edits of a graph that the passes share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy.typing as npt
import onnx
from onnx import numpy_helper


def constants(graph: Any) -> dict[str, npt.NDArray[Any]]:
    """The initializers of a graph by name."""
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def producers(graph: Any) -> dict[str, Any]:
    """The node that computes each tensor, by the tensor's name."""
    return {output: node for node in graph.node for output in node.output}


def uses(graph: Any) -> Counter[str]:
    """How often each tensor is used, by nodes and as an output of the graph."""
    counts = Counter(name for node in graph.node for name in node.input)
    counts.update(output.name for output in graph.output)
    return counts


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """The value of a node's attribute."""
    for candidate in node.attribute:
        if candidate.name == name:
            return onnx.helper.get_attribute_value(candidate)
    return default


def replace_nodes(graph: Any, nodes: Iterable[Any]) -> None:
    """Make `nodes` the graph's nodes, in this order."""
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)


def drop_unused_initializers(graph: Any) -> None:
    """Remove the initializers that nothing uses."""
    used = uses(graph)
    kept = [tensor for tensor in graph.initializer if used[tensor.name]]
    if len(kept) != len(graph.initializer):
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept]
        del graph.initializer[:]
        graph.initializer.extend(copies)
