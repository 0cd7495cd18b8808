"""Mutators of ONNX files: of their protocol buffers, whatever they say, and of values in files that stay well-formed.

As in fuzz_mutators, all draw from the `random.Random` they are given and nothing else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from random import Random
from typing import Any

from fuzz_mutators import BLIND, INTEGERS, TEXTS, flip_bits

OPERATORS = (
    *("Loop", "If", "Scan", "Expand", "Tile", "ConstantOfShape", "Range", "Resize", "Pad", "NonZero", "RandomNormal"),
    *("SequenceEmpty", "SplitToSequence", "StringNormalizer", "ZipMap", "TfIdfVectorizer", "Einsum", "CumSum"),
    *("Conv", "MatMul", "Reshape", "Gather", "Softmax", "Unsqueeze", "Cast", "Concat", "Where", "Identity"),
)


def mutate_protobuf(data: bytes, random: Random) -> bytes:
    """One field at any depth removed, repeated, renumbered or given another value; the lengths around it are right."""
    fields = _parsed(data)
    if not fields:
        return flip_bits(data, random)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        _change_field(fields, random)
    return _serialized(fields)


def _parsed(data: bytes) -> list[list[Any]] | None:
    """[number, wire type, value] of each field; the value of a length-delimited one is such a list where it can be."""
    fields: list[list[Any]] = []
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        kind = key & 7
        if kind == 0:
            value, place = _varint(data, place)
            fields.append([key >> 3, 0, value])
            continue
        length = {1: 8, 5: 4}.get(kind, 0)
        if kind == 2:
            length, place = _varint(data, place)
        if place < 0 or kind not in (1, 2, 5) or not key >> 3 or key >> 3 > 99 or place + length > len(data):
            return None
        held = data[place : place + length]
        place += length
        # Short text often looks like fields; names of operators are to stay text.
        inner = _parsed(held) if kind == 2 and len(held) > 1 and not held.isalnum() and len(held) < 2**16 else None
        fields.append([key >> 3, kind, inner if inner else held])
        if place < 0:
            return None
    return fields if place == len(data) else None


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if not 0 <= place < len(data):
            return 0, len(data) + 1
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    return 0, len(data) + 1


def _change_field(fields: list[list[Any]], random: Random) -> None:
    index = random.randrange(len(fields))
    number, kind, value = fields[index]
    if isinstance(value, list) and value and random.random() < 0.85:
        _change_field(value, random)
        return
    action = random.randrange(8)
    if action == 0 and len(fields) > 1:
        del fields[index]
    elif action == 1:
        fields[index:index] = [[number, kind, value]] * random.choice((1, 2, 50))
    elif action == 2:
        fields[index][0] = random.choice((1, 2, 3, 5, 7, 9, 13, 14, 15, 20, 25, 99))
    elif action == 3 and len(fields) > 1:
        other = random.randrange(len(fields))
        fields[index], fields[other] = fields[other], fields[index]
    elif isinstance(value, int):
        fields[index][2] = random.choice((*INTEGERS, 2**63, 2**64 - 1, *range(17)))
    elif isinstance(value, bytes) and value and kind == 2:
        text = value.isascii() and random.random() < 0.7
        blind = flip_bits if random.random() < 0.5 else random.choice(BLIND)  # the first keeps the length
        fields[index][2] = random.choice(OPERATORS).encode() if text else blind(value, random)
    elif isinstance(value, bytes) and value:
        fields[index][2] = random.randbytes(len(value))
    elif isinstance(value, list):
        fields[index][2] = b""


def _serialized(fields: list[list[Any]]) -> bytes:
    parts = []
    for number, kind, value in fields:
        held = _serialized(value) if isinstance(value, list) else value
        parts.append(_as_varint(number << 3 | kind))
        if kind == 0:
            parts.append(_as_varint(held if isinstance(held, int) else 0))
        else:
            parts += [_as_varint(len(held))] if kind == 2 else []
            parts.append(held)
    return b"".join(parts)


def _as_varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


# Values of a file that stays well-formed, which is what reaches the engines


def mutate_graph(data: bytes, random: Random) -> bytes:
    """Weights, sides, attributes, names or operators changed so that the file still says what it means."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.ModelProto.FromString(data)
        if not model.graph.node or not model.graph.initializer:
            return flip_bits(data, random)
        for _ in range(random.choice((1, 1, 2, 4))):
            random.choice(CHANGES)(model, random)
        changed: bytes = model.SerializeToString()
    except (DecodeError, UnicodeDecodeError):  # names may be anything until somebody asks for them
        return flip_bits(data, random)
    return changed


