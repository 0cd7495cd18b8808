"""Passes: name constants and nodes after the checkpoint's parameters."""

from __future__ import annotations

from collections import Counter
from typing import Any

from .graph import constants, uses

PARAMETERS = ("weight", "bias")


def name_constants(graph: Any) -> None:
    """Give readable names to the constants without a name from the checkpoint.

    A convolution's bias, which the simplifier recreates, is named after its weight; small integer vectors (shapes,
    split sizes, axes) and scalars after their values, as in `ints.-1x64x96` and `scalar.0.5`.

    Requires: constants are initializers, equal ones are shared.
    """
    values = constants(graph)
    renamed: dict[str, str] = {}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3 and node.input[0] not in values:
            bias = node.input[1].removesuffix("weight") + "bias"
            if node.input[1].endswith(".weight") and bias not in values:
                renamed[node.input[2]] = bias
    for name, value in values.items():
        if value.dtype.kind == "i" and value.ndim == 1 and value.size <= 8:
            renamed[name] = f"ints.{'x'.join(map(str, value.tolist()))}"
        elif value.size == 1 and value.dtype.kind == "f":
            renamed[name] = f"scalar.{value.reshape(()).item():.9g}" + (f".rank{value.ndim}" if value.ndim else "")
    _rename(graph, renamed, taken=set(values) - set(renamed))


def name_nodes(graph: Any) -> None:
    """Name every node, and the tensors it computes, after the part of the model that it belongs to.

    A node with parameters belongs to their layer (`layers.0.blocks.0.attn.qkv/MatMul`); any other node to the part of
    the model that contains the layer before it (`layers.0.blocks.0.attn/Softmax`). Constants shared by several nodes
    are ignored.

    Requires: nodes are in the order of execution, constants are named. Ensures: node names are unique; inputs and
    outputs of the graph keep their names.
    """
    values, used = constants(graph), uses(graph)
    outputs = {output.name for output in graph.output}
    counts: Counter[str] = Counter()
    renamed: dict[str, str] = {}
    enclosing = "model"
    for node in graph.node:
        own = [name for name in node.input if name in values and used[name] == 1 and not _by_value(name)]
        scope = enclosing
        if own:
            scope, _, last = own[0].rpartition(".")
            enclosing = (scope.rpartition(".")[0] or "model") if last in PARAMETERS else (scope or "model")
            scope = scope or "model"
        base = f"{scope}/{node.op_type}"
        counts[base] += 1
        node.name = base if counts[base] == 1 else f"{base}_{counts[base]}"
        for index, output in enumerate(node.output):
            if output not in outputs:
                renamed[output] = node.name if len(node.output) == 1 else f"{node.name}:{index}"
    _rename(graph, renamed, taken=set(values))


def _by_value(name: str) -> bool:
    return name.startswith(("ints.", "scalar."))


def _rename(graph: Any, renamed: dict[str, str], taken: set[str]) -> None:
    """Rename tensors everywhere; a new name that already exists, or is requested twice, gets a number."""
    final: dict[str, str] = {}
    for old, new in renamed.items():
        candidate, number = new, 2
        while candidate in taken:
            candidate, number = f"{new}_{number}", number + 1
        taken.add(candidate)
        final[old] = candidate
    for node in graph.node:
        node.input[:] = [final.get(name, name) for name in node.input]
        node.output[:] = [final.get(name, name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = final.get(tensor.name, tensor.name)
