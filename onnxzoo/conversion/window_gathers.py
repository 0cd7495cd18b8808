"""Rewrites the Gathers of a SwinV2 graph that reorder tokens, for runtimes that cannot gather.

Our graphs keep the tokens in the order of their attention windows (exports/README.md). One Gather takes them from the
order of one block to that of the next, or from a stage to the next, whose tokens are four of them each. Such an order
is a reshape, a transposition and, for shifted windows, a roll of the square of tokens, which is two slices and their
concatenation. So a Gather becomes the inverse of the order before it and then the order after it. Which orders these
are is found from its indices: what is written is compared with them and takes the same tokens, or the graph is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]

SWAP = (0, 2, 1, 3)
"""From rows of windows, rows within them, columns of windows, columns within them: a window's tokens together."""


@dataclass(frozen=True, slots=True)
class Reshape:
    """To these sizes, after the batch."""

    sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Swap:
    """Exchange the second and the third of four axes, after the batch."""


@dataclass(frozen=True, slots=True)
class Roll:
    """Move the rows (`axis` 0) or columns (1) of the square by `steps` towards the beginning, around its `side`."""

    axis: int
    steps: int
    side: int


Step = Reshape | Swap | Roll


@dataclass(frozen=True, slots=True)
class Order:
    """The order of side x side tokens: window after window, in a square that was rolled by `shift`."""

    side: int
    window: int
    shift: int

    def from_square(self, features: int) -> Iterator[Step]:
        """Steps from the square of tokens [side, side, features] to this order [tokens, features]."""
        count, window = self.side // self.window, self.window
        yield from (Roll(axis, self.shift, self.side) for axis in (0, 1) if self.shift)
        yield from (Reshape((count, window, count, window * features)), Swap())
        yield Reshape((self.side**2, features))

    def to_square(self, features: int) -> Iterator[Step]:
        """The inverse of `from_square`."""
        count, window = self.side // self.window, self.window
        yield from (Reshape((count, count, window, window * features)), Swap())
        yield Reshape((self.side, self.side, features))
        yield from (Roll(axis, self.side - self.shift, self.side) for axis in (1, 0) if self.shift)


def merged(side: int, features: int) -> Iterator[Step]:
    """Steps from a square of tokens to the square of four of them each, [side / 2, side / 2, 4 x features]."""
    half = side // 2
    yield from (Reshape((half, 2, half, 2 * features)), Swap())
    yield from (Reshape((half * half, 2, 2, features)), Swap())
    yield Reshape((half, half, 4 * features))


def orders(side: int) -> Iterator[Order]:
    """All orders of a square of tokens."""
    for window in (size for size in range(1, side + 1) if side % size == 0):
        yield from (Order(side, window, shift) for shift in range(window))


def applied(steps: list[Step], tokens: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The steps in NumPy, without a batch."""
    for step in steps:
        if isinstance(step, Reshape):
            tokens = tokens.reshape(step.sizes)
        elif isinstance(step, Swap):
            tokens = tokens.transpose(SWAP)
        else:
            tokens = np.roll(tokens, -step.steps, axis=step.axis)
    return tokens


def steps_of(indices: Indices, before: Order) -> tuple[list[Step], Order] | None:
    """The steps for one feature that take the tokens as these indices do, from the order `before`, and the order
    after them; None if there are none.
    """
    tokens, side = np.arange(len(indices))[:, None], before.side
    if len(indices) != side**2:
        return None
    square = [*before.to_square(1)]
    for after in orders(side):
        steps = [*square, *after.from_square(1)]
        if np.array_equal(applied(steps, tokens).ravel(), indices):
            return steps, after
    for after in orders(side // 2) if side % 2 == 0 else ():
        steps = [*square, *merged(side, 1), *after.from_square(4), Reshape((side**2, 1))]
        if np.array_equal(applied(steps, tokens).ravel(), indices):
            return steps, after
    return None


def with_features(steps: list[Step], features: int) -> list[Step]:
    """The same steps for tokens of so many features, which are the last axis."""
    return [
        Reshape((*step.sizes[:-1], step.sizes[-1] * features)) if isinstance(step, Reshape) else step for step in steps
    ]


def rewrite(model: Any) -> int:
    """Rewrite the Gathers over tokens of a ModelProto in place; returns their number.

    Raises ValueError for one that does not take the tokens from one order of windows to another.
    """
    import onnx
    from onnx import numpy_helper

    from ..exports.passes.graph import drop_unused_initializers

    constants = {one.name: one for one in model.graph.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {one.name: [size.dim_value for size in one.type.tensor_type.shape.dim] for one in inferred.value_info}
    nodes: list[Any] = []
    order: Order | None = None
    count = 0
    for node in model.graph.node:
        axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
        given = constants.get(node.input[1]) if node.op_type == "Gather" else None
        if given is None or axis != 1 or node.input[0] in constants:
            nodes.append(node)
            continue
        indices = numpy_helper.to_array(given)
        order = order or Order(math.isqrt(len(indices)), 1, 0)
        found = steps_of(indices, order)
        if found is None:
            raise ValueError(f"{node.name} does not take tokens from one order of windows to another")
        order = found[1]
        nodes += _nodes(model, node, with_features(found[0], shapes[node.output[0]][-1]))
        count += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unused_initializers(model.graph)
    return count


def _nodes(model: Any, gather: Any, steps: list[Step]) -> Iterator[Any]:
    """The nodes of the steps in the place of a Gather; their constants are added to the model."""
    from onnx import helper, numpy_helper

    def constant(name: str, values: list[int]) -> str:
        model.graph.initializer.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    last = gather.input[0]
    for number, step in enumerate(steps):
        name = f"{gather.name}.{number}"
        out = gather.output[0] if number == len(steps) - 1 else name
        if isinstance(step, Reshape):
            yield helper.make_node("Reshape", [last, constant(f"{name}.shape", [-1, *step.sizes])], [out], name)
        elif isinstance(step, Swap):
            yield helper.make_node("Transpose", [last], [out], name, perm=[0, *(axis + 1 for axis in SWAP)])
        else:
            axes = constant(f"{name}.axes", [step.axis + 1])
            parts = []
            for part, (first, end) in enumerate(((step.steps, step.side), (0, step.steps))):
                bounds = [constant(f"{name}.{part}.{what}", [at]) for what, at in (("first", first), ("end", end))]
                parts.append(f"{name}.{part}")
                yield helper.make_node("Slice", [last, *bounds, axes], [parts[-1]], parts[-1])
            yield helper.make_node("Concat", parts, [out], name, axis=step.axis + 1)
        last = out
