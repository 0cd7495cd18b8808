"""Passes: name the outputs and the batch dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

BATCH = "batch"


def rename_outputs(graph: Any, names: Sequence[str]) -> None:
    """Rename the graph's outputs, by position, everywhere they are produced or used.

    Raises ValueError if their number differs or another tensor has a new name.
    """
    if len(graph.output) != len(names):
        raise ValueError(f"expected the outputs {list(names)}, got {[output.name for output in graph.output]}")
    renamed = {output.name: name for output, name in zip(graph.output, names, strict=True)}
    if len(renamed) != len(names):
        raise ValueError(f"two outputs of the graph are the same tensor: {[output.name for output in graph.output]}")
    taken = {name for node in graph.node for name in (*node.input, *node.output)} | {i.name for i in graph.initializer}
    if clash := (set(names) & taken) - set(renamed):
        raise ValueError(f"the names {sorted(clash)} are already used inside the graph")
    for node in graph.node:
        for names_of_node in (node.input, node.output):
            for index, name in enumerate(names_of_node):
                names_of_node[index] = renamed.get(name, name)
    for output in graph.output:
        output.name = renamed[output.name]


def name_batch_dimension(graph: Any) -> None:
    """Name the free first dimension of the input and of every output `batch`."""
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
