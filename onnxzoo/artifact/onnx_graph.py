"""Reading the inputs, outputs, nodes and constants of an ONNX file, without the bytes of the weights."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from .external_data import is_external
from .onnx_wire import Data, fields, integers, signed, text, varint

FLOAT, INT64 = 1, 7
"""Element types of TensorProto."""

MAX_SHAPE_VALUES = 64
"""Integer constants of up to this many values may be shapes, sizes or axes, so their values are kept."""


MAX_OPSET = 1000
"""The latest ONNX opset is 27. OpenVINO counts down one by one from the version that a file states."""


class RefusedError(Exception):
    """Internal: why a graph is refused; the message follows the file's name."""


class UnsafeError(RefusedError):
    """Internal: why a graph is refused even with trust `any`."""


class Node(NamedTuple):
    """A node; `ints` has the attributes that are whole numbers or lists of them."""

    operator: str
    inputs: list[str]
    outputs: list[str]
    ints: dict[str, list[int]]


class Constant(NamedTuple):
    """An initializer: element type, shape, and its values if they are a few whole numbers."""

    kind: int
    shape: tuple[int, ...]
    values: list[int] | None


class Value(NamedTuple):
    """An input or output. `kind` is None if it is not a tensor, `shape` if unspecified; None in it is any size."""

    kind: int | None
    shape: tuple[int | None, ...] | None


@dataclass(slots=True)
class Graph:
    """The main graph of a file."""

    inputs: dict[str, Value] = field(default_factory=dict)
    outputs: dict[str, Value] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Constant] = field(default_factory=dict)


def read_interface(data: Data) -> Graph:
    """Read only the inputs, the outputs and the constants' names, which older files list among the inputs."""
    graph = Graph()
    for number, first, last in _graph_fields(data, others=True):
        if number == 5:
            name = next((text(data, a, b) for n, a, b in fields(data, first, last) if n == 8), "")
            graph.constants[name] = Constant(0, (), None)
        _read_value(graph, data, number, first, last)
    return graph


def read_graph(data: Data) -> Graph:
    """Read the whole graph.

    Raises RefusedError for anything that can hide nodes or data: local functions, training graphs, graphs and sparse
    tensors as attributes, operators of other domains, data in other files, tensors with more values than bytes.
    Raises ValueError or IndexError if the bytes are not such a message.
    """
    graph = Graph()
    for number, first, last in _graph_fields(data, others=False):
        if number == 1:
            graph.nodes.append(_node(data[first:last], graph))
        elif number == 5:
            name, constant = _tensor(data, first, last)
            graph.constants[name] = constant
        elif number == 15:
            raise RefusedError("has sparse tensors")
        else:
            _read_value(graph, data, number, first, last)
    return graph


def _graph_fields(data: Data, *, others: bool) -> Iterator[tuple[int, int, int]]:
    """The fields of the main graph, which may come in several pieces that Protocol Buffers parsers join."""
    found = False
    for number, first, last in fields(data, 0, len(data)):
        if number == 7:
            found = True
            yield from fields(data, first, last)
        elif number == 8:
            versions = [signed(data, a) for n, a, _ in fields(data, first, last) if n == 2]
            if not all(1 <= version <= MAX_OPSET for version in versions):
                raise UnsafeError(f"states version {versions[-1]} of its operators, expected 1 to {MAX_OPSET}")
        elif number in (20, 25) and not others:
            raise RefusedError("has local functions" if number == 25 else "has graphs for training")
    if not found:
        raise ValueError("it has no graph")


def _node(data: bytes, graph: Graph) -> Node:
    operator, inputs, outputs = "", list[str](), list[str]()
    ints: dict[str, list[int]] = {}
    for number, first, last in fields(data, 0, len(data)):
        if number == 1:
            inputs.append(text(data, first, last))
        elif number == 2:
            outputs.append(text(data, first, last))
        elif number == 4:
            if operator:
                raise ValueError("a node of two operators")
            operator = text(data, first, last)
        elif number == 5:
            _attribute(data, first, last, ints, outputs, graph)
        elif number == 7 and data[first:last] not in (b"", b"ai.onnx"):
            raise RefusedError(f"has an operator of the domain {text(data, first, last)!r}")
    return Node(operator, inputs, outputs, ints)


