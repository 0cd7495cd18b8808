"""Bounds on the size of everything that a graph computes, inferred from shapes before an engine opens the file.

A small file can ask for any amount of memory or time, for example by a chain of outer products. The shapes of all
results for one image are inferred here by the operators' definitions (onnx/docs/Operators.md, opset 17) and bounded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from .onnx_graph import Constant, Graph, Node, RefusedError

Shape: TypeAlias = tuple[int, ...]
Result: TypeAlias = tuple[list[Shape], int]
"""Shapes of a node's outputs, and its multiply-accumulates beyond one per output value."""

MAX_VALUES = 2**28
"""Maximum values of one result for one image, 1 GiB in float32. swinv2_large_w24, the largest, has 32 million."""

MAX_OPERATIONS = 2**42
"""Maximum multiply-accumulates plus values per image. swinv2_large_w24 has 1.2e11; 4.4e12 take a minute on 2 cores."""


def check_sizes(graph: Graph, inputs: Mapping[str, Shape]) -> dict[str, Shape]:
    """The shapes of the graph's outputs for these shapes of its inputs.

    Raises RefusedError if a result or the sum of all is too large, or if shapes do not match.
    """
    shapes: dict[str, Shape] = {name: constant.shape for name, constant in graph.constants.items()} | dict(inputs)
    operations = 0
    for node in _in_order(graph.nodes, shapes):
        made, work = _results(node, shapes, graph.constants)
        operations += work
        for name, shape in zip(node.outputs, made, strict=False):
            values = math.prod(shape)
            operations += values
            if values > MAX_VALUES:
                raise RefusedError(
                    f"computes {values} values at once for an image (operator {node.operator}); "
                    f"expected up to {MAX_VALUES}"
                )
            if name in shapes:
                raise RefusedError(f"computes {name!r} twice")
            shapes[name] = shape
        if operations > MAX_OPERATIONS:
            raise RefusedError(f"needs more than {MAX_OPERATIONS} operations for an image")
    if missing := graph.outputs.keys() - shapes.keys():
        raise RefusedError(f"never computes its output {min(missing)!r}")
    return {name: shapes[name] for name in graph.outputs}


def _in_order(nodes: Iterable[Node], known: Mapping[str, Shape]) -> Iterator[Node]:
    """Yield each node once its inputs are in `known`, to which the caller adds the outputs of every yielded node.

    ONNX requires topological order in the file, but converters append nodes at the end, and engines accept that.
    """
    waiting: dict[str, list[Node]] = {}
    for following in nodes:
        ready = [following]
        while ready:
            node = ready.pop()
            missing = next((name for name in node.inputs if name and name not in known), None)
            if missing is not None:
                waiting.setdefault(missing, []).append(node)
                continue
            if node.operator != "Constant":  # its value is among the constants
                yield node
            if waiting:
                ready += [one for name in node.outputs for one in waiting.pop(name, ())]
    if waiting:
        raise RefusedError(f"never computes {min(waiting)!r}, which it uses")


def _results(node: Node, shapes: Mapping[str, Shape], constants: Mapping[str, Constant]) -> Result:
    try:
        made, work = _RULES.get(node.operator, _same)(node, [shapes[name] for name in node.inputs if name], constants)
    except (KeyError, IndexError, ValueError, ZeroDivisionError):
        raise RefusedError(f"has the operator {node.operator} with inputs that do not fit it") from None
    return made, work


Rule: TypeAlias = Callable[[Node, list[Shape], Mapping[str, Constant]], Result]


def _same(node: Node, given: list[Shape], _: Mapping[str, Constant]) -> Result:
    # Scales and zero points must not exceed an axis, or engines would broadcast the first input to them.
    for shape in given[1:]:
        if len(shape) > 1 or (shape and shape[0] not in (1, *given[0])):
            raise ValueError("inputs that do not fit")
    return [given[0]] * len(node.outputs), 0


def broadcast(*shapes: Shape) -> Shape:
    """The shape of an elementwise result (onnx/docs/Broadcasting.md); raises ValueError if the shapes do not match."""
    if len(shapes) == 2 and (shapes[0] == shapes[1] or shapes[1] in ((), shapes[0][-1:])):  # nearly all
        return shapes[0]
    rank = max(map(len, shapes))
    aligned = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    sides = []
    for along in zip(*aligned, strict=True):
        long = {side for side in along if side != 1}
        if len(long) > 1:
            raise ValueError("sides differ")
        sides.append(long.pop() if long else 1)
    return tuple(sides)


def _elementwise(_node: Node, given: list[Shape], _: Mapping[str, Constant]) -> Result:
    return [broadcast(*given)], 0


