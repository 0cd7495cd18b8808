"""The constants of SwinV2's exported graph, computed from a checkpoint's parameters.

The graph keeps its tokens in window order; exports/forms/swinv2.py derives it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..family import Constants, ModelSpec, State, parameters
from .architecture import SwinV2Architecture

NORM_EPSILON = 1e-5
"""Epsilon of every LayerNorm."""
COSINE_EPSILON = 1e-12
"""Lower bound of the Euclidean norm that queries and keys are divided by."""
MAX_LOGIT_SCALE = math.log(100.0)
"""Section 3.2: tau is kept above 0.01, so its reciprocal, the scale of the cosines, is at most 100."""
BIAS_RANGE = 16.0
"""The factor on the sigmoid of the position bias (the paper's code)."""
MASKED = -100.0
"""Added to the score of two tokens that only the cyclic shift brought into one window (arXiv:2103.14030, 3.2)."""

Order = npt.NDArray[np.int64]
"""A permutation of the tokens of a map: entry t is the row-major position in the map of token t of the sequence."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage of a model at its image size.

    `side`: tokens along a side of its map. `window`: tokens along a side of its windows, which are no larger than the
    map. `trained_window`: the window that offsets between tokens are normalised by.
    """

    number: int
    depth: int
    side: int
    dim: int
    heads: int
    window: int
    trained_window: int

    @property
    def windows(self) -> int:
        """Number of windows of the map."""
        return (self.side // self.window) ** 2

    def shift(self, block: int) -> int:
        """Shift of a block's windows in tokens: half a window in odd blocks, unless one window covers the map."""
        return self.window // 2 if block % 2 == 1 and self.window < self.side else 0

    def order(self, block: int) -> Order:
        """The order of the tokens in a block's windows."""
        return window_order(self.side, self.window, self.shift(block))


def stages(spec: ModelSpec) -> list[Stage]:
    """The stages of a model, from the first to the last."""
    architecture = architecture_of(spec)
    found = []
    for number, depth in enumerate(architecture.depths):
        side = architecture.side(spec.image_size, number)
        window = min(architecture.window_size, side)
        trained = architecture.pretrained_window_sizes[number] or window
        heads, dim = architecture.num_heads[number], architecture.embed_dim * 2**number
        found.append(Stage(number, depth, side, dim, heads, window, trained))
    return found


def architecture_of(spec: ModelSpec) -> SwinV2Architecture:
    """The architecture of a model of this family; raises TypeError for any other."""
    if not isinstance(spec.architecture, SwinV2Architecture):
        raise TypeError(f"expected a Swin Transformer V2, got {type(spec.architecture).__name__}")
    return spec.architecture


# Window order


def window_order(side: int, window: int, shift: int) -> Order:
    """Row-major map position of every token in window order: int64 [side^2], windows and their tokens row-major."""
    count = side // window
    places = np.roll(np.arange(side * side).reshape(side, side), (-shift, -shift), (0, 1))
    order: Order = places.reshape(count, window, count, window).transpose(0, 2, 1, 3).reshape(-1)
    return order


def reorder_index(current: Order, wanted: Order) -> Order:
    """The index that reorders a sequence from `current` to `wanted`: sequence[:, index] is in the order `wanted`."""
    index: Order = np.argsort(current)[wanted]
    return index


def merging_index(side: int, current: Order, following: Order) -> Order:
    """The index of patch merging: int64 [side^2], four tokens of the sequence for each token of the halved map.

    The sequence is in the order `current`, the halved map in the order `following`; the four tokens are at the top
    left, bottom left, top right, bottom right.
    """
    row, column = np.divmod(following, side // 2)
    corners = [(2 * row + down) * side + 2 * column + right for right, down in ((0, 0), (0, 1), (1, 0), (1, 1))]
    index: Order = np.argsort(current)[np.stack(corners, axis=1)].reshape(-1)
    return index


# Constants of the exported graph


def constants(spec: ModelSpec, state: State) -> Constants:
    """The constants of the exported graph of `spec`, computed from a checkpoint's parameters.

    Weights keep their names; computed constants are named after their layer: `attn.qkv.bias`, `attn.qk_scale`,
    `attn.position_bias`, `attn.position_index`, `attn.shift_mask` with `attn.shift_mask_kind` if windows share masks,
    `window_order` if a block's windows differ from those of the block before, `merging_order`.

    Tables are computed in float64 and rounded once, to float32; indices are int32. Raises KeyError for a parameter
    missing in `state`.
    """
    found = {**parameters(state, "patch_embed.proj"), **parameters(state, "patch_embed.norm")}
    every = stages(spec)
    order: Order = np.arange(every[0].side ** 2)
    for stage in every:
        for block in range(stage.depth):
            name, wanted = f"layers.{stage.number}.blocks.{block}", stage.order(block)
            if not np.array_equal(order, wanted):
                found[f"{name}.window_order"] = reorder_index(order, wanted).astype(np.int32)
            found |= _block(name, stage, stage.shift(block), state)
            order = wanted
        if stage.number + 1 < len(every):
            name, wanted = f"layers.{stage.number}.downsample", every[stage.number + 1].order(0)
            found[f"{name}.merging_order"] = merging_index(stage.side, order, wanted).astype(np.int32)
            found |= parameters(state, f"{name}.reduction", "weight") | parameters(state, f"{name}.norm")
            order = wanted
    return found | parameters(state, "norm") | parameters(state, "head")


def _block(name: str, stage: Stage, shift: int, state: State) -> Constants:
    attn = f"{name}.attn"
    query, value = state[f"{attn}.q_bias"], state[f"{attn}.v_bias"]
    scale = np.exp(np.minimum(state[f"{attn}.logit_scale"].astype(np.float64), MAX_LOGIT_SCALE))
    found = {
        **parameters(state, f"{attn}.qkv", "weight"),
        # Keys have no bias, as it would cancel in the softmax.
        f"{attn}.qkv.bias": np.concatenate([query, np.zeros_like(query), value]),
        f"{attn}.qk_scale": np.concatenate([scale, np.ones_like(scale)]).astype(np.float32),
        f"{attn}.position_bias": position_bias(stage, attn, state),
        f"{attn}.position_index": position_index(stage.window),
    }
    if shift:
        patterns, kinds = shift_masks(stage.side, stage.window, shift)
        if len(patterns) < stage.windows:
            found[f"{attn}.shift_mask"], found[f"{attn}.shift_mask_kind"] = patterns, kinds
        else:
            found[f"{attn}.shift_mask"] = patterns[kinds]
    for layer in (f"{attn}.proj", f"{name}.norm1", f"{name}.norm2", f"{name}.mlp.fc1", f"{name}.mlp.fc2"):
        found |= parameters(state, layer)
    return found


def log_offsets(window: int, trained_window: int) -> npt.NDArray[np.float32]:
    """The offsets that the position bias is a function of: float32 [(2 * window - 1)^2, 2], (dy, dx) row-major.

    An offset d is divided by the largest one of training, so that larger windows extrapolate, and becomes
    sign(d) * log2(1 + 8 |d|) / log2(8) (section 3.3, equation 4, and the paper's code). Rounded to float32 as the
    original's buffer is.
    """
    offsets = np.arange(1 - window, window, dtype=np.float64) / max(trained_window - 1, 1) * 8.0
    spaced = np.sign(offsets) * np.log2(np.abs(offsets) + 1.0) / np.log2(8.0)
    pairs = np.stack(np.meshgrid(spaced, spaced, indexing="ij"), axis=-1)
    table: npt.NDArray[np.float32] = pairs.reshape(-1, 2).astype(np.float32)
    return table


def position_bias(stage: Stage, attn: str, state: State) -> npt.NDArray[np.float32]:
    """Score offsets by head and offset of two tokens: float32 [heads, (2 * window - 1)^2], in (0, 16).

    16 * sigmoid(MLP(offsets)), an MLP of one hidden layer with ReLU (section 3.3).
    """
    first, bias, second = (
        state[f"{attn}.cpb_mlp.{part}"].astype(np.float64) for part in ("0.weight", "0.bias", "2.weight")
    )
    offsets = log_offsets(stage.window, stage.trained_window).astype(np.float64)
    values = np.maximum(offsets @ first + bias, 0) @ second
    table: npt.NDArray[np.float32] = (BIAS_RANGE / (1 + np.exp(-values.T))).astype(np.float32)
    return table


def position_index(window: int) -> npt.NDArray[np.int32]:
    """Index of the offset between two tokens of a window: int32 [window^4], query-major, tokens row-major."""
    row, column = np.divmod(np.arange(window * window), window)
    down, right = (axis[:, None] - axis[None, :] + window - 1 for axis in (row, column))
    index: npt.NDArray[np.int32] = (down * (2 * window - 1) + right).reshape(-1).astype(np.int32)
    return index


def shift_masks(side: int, window: int, shift: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Distinct attention masks of shifted windows (arXiv:2103.14030, section 3.2, figure 4).

    Returns the masks, float32 [kinds, 1, window^2, window^2], 0 where both tokens come from one region of the unshifted
    map and -100 elsewhere, and which of them each window has, int32 [windows]. The singleton axis is for the heads.
    """
    # Regions along an axis: windows that the shift leaves whole, then the two parts of the last window.
    band = np.searchsorted([side - window, side - shift], np.arange(side), side="right")
    regions = (band[:, None] * 3 + band[None, :]).reshape(-1)[window_order(side, window, 0)].reshape(-1, window**2)
    differ = regions[:, :, None] != regions[:, None, :]
    masks = np.where(differ, MASKED, 0.0).astype(np.float32)[:, None]
    patterns, kinds = np.unique(masks, axis=0, return_inverse=True)
    return patterns, kinds.reshape(-1).astype(np.int32)
