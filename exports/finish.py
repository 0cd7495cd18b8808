"""The last touches on a converted graph: interface names, constants as initializers, metadata."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from ..artifact import OUTPUT_NAMES

BATCH = "batch"


def finish(model: Any, metadata: Mapping[str, str]) -> None:
    """Bring a freshly simplified model into the artifact's form, in place.

    Requires: one input `image` [?, 3, S, S]; as many outputs as the artifact has, in its order.
    Ensures: outputs are named as in the artifact, the first dimension of every input and output is
    called `batch`, there are no Constant nodes, nothing inferred by a tool is left in `value_info`,
    and the file says what it is.
    """
    rename_outputs(model.graph, OUTPUT_NAMES)
    name_batch_dimension(model.graph)
    constants_to_initializers(model.graph)
    del model.graph.value_info[:]
    model.producer_name, model.producer_version = "onnxzoo", metadata.get("onnxzoo", "")
    model.graph.name = metadata.get("name", model.graph.name)
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)


def rename_outputs(graph: Any, names: Sequence[str]) -> None:
    """Rename the graph's outputs, by position, everywhere they are produced or used.

    Raises ValueError when their number differs or a new name is taken by another tensor.
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
    """Call the free first dimension of the input and of every output `batch`."""
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH


def constants_to_initializers(graph: Any) -> None:
    """Turn Constant nodes that hold a tensor into initializers; quantisers and readers look there."""
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
        nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del graph.node[:]
        graph.node.extend(nodes)
