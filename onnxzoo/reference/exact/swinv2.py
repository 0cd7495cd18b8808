"""Swin Transformer V2 (Liu et al., arXiv:2111.09883; windows: arXiv:2103.14030) in float64.

Details that the papers omit follow their code: the factor 16 on the position bias, 8 and log2 in the offsets, the
order of channels in patch merging, LayerNorm's epsilon.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ...families.swinv2.architecture import SwinV2Architecture
from .erf import Float64, gelu
from .layers import Place, Scores, convolution, layer, layer_norm, linear, softmax, tokens_of
from .parameters import NamedShape, Shape, norms_of
from .parameters import weight_and_bias as both

Int64 = npt.NDArray[np.int64]
Number = TypeVar("Number", np.float64, np.int64)

EPSILON = 1e-5
# Section 3.2: tau is at least 0.01; logit_scale is ln(1 / tau).
LARGEST_LOGIT_SCALE = math.log(1 / 0.01)
# F.normalize's minimum for the length of a vector, by which the cosine of a zero vector is zero.
SHORTEST = 1e-12
# Section 3.3: hidden units of the small network that computes the position bias, and the factor on its sigmoid.
BIAS_HIDDEN, BIAS_RANGE = 512, 16.0
# arXiv:2103.14030, section 3.2: added to the score of two tokens that are not neighbours in the image.
MASKED = -100.0
# The tokens (y, x) of a square in the order in which patch merging joins their channels.
CORNERS = ((0, 0), (1, 0), (0, 1), (1, 1))


class SwinV2:
    """The model of an architecture for square images with a side of `image_size` pixels.

    `shapes`: of all parameters by their checkpoint names, linear weights [in, out]. `epsilons`: of all norms.
    """

    def __init__(self, architecture: SwinV2Architecture, image_size: int, num_classes: int) -> None:
        self.architecture = architecture
        self.side = image_size // architecture.patch_size
        self.shapes: dict[str, Shape] = dict(_shapes(architecture, num_classes))
        self.epsilons = dict.fromkeys(norms_of(self.shapes), EPSILON)

    def features(self, at: Place, image: Float64) -> Float64:
        """Image [1, 3, S, S] (RGB, normalised) -> pooled features [1, channels]."""
        tokens = _patch_embed(at["patch_embed"], image, self.architecture.patch_size)
        for stage in range(len(self.architecture.depths)):
            tokens = _stage(at["layers"][str(stage)], tokens, self.architecture, stage, self.side // 2**stage)
        pooled: Float64 = layer_norm(at["norm"], tokens).mean(axis=1)
        return pooled


def relative_coordinates(window: int, pretrained_window: int) -> Float64:
    """Log-spaced relative coordinates (equation 4): [2w - 1, 2w - 1, 2], (dy, dx) of the offset from -(w - 1) up.

    Offsets are divided by the largest offset of the window in pre-training (section 3.3) and multiplied by 8;
    then sign(x) log2(1 + |x|) / log2(8).
    """
    unit = (pretrained_window or window) - 1
    offsets = np.arange(1.0 - window, window) * 8.0 / max(unit, 1)
    spaced = np.copysign(np.log2(1.0 + np.abs(offsets)) / np.log2(8.0), offsets)
    table = np.empty((len(spaced), len(spaced), 2))
    table[:, :, 0] = spaced[:, None]
    table[:, :, 1] = spaced[None, :]
    return table


def relative_positions(window: int) -> tuple[Int64, Int64]:
    """(dy, dx) from every token of a window to every other: int64 [w^2, w^2] each, query by key, from 0 up.

    Offsets are those of the query minus those of the key, plus w - 1: indices into `relative_coordinates`.
    """
    y, x = np.divmod(np.arange(window * window), window)
    return np.subtract.outer(y, y) + window - 1, np.subtract.outer(x, x) + window - 1


def shift_of(index: int, side: int, window: int) -> int:
    """The number of tokens by which block `index` of a stage shifts its windows: half a window in every second block.

    A single window over the whole map is not shifted.
    """
    return window // 2 if index % 2 == 1 and window < side else 0


def regions(side: int, shift: int) -> Int64:
    """The region of each token of a shifted map in the image (arXiv:2103.14030, figure 4): int64 [side, side].

    The cyclic shift moves the first `shift` rows and columns to the end, into windows with others, where they form a
    separate region. Tokens attend only to those of their own region.
    """
    rolled = np.zeros(side, np.int64)
    rolled[side - shift :] = 1
    # Windows separate all other tokens, so two bands in each direction are sufficient.
    return rolled[:, None] * 2 + rolled[None, :]


def partition(grid: npt.NDArray[Number], window: int) -> npt.NDArray[Number]:
    """Map [side, side, ...] -> windows [count, w^2, ...], both windows and tokens row-major."""
    side = len(grid)
    corners = range(0, side, window)
    cut = [grid[y : y + window, x : x + window] for y in corners for x in corners]
    return np.stack(cut).reshape(len(cut), window * window, *grid.shape[2:])


def reverse(windows: Float64, side: int, window: int) -> Float64:
    """Windows [count, w^2, channels] -> map [side, side, channels]: the inverse of `partition`."""
    grid = np.empty((side, side, windows.shape[-1]))
    corners = ((y, x) for y in range(0, side, window) for x in range(0, side, window))
    for square, (y, x) in zip(windows, corners, strict=True):
        grid[y : y + window, x : x + window] = square.reshape(window, window, -1)
    return grid


@layer
def _patch_embed(at: Place, image: Float64, patch_size: int) -> Float64:
    """Image [1, 3, S, S] -> tokens [1, (S / patch)^2, channels]."""
    return layer_norm(at["norm"], tokens_of(convolution(at["proj"], image, patch_size, 0)))


@layer
def _stage(at: Place, tokens: Float64, architecture: SwinV2Architecture, stage: int, side: int) -> Float64:
    """Blocks, with shifted windows in every second one, then patch merging except in the last stage."""
    window = min(architecture.window_size, side)
    for index in range(architecture.depths[stage]):
        shift = shift_of(index, side, window)
        heads, pretrained = architecture.num_heads[stage], architecture.pretrained_window_sizes[stage]
        tokens = _block(at["blocks"][str(index)], tokens, side, window, shift, heads, pretrained)
    last = stage == len(architecture.depths) - 1
    return tokens if last else _patch_merging(at["downsample"], tokens, side)


@layer
def _block(
    at: Place, tokens: Float64, side: int, window: int, shift: int, heads: int, pretrained_window: int
) -> Float64:
    """Tokens -> tokens; the norms follow attention and MLP (res-post-norm, section 3.2, figure 1)."""
    grid = np.roll(tokens.reshape(side, side, -1), (-shift, -shift), axis=(0, 1))
    together = partition(regions(side, shift), window) if shift else None
    attended = _attention(at["attn"], partition(grid, window), heads, window, pretrained_window, together)
    grid = np.roll(reverse(attended, side, window), (shift, shift), axis=(0, 1))
    tokens = tokens + layer_norm(at["norm1"], grid.reshape(tokens.shape))
    return tokens + layer_norm(at["norm2"], _mlp(at["mlp"], tokens))


@layer
def _attention(
    at: Place, windows: Float64, heads: int, window: int, pretrained_window: int, together: Int64 | None
) -> Float64:
    """Scaled cosine attention inside each window (section 3.2): windows [count, w^2, channels] -> the same shape.

    `together`: region of every token [count, w^2] if the windows are shifted, else None.
    """
    count, tokens, channels = windows.shape
    bias = np.concatenate([at.parameter("q_bias"), np.zeros(channels), at.parameter("v_bias")])
    qkv = windows.reshape(-1, channels) @ at["qkv"].parameter("weight") + bias
    query, key, value = qkv.reshape(count, tokens, 3, heads, channels // heads).transpose(2, 3, 0, 1, 4)
    query, key = _unit(query), _unit(key)
    scale = np.exp(np.minimum(at.parameter("logit_scale"), LARGEST_LOGIT_SCALE))
    position_bias = _position_bias(at["cpb_mlp"], window, pretrained_window)
    dy, dx = relative_positions(window)
    mixed = np.empty((count, tokens, heads, channels // heads))
    room = Scores(count, tokens, tokens)
    for some in room.parts():
        mask = None if together is None else MASKED * (together[some, :, None] != together[some, None, :])
        for head in range(heads):
            scores = room.products(query[head, some], key[head, some])
            scores *= scale[head]
            scores += position_bias[dy, dx, head]
            if mask is not None:
                scores += mask
            mixed[some, :, head] = softmax(scores) @ value[head, some]
    return linear(at["proj"], mixed.reshape(windows.shape))


def _unit(vectors: Float64) -> Float64:
    """The vectors along the last axis, scaled to length 1."""
    lengths = np.sqrt(np.square(vectors).sum(axis=-1, keepdims=True))
    result: Float64 = vectors / np.maximum(lengths, SHORTEST)
    return result


def _position_bias(at: Place, window: int, pretrained_window: int) -> Float64:
    """The position bias of the scores by offset and head: [2w - 1, 2w - 1, heads], from 0 to 16 (section 3.3)."""
    coordinates = relative_coordinates(window, pretrained_window)
    hidden = np.maximum(coordinates @ at["0"].parameter("weight") + at["0"].parameter("bias"), 0.0)
    result: Float64 = BIAS_RANGE / (1.0 + np.exp(-(hidden @ at["2"].parameter("weight"))))
    return result


@layer
def _mlp(at: Place, tokens: Float64) -> Float64:
    """Two linear layers with GELU between them."""
    return linear(at["fc2"], gelu(linear(at["fc1"], tokens)))


@layer
def _patch_merging(at: Place, tokens: Float64, side: int) -> Float64:
    """Tokens [1, side^2, channels] -> [1, side^2 / 4, 2 * channels]; the norm follows the reduction."""
    grid = tokens.reshape(1, side, side, -1)
    merged = np.concatenate([grid[:, y::2, x::2] for y, x in CORNERS], axis=-1).reshape(1, side * side // 4, -1)
    return layer_norm(at["norm"], linear(at["reduction"], merged))


def _shapes(architecture: SwinV2Architecture, num_classes: int) -> Iterator[NamedShape]:
    """Every parameter's name and shape."""
    dim, patch = architecture.embed_dim, architecture.patch_size
    yield from both("patch_embed.proj", (dim, 3, patch, patch), dim)
    yield from both("patch_embed.norm", (dim,), dim)
    for stage, (depth, heads) in enumerate(zip(architecture.depths, architecture.num_heads, strict=True)):
        for index in range(depth):
            yield from _block_shapes(f"layers.{stage}.blocks.{index}", dim, heads, int(dim * architecture.mlp_ratio))
        if stage < len(architecture.depths) - 1:
            yield f"layers.{stage}.downsample.reduction.weight", (4 * dim, 2 * dim)
            dim *= 2
            yield from both(f"layers.{stage}.downsample.norm", (dim,), dim)
    yield from both("norm", (dim,), dim)
    yield from both("head", (dim, num_classes), num_classes)


def _block_shapes(name: str, dim: int, heads: int, hidden: int) -> Iterator[NamedShape]:
    yield f"{name}.attn.logit_scale", (heads, 1, 1)
    yield f"{name}.attn.q_bias", (dim,)
    yield f"{name}.attn.v_bias", (dim,)
    yield from both(f"{name}.attn.cpb_mlp.0", (2, BIAS_HIDDEN), BIAS_HIDDEN)
    yield f"{name}.attn.cpb_mlp.2.weight", (BIAS_HIDDEN, heads)
    yield f"{name}.attn.qkv.weight", (dim, 3 * dim)
    yield from both(f"{name}.attn.proj", (dim, dim), dim)
    yield from both(f"{name}.norm1", (dim,), dim)
    yield from both(f"{name}.mlp.fc1", (dim, hidden), hidden)
    yield from both(f"{name}.mlp.fc2", (hidden, dim), dim)
    yield from both(f"{name}.norm2", (dim,), dim)
