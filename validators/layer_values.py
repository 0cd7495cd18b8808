"""Comparing one layer's values of two runs, up to the order in which each keeps its tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

from ..families import Architecture
from ..families.swinv2.architecture import SwinV2Architecture
from ..results import Array

Permutation = npt.NDArray[np.int64]


def token_orders(architecture: Architecture, image_size: int) -> dict[int, list[Permutation]]:
    """The permutations by which two runs may differ in the order of their tokens, by the number of tokens.

    Swin blocks attend within windows, of the map or of the map rolled by half a window, and a graph may leave its
    tokens in the order of either. That changes no value, so two runs are compared up to going from one such order to
    another; the identity comes first. Numbers of tokens that are not named have no other order.
    """
    if not isinstance(architecture, SwinV2Architecture):
        return {}
    found: dict[int, list[Permutation]] = {}
    for stage, depth in enumerate(architecture.depths):
        side = _side(architecture, image_size, stage)
        window = min(architecture.window_size, side)
        orders = [np.arange(side * side), _window_order(side, window, 0)]
        if depth > 1 and window < side:
            orders.append(_window_order(side, window, window // 2))
        changes = [np.argsort(before)[after] for before, after in product(orders, orders)]
        found[side * side] = [np.asarray(change) for change in dict.fromkeys(tuple(c.tolist()) for c in changes)]
    return found


def _side(architecture: SwinV2Architecture, image_size: int, stage: int) -> int:
    """Tokens along a side of the map in this stage."""
    return int(image_size // (architecture.patch_size * 2**stage))


def _window_order(side: int, window: int, shift: int) -> Permutation:
    """The place in the map of every token, when the map is rolled by `-shift` and cut into windows."""
    places = np.roll(np.arange(side * side).reshape(side, side), (-shift, -shift), (0, 1))
    blocks = [np.hsplit(band, side // window) for band in np.vsplit(places, side // window)]
    return np.concatenate([square.reshape(-1) for row in blocks for square in row])


def relative_error(
    expected: Array, actual: Array, count: int, width: int, orders: Mapping[int, Sequence[Permutation]]
) -> tuple[float, str]:
    """How far one layer's values for `count` images are from another run's, and a word where no number says it.

    The error is that of the worst image: rms of the difference over rms of the expected values. It is infinite for
    NaN, infinity or another number of values. Values may be laid out as [N, tokens, width], in windows, or as a map
    [N, width, ...], each run in its own way; tokens may be in any of `orders`.
    """
    wanted, found = _tokens(expected, count, width), _tokens(actual, count, width)
    if not wanted or not found or wanted[0].shape != found[0].shape:
        return float("inf"), f"has the shape {list(actual.shape)}, expected the values of {list(expected.shape)}"
    bad = ~np.isfinite(found[0]).reshape(count, -1).all(axis=1)
    if bad.any():
        return float("inf"), f"holds NaN or infinity for {int(bad.sum())} of {count} images"
    permutations: Sequence[Permutation | None] = orders.get(wanted[0].shape[1]) or [None]
    errors = (
        _worst_image(before if order is None else before[:, order], after)
        for before, after, order in product(wanted, found, permutations)
    )
    return min(errors), ""


def _tokens(values: Array, count: int, width: int) -> list[npt.NDArray[np.float64]]:
    """The values as [count, tokens, width], in every way that their shape can be read."""
    if not values.size or values.size % (count * width):
        return []
    ways = []
    exact = values.astype(np.float64)
    if values.ndim > 1 and values.shape[-1] == width:
        ways.append(exact.reshape(count, -1, width))
    if values.ndim > 2 and values.shape[:2] == (count, width):
        ways.append(exact.reshape(count, width, -1).swapaxes(1, 2))
    return ways


def _worst_image(expected: npt.NDArray[np.float64], actual: npt.NDArray[np.float64]) -> float:
    difference = np.sqrt(np.square(actual - expected).mean(axis=(1, 2)))
    scale = np.sqrt(np.square(expected).mean(axis=(1, 2)))
    return float((difference / np.maximum(scale, np.finfo(np.float32).tiny)).max())