def _weights(model: Any, random: Random) -> None:
    """Some numbers of an initializer."""
    held = random.choice(model.graph.initializer)
    kind = {1: "<f", 7: "<q"}.get(held.data_type)
    if kind is None or not held.raw_data:
        return
    content = bytearray(held.raw_data)
    size = struct.calcsize(kind)
    for _ in range(random.choice((1, 1, 9))):
        value: Any = random.choice((0.0, -1.0, 1e-40, 3e38, -3e38, float("inf"), float("nan"), random.gauss(0, 1)))
        if kind == "<q":
            value = random.choice((0, -1, 1, 2, 3, 4, 2**31, 2**40, -(2**63)))
        struct.pack_into(kind, content, size * random.randrange(len(content) // size), value)
    held.raw_data = bytes(content)


def _sides(model: Any, random: Random) -> None:
    """Another shape of as many numbers."""
    held = random.choice(model.graph.initializer)
    sides = list(held.dims)
    action = random.randrange(4)
    if action == 0:
        random.shuffle(sides)
    elif action == 1:
        sides.insert(random.randrange(len(sides) + 1), 1)
    elif action == 2 and len(sides) > 1:
        sides[:2] = [sides[0] * sides[1]]
    elif 1 in sides:
        sides.remove(1)
    del held.dims[:]
    held.dims.extend(sides)


def _attribute(model: Any, random: Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return
    attribute = random.choice(random.choice(nodes).attribute)
    if attribute.type == 1:
        attribute.f = random.choice((0.0, -1.0, 1e-12, 1e30, float("nan"), random.random()))
    elif attribute.type == 2:
        attribute.i = random.choice((-1, 0, 1, 2, 3, 7, 2**31, -(2**63)))
    elif attribute.type == 7 and attribute.ints:
        place = random.randrange(len(attribute.ints))
        attribute.ints[place] = random.choice((attribute.ints[place] + 1, -1, 0, 1, 2, 10**6, 2**62))


def _interface(model: Any, random: Random) -> None:
    """A side that the graph declares for an input or an output."""
    declared = random.choice([*model.graph.input, *model.graph.output]).type.tensor_type.shape
    side = random.choice(declared.dim) if declared.dim else declared.dim.add()
    if random.random() < 0.5:
        side.dim_param = random.choice(("n", "batch", "?", *TEXTS[:4]))
    else:
        side.dim_value = random.choice((-1, 0, 1, 2, 3, 32, 33, 2**31, 2**62))


def _names(model: Any, random: Random) -> None:
    """A tensor's name, everywhere; or one that no engine should look at."""
    new = random.choice(("", "x", "logits", "a/b.c:0", "\x1b[2J", "a\nb", "x" * 5000, "\u202e"))
    old = random.choice([one.name for one in model.graph.initializer])
    if random.random() < 0.5:
        model.producer_name, model.graph.name, model.graph.doc_string = new, new, new
        model.graph.node[random.randrange(len(model.graph.node))].name = new
        return
    for held in model.graph.initializer:
        held.name = new if held.name == old else held.name
    for node in model.graph.node:
        node.input[:] = [new if name == old else name for name in node.input]


def _node(model: Any, random: Random) -> None:
    """A node more whose result has the shape of its input, or two in another order."""
    nodes = model.graph.node
    contents = [node.SerializeToString() for node in nodes]
    place = random.randrange(len(nodes))
    if random.random() < 0.3:
        other = random.randrange(len(nodes))
        contents[place], contents[other] = contents[other], contents[place]
    elif nodes[place].input:
        operator = random.choice(("Identity", "Relu", "Erf", "Softmax", "Transpose", "Add", "Mul", "Div", "Max"))
        name = f"new_{random.randrange(10**6)}"
        index = random.randrange(len(nodes[place].input))
        inputs = [nodes[place].input[index]] * (2 if operator in ("Add", "Mul", "Div", "Max") else 1)
        nodes[place].input[index] = name
        contents[place] = nodes[place].SerializeToString()
        contents.insert(place, nodes.add(op_type=operator, output=[name], input=inputs).SerializeToString())
    for node, content in zip(nodes, contents, strict=True):
        node.ParseFromString(content)


def _version(model: Any, random: Random) -> None:
    if random.random() < 0.5:
        model.ir_version = random.choice((0, 1, 3, 7, 9, 10, 11, 12, 13, 99))
    elif model.opset_import:
        model.opset_import[0].version = random.choice((1, 7, 11, 13, 16, 18, 20, 21, 22, 23, 24, 99, 2**40))


CHANGES: tuple[Callable[[Any, Random], None], ...] = (
    _weights,
    _weights,
    _weights,
    _sides,
    _attribute,
    _interface,
    _names,
    _node,
    _version,
)