def _attribute(data: bytes, start: int, end: int, ints: dict[str, list[int]], outputs: list[str], graph: Graph) -> None:
    name, numbers = "", []
    for number, first, last in fields(data, start, end):
        if number == 1:
            name = text(data, first, last)
        elif number == 3:
            numbers.append(signed(data, first))
        elif number == 8:
            numbers += integers(data, first, last)
        elif number in (5, 10):
            constant = _tensor(data, first, last)[1]
            if outputs:  # the operator Constant; none of our other operators has tensors as attributes
                graph.constants[outputs[0]] = constant
        elif number in (6, 11):
            raise RefusedError("has graphs within its operators (loops or branches)")
        elif number in (22, 23):
            raise RefusedError("has sparse tensors")
    ints[name] = numbers


def _tensor(data: Data, start: int, end: int) -> tuple[str, Constant]:
    name, kind, shape = "", 0, []
    raw, typed = None, None
    for number, first, last in fields(data, start, end):
        if number == 1:
            shape += integers(data, first, last)
        elif number == 2:
            kind = varint(data, first)[0]
        elif number == 7:
            typed = (typed or []) + integers(data, first, last) if last - first <= 10 * MAX_SHAPE_VALUES else None
        elif number == 8:
            name = text(data, first, last)
        elif number == 9:
            raw = first, last
        elif number in (13, 14) and is_external(data, number, first):
            raise UnsafeError("stores data in other files; an artifact's model must be a single file")
    count = math.prod(shape)
    if any(side < 0 for side in shape) or count > end - start:
        raise RefusedError(f"has a tensor {name!r} of shape {shape} with too little data")
    values = None
    if kind == INT64 and count <= MAX_SHAPE_VALUES:
        if raw is not None and raw[1] - raw[0] == 8 * count:
            bits = data[raw[0] : raw[1]]
            values = [int.from_bytes(bits[at : at + 8], "little", signed=True) for at in range(0, len(bits), 8)]
        elif raw is None:
            values = typed or []
    return name, Constant(kind, tuple(shape), values)


def _read_value(graph: Graph, data: Data, number: int, first: int, last: int) -> None:
    if number not in (11, 12):
        return
    name, value = _value(data, first, last)
    values = graph.inputs if number == 11 else graph.outputs
    if name in values:
        raise ValueError("two inputs or outputs of one name")
    values[name] = value


def _value(data: Data, start: int, end: int) -> tuple[str, Value]:
    parts = _single(data, start, end)
    name = text(data, *parts[1]) if 1 in parts else ""
    kind_of = _single(data, *parts[2]) if 2 in parts else {}
    if 1 not in kind_of or len(kind_of.keys() - {6}) > 1:
        return name, Value(None, None)
    tensor = _single(data, *kind_of[1])
    kind = varint(data, tensor[1][0])[0] if 1 in tensor else 0
    if 2 not in tensor:
        return name, Value(kind, None)
    shape: list[int | None] = []
    for number, first, last in fields(data, *tensor[2]):
        if number == 1:
            side = _single(data, first, last)
            shape.append(signed(data, side[1][0]) if 1 in side else None)
    return name, Value(kind, tuple(shape))


def _single(data: Data, start: int, end: int) -> dict[int, tuple[int, int]]:
    """The fields of a message, each at most once; parsers join some repeated fields and take the last of others."""
    found: dict[int, tuple[int, int]] = {}
    for number, first, last in fields(data, start, end):
        if number in found:
            raise ValueError("a field that should be there once")
        found[number] = first, last
    return found
