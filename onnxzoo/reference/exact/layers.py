"""The layers that both families have, in float64, and the context of one forward pass.

A layer is a function of its place in the model, its input, and further arguments. Arrays have the axes
of the papers: tokens [1, tokens, channels] in the map's row-major order, maps [1, channels, height, width].
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ...results import Array
from .erf import Float64

P = ParamSpec("P")

SCORES_BYTES = 8 * 2**20
"""Memory for attention scores at a time, at least one window or one row of queries; a mask takes the same again. All
scores of one block of a 384-pixel model would take 250 MB or more, and smaller parts fit a cache better."""


@dataclass(frozen=True)
class Pass:
    """The forward pass of one image.

    `state`: the parameters, float32. `epsilons`: of the norms, by name. `wanted`: names of the layers to record,
    `NAME:input` for the input of one; `values`: the recorded values, float32.
    """

    state: Mapping[str, Array]
    epsilons: Mapping[str, float]
    wanted: Collection[str] = frozenset()
    values: dict[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a layer in a model: its name as in the checkpoint, and the forward pass it belongs to."""

    run: Pass
    name: str = ""

    def __getitem__(self, name: str) -> Place:
        """The place of a layer inside this one."""
        return Place(self.run, f"{self.name}.{name}" if self.name else name)

    def parameter(self, name: str) -> Float64:
        """A parameter of this layer, converted on each call, as a large model's in float64 would take 1.6 GB."""
        parameter: Float64 = self.run.state[f"{self.name}.{name}"].astype(np.float64)
        return parameter

    def has(self, name: str) -> bool:
        """Whether the layer has this parameter."""
        return f"{self.name}.{name}" in self.run.state

    def record(self, side: str, value: Float64) -> None:
        """Record a value if it is wanted; `side` is `:input` or empty."""
        if (key := self.name + side) in self.run.wanted:
            self.run.values[key] = value.astype(np.float32)


def layer(
    function: Callable[Concatenate[Place, Float64, P], Float64],
) -> Callable[Concatenate[Place, Float64, P], Float64]:
    """Decorator of a layer, which records its input and output."""

    @functools.wraps(function)
    def recorded(at: Place, value: Float64, /, *args: P.args, **kwargs: P.kwargs) -> Float64:
        at.record(":input", value)
        result = function(at, value, *args, **kwargs)
        at.record("", result)
        return result

    return recorded


@layer
def linear(at: Place, tokens: Float64) -> Float64:
    """Tokens [..., in] -> [..., out]: the product with weight [in, out], plus the bias if there is one."""
    weight = at.parameter("weight")
    result = (tokens.reshape(-1, tokens.shape[-1]) @ weight).reshape(*tokens.shape[:-1], weight.shape[-1])
    if at.has("bias"):
        result += at.parameter("bias")
    return result


@layer
def layer_norm(at: Place, tokens: Float64) -> Float64:
    """Tokens [..., channels] with mean 0 and variance 1 over channels, scaled and shifted (arXiv:1607.06450)."""
    centred: Float64 = tokens - tokens.mean(axis=-1, keepdims=True)
    variance = np.square(centred).mean(axis=-1, keepdims=True)
    centred /= np.sqrt(variance + at.run.epsilons[at.name])
    centred *= at.parameter("weight")
    centred += at.parameter("bias")
    return centred


@layer
def convolution(at: Place, grid: Float64, stride: int, padding: int) -> Float64:
    """Map [1, in, H, W] -> map [1, out, h, w] with weight [out, in, k, k], by a matrix product with a row per patch."""
    weight = at.parameter("weight")
    outputs, _, kernel, _ = weight.shape
    edges = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    patches = sliding_window_view(np.pad(grid, edges), (kernel, kernel), axis=(2, 3))[:, :, ::stride, ::stride]
    height, width = patches.shape[2:4]
    rows = patches.transpose(0, 2, 3, 1, 4, 5).reshape(height * width, -1)
    result: Float64 = rows @ weight.reshape(outputs, -1).T + at.parameter("bias")
    return result.reshape(1, height, width, outputs).transpose(0, 3, 1, 2)


def softmax(scores: Float64) -> Float64:
    """Softmax over the last axis, in place, because scores may be large."""
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores


class Scores:
    """A buffer for attention scores: some of `count` equal parts [*shape] at a time, up to SCORES_BYTES, at least one.

    The same memory is used for all parts, as allocating it for each product takes three times as long as the product.
    """

    def __init__(self, count: int, *shape: int) -> None:
        self._count = count
        self._room = np.empty((min(max(SCORES_BYTES // (8 * math.prod(shape)), 1), count), *shape))

    def parts(self) -> Iterator[slice]:
        """All parts, in slices of as many as fit the buffer."""
        step = len(self._room)
        return (slice(start, min(start + step, self._count)) for start in range(0, self._count, step))

    def products(self, query: Float64, key: Float64) -> Float64:
        """The product of every query with every key, written to the buffer: [..., queries, keys]."""
        return np.matmul(query, key.swapaxes(-1, -2), out=self._room[: len(query)])


def tokens_of(grid: Float64) -> Float64:
    """Map [1, channels, H, W] -> tokens [1, H * W, channels]."""
    return grid.reshape(*grid.shape[:2], -1).transpose(0, 2, 1)


def map_of(tokens: Float64, side: int) -> Float64:
    """Tokens [1, side^2, channels] -> map [1, channels, side, side]."""
    return tokens.transpose(0, 2, 1).reshape(1, -1, side, side)
