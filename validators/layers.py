"""The layers that two runs of one model can be compared at, and the comparison of their values.

A layer is named as in the checkpoint; `NAME:input` is what enters it. Which layers there are follows from the
architecture alone, so that a converter's own idea of the model has no say here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ..families import Architecture
from ..families.pvt_v2.architecture import PvtV2Architecture
from ..families.swinv2.architecture import SwinV2Architecture
from ..results import Array

Permutation = npt.NDArray[np.int64]

INPUT = ":input"


class LayerSource(Protocol):
    """Something that gives the values of a model's layers for images."""

    def run_layers(self, images: Array, names: Sequence[str]) -> Mapping[str, Array]:
        """The output of every layer in `names` (`NAME:input`: its input) for images float32 [N, 3, S, S].

        Layers that the source does not have are left out.
        """
        ...


@dataclass(frozen=True, slots=True)
class Tap:
    """A place in the model where values are compared.

    `name`: of the layer, for a reference. `anchor`: the layer whose parameters show the place in a graph; the value
    is its output, its `input`, or the residual `sum` that its output is added to. `part`: what to call the place
    in which an error that first shows here arose. `width`: number of channels. `block`: whether it ends a block: these
    taps are compared first, the others only inside the first bad block.
    """

    name: str
    anchor: str
    side: Literal["output", "input", "sum"]
    part: str
    width: int
    block: bool = False


def taps_of(architecture: Architecture, num_classes: int) -> tuple[Tap, ...]:
    """The taps of a model in the order of execution."""
    if isinstance(architecture, SwinV2Architecture):
        layers = _swinv2(architecture)
    elif isinstance(architecture, PvtV2Architecture):
        layers = _pvt_v2(architecture)
    else:
        raise TypeError(f"no layers are known of {type(architecture).__name__}")
    width = architecture.num_features
    pooled = Tap(f"head{INPUT}", "head", "input", "embedding", width, block=True)
    return (*layers, pooled, Tap("head", "head", "output", "head", num_classes, block=True))


def _swinv2(architecture: SwinV2Architecture) -> Iterator[Tap]:
    last = len(architecture.depths) - 1
    yield Tap("patch_embed.proj", "patch_embed.proj", "output", "patch_embed", architecture.embed_dim)
    yield Tap("patch_embed.norm", "patch_embed.norm", "output", "patch_embed", architecture.embed_dim, block=True)
    for stage, depth in enumerate(architecture.depths):
        dim = architecture.embed_dim * 2**stage
        for index in range(depth):
            block = f"layers.{stage}.blocks.{index}"
            # The reference calls the product with qkv's weight as a function: the layer that it enters is attn.
            yield Tap(f"{block}.attn{INPUT}", f"{block}.attn.qkv", "input", block, dim)
            yield Tap(f"{block}.attn.proj", f"{block}.attn.proj", "output", f"{block}.attn", dim)
            yield Tap(f"{block}.norm1", f"{block}.norm1", "output", f"{block}.norm1", dim)
            yield Tap(f"{block}.mlp{INPUT}", f"{block}.mlp.fc1", "input", block, dim)
            hidden = int(dim * architecture.mlp_ratio)
            yield Tap(f"{block}.mlp.fc1", f"{block}.mlp.fc1", "output", f"{block}.mlp", hidden)
            yield Tap(f"{block}.mlp.fc2", f"{block}.mlp.fc2", "output", f"{block}.mlp", dim)
            yield Tap(f"{block}.norm2", f"{block}.norm2", "output", f"{block}.norm2", dim)
            yield Tap(block, f"{block}.norm2", "sum", block, dim, block=True)
        if stage < last:
            merging = f"layers.{stage}.downsample"
            yield Tap(f"{merging}.reduction{INPUT}", f"{merging}.reduction", "input", merging, 4 * dim)
            yield Tap(f"{merging}.reduction", f"{merging}.reduction", "output", merging, 2 * dim)
            yield Tap(f"{merging}.norm", f"{merging}.norm", "output", merging, 2 * dim, block=True)
    yield Tap("norm", "norm", "output", "norm", architecture.num_features, block=True)


def _pvt_v2(architecture: PvtV2Architecture) -> Iterator[Tap]:
    for stage, depth in enumerate(architecture.depths):
        dim, number = architecture.embed_dims[stage], stage + 1
        embed = f"patch_embed{number}"
        yield Tap(f"{embed}.proj", f"{embed}.proj", "output", embed, dim)
        yield Tap(f"{embed}.norm", f"{embed}.norm", "output", embed, dim, block=True)
        for index in range(depth):
            block = f"block{number}.{index}"
            yield Tap(f"{block}.norm1", f"{block}.norm1", "output", f"{block}.norm1", dim)
            attn, mlp = f"{block}.attn", f"{block}.mlp"
            if architecture.linear or architecture.sr_ratios[stage] > 1:
                yield Tap(f"{attn}.sr", f"{attn}.sr", "output", attn, dim)
                yield Tap(f"{attn}.norm", f"{attn}.norm", "output", attn, dim)
            # No tap at the queries: the scale of the scores may be folded into their weights.
            yield Tap(f"{attn}.kv", f"{attn}.kv", "output", attn, 2 * dim)
            yield Tap(f"{attn}.proj", f"{attn}.proj", "output", attn, dim)
            yield Tap(f"{block}.norm2{INPUT}", f"{block}.norm2", "input", block, dim)
            yield Tap(f"{block}.norm2", f"{block}.norm2", "output", f"{block}.norm2", dim)
            hidden = int(dim * architecture.mlp_ratios[stage])
            yield Tap(f"{mlp}.fc1", f"{mlp}.fc1", "output", mlp, hidden)
            yield Tap(f"{mlp}.dwconv.dwconv", f"{mlp}.dwconv.dwconv", "output", mlp, hidden)
            yield Tap(f"{mlp}.fc2", f"{mlp}.fc2", "output", mlp, dim)
            # A block ends in a sum, which is what enters the next norm.
            following = f"block{number}.{index + 1}.norm1" if index + 1 < depth else f"norm{number}"
            yield Tap(f"{following}{INPUT}", following, "input", block, dim, block=True)
        yield Tap(f"norm{number}", f"norm{number}", "output", f"norm{number}", dim, block=True)


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