def _matmul(_node: Node, given: list[Shape], _: Mapping[str, Constant]) -> Result:
    left, right = given[:2]
    if len(left) < 2 or len(right) < 2 or left[-1] != right[-2]:
        raise ValueError("inner sides differ")
    shape = (*broadcast(left[:-2], right[:-2]), left[-2], right[-1])
    return [shape], math.prod(shape) * left[-1]


def _gemm(node: Node, given: list[Shape], _: Mapping[str, Constant]) -> Result:
    (rows, inner), (other, columns) = given[:2]
    if node.ints.get("transA", [0]) == [1]:
        rows, inner = inner, rows
    if node.ints.get("transB", [0]) == [1]:
        other, columns = columns, other
    if inner != other:
        raise ValueError("inner sides differ")
    return [(rows, columns)], rows * columns * inner


def _transpose(node: Node, given: list[Shape], _: Mapping[str, Constant]) -> Result:
    order = node.ints.get("perm", list(range(len(given[0])))[::-1])
    if sorted(order) != list(range(len(given[0]))):
        raise ValueError("not an order of the axes")
    return [tuple(given[0][axis] for axis in order)], 0


def _reshape(node: Node, given: list[Shape], constants: Mapping[str, Constant]) -> Result:
    wanted = [given[0][at] if side == 0 else side for at, side in enumerate(_values(constants, node.inputs[1]))]
    count = math.prod(given[0])
    if -1 in wanted:
        at = wanted.index(-1)
        wanted[at] = count // math.prod(wanted[:at] + wanted[at + 1 :])
    if math.prod(wanted) != count or min(wanted, default=0) < 0:
        raise ValueError("another number of values")
    return [tuple(wanted)], 0


def _gather(node: Node, given: list[Shape], _: Mapping[str, Constant]) -> Result:
    data, indices = given
    axis = _axis(node.ints.get("axis", [0])[0], len(data))
    return [(*data[:axis], *indices, *data[axis + 1 :])], 0


def _split(node: Node, given: list[Shape], constants: Mapping[str, Constant]) -> Result:
    axis = _axis(node.ints.get("axis", [0])[0], len(given[0]))
    whole, parts = given[0][axis], len(node.outputs)
    sizes = _values(constants, node.inputs[1]) if len(node.inputs) > 1 else [whole // parts] * parts
    if sum(sizes) != whole or len(sizes) != parts or min(sizes) < 0:
        raise ValueError("sizes that do not fit")
    return [(*given[0][:axis], size, *given[0][axis + 1 :]) for size in sizes], 0


def _reduce(node: Node, given: list[Shape], constants: Mapping[str, Constant]) -> Result:
    rank = len(given[0])
    listed = _values(constants, node.inputs[1]) if len(node.inputs) > 1 else node.ints.get("axes", list(range(rank)))
    axes = {_axis(axis, rank) for axis in listed}
    if node.ints.get("keepdims", [1]) != [0]:
        return [tuple(1 if axis in axes else side for axis, side in enumerate(given[0]))], math.prod(given[0])
    return [tuple(side for axis, side in enumerate(given[0]) if axis not in axes)], math.prod(given[0])


def _conv(node: Node, given: list[Shape], _: Mapping[str, Constant]) -> Result:
    (batch, channels, *sides), (features, per_group, *kernel) = given[:2]
    rank = len(sides)
    pads = node.ints.get("pads", [0] * 2 * rank)
    strides, dilations = node.ints.get("strides", [1] * rank), node.ints.get("dilations", [1] * rank)
    if channels != per_group * node.ints.get("group", [1])[0] or {len(kernel), len(strides), len(dilations)} != {rank}:
        raise ValueError("channels or kernel that do not fit")
    if len(pads) != 2 * rank or min(*pads, *strides, *dilations) < 0:
        raise ValueError("pads that do not fit")
    made = [
        (side + pads[at] + pads[at + rank] - dilations[at] * (kernel[at] - 1) - 1) // strides[at] + 1
        for at, side in enumerate(sides)
    ]
    if min(made) < 0:
        raise ValueError("a kernel larger than what it slides over")
    shape = (batch, features, *made)
    return [shape], math.prod(shape) * per_group * math.prod(kernel)


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError("no such axis")
    return axis % rank


def _values(constants: Mapping[str, Constant], name: str) -> list[int]:
    constant = constants[name]
    if constant.values is None or math.prod(constant.shape) != len(constant.values):
        raise ValueError("a shape that is not a constant")
    return constant.values


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Max", "Pow"), _elementwise),
    **dict.fromkeys(("ReduceMean", "ReduceL2"), _reduce),
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Gather": _gather,
    "Split": _split,
    "Conv": _conv,
}
"""The operators whose results differ in shape from their first input."""
