"""Compares one layer's values of two runs, which may keep their tokens in different orders."""

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
    """The permutations by which the token orders of two runs may differ, by the number of tokens.

    Swin blocks attend within windows, of the map or of the map rolled by half a window, and a graph may keep its tokens
    in either order. This does not change the values, so two runs are compared up to a change between such orders; the
    identity comes first. Numbers of tokens that are not listed have only one order.
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
    """The side of the map in this stage, in tokens."""
    return int(image_size // (architecture.patch_size * 2**stage))


def _window_order(side: int, window: int, shift: int) -> Permutation:
    """The position in the map of each token after the map is rolled by `-shift` and partitioned into windows."""
    places = np.roll(np.arange(side * side).reshape(side, side), (-shift, -shift), (0, 1))
    blocks = [np.hsplit(band, side // window) for band in np.vsplit(places, side // window)]
    return np.concatenate([square.reshape(-1) for row in blocks for square in row])


def relative_error(
    expected: Array, actual: Array, count: int, width: int, orders: Mapping[int, Sequence[Permutation]]
) -> tuple[float, str]:
    """The error of a layer's values for `count` images relative to another run's, and a description if it is infinite.

    The error is that of the worst image: rms of the difference divided by the rms of the expected values. It is
    infinite for NaN, infinity or another number of values. Values may have the layout [N, tokens, width], windows, or a
    map [N, width, ...], independently for each run; tokens may be in any of `orders`.
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
    """The values as [count, tokens, width], for every possible interpretation of their shape."""
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
