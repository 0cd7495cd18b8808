"""Pyramid Vision Transformer v2 (Wang et al., arXiv:2106.13797) in float64.

Details that the paper omits follow its code: the epsilons of the norms, and the ReLU of the linear variant's MLP.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ...families.pvt_v2.architecture import PvtV2Architecture
from .erf import Float64, gelu
from .layers import Place, Scores, convolution, layer, layer_norm, linear, map_of, softmax, tokens_of
from .parameters import NamedShape, Shape, norms_of
from .parameters import weight_and_bias as both

# Norms of blocks and stages; norms of patch embeddings and of reduced keys and values.
BLOCK_EPSILON, EMBED_EPSILON = 1e-6, 1e-5
# Section 3.2: side in tokens of the map to which linear attention pools keys and values.
POOLED = 7
# Section 3.1 and the paper's code: kernel and stride of the first patch embedding and of the others.
FIRST_EMBED, LATER_EMBED = (7, 4), (3, 2)


class PvtV2:
    """The model of an architecture for square images with a side of `image_size` pixels.

    `shapes`: of all parameters by their checkpoint names, linear weights [in, out]. `epsilons`: of all norms.
    """

    def __init__(self, architecture: PvtV2Architecture, image_size: int, num_classes: int) -> None:
        self.architecture = architecture
        self.side = image_size // FIRST_EMBED[1]
        self.shapes: dict[str, Shape] = dict(_shapes(architecture, num_classes))
        self.epsilons = {name: _epsilon(name) for name in norms_of(self.shapes)}

    def features(self, at: Place, image: Float64) -> Float64:
        """Image [1, 3, S, S] (RGB, normalised) -> pooled features [1, channels]."""
        grid = image
        for stage, depth in enumerate(self.architecture.depths):
            # Names count stages from 1.
            number, side = stage + 1, self.side // 2**stage
            tokens = _patch_embed(at[f"patch_embed{number}"], grid, *(LATER_EMBED if stage else FIRST_EMBED))
            for index in range(depth):
                tokens = _block(at[f"block{number}"][str(index)], tokens, self.architecture, stage, side)
            tokens = layer_norm(at[f"norm{number}"], tokens)
            grid = map_of(tokens, side)
        pooled: Float64 = tokens.mean(axis=1)
        return pooled


@layer
def _patch_embed(at: Place, grid: Float64, kernel: int, stride: int) -> Float64:
    """Map [1, channels, H, H] -> tokens of a map with a side of H / stride; patches overlap (section 3.1)."""
    return layer_norm(at["norm"], tokens_of(convolution(at["proj"], grid, stride, kernel // 2)))


@layer
def _block(at: Place, tokens: Float64, architecture: PvtV2Architecture, stage: int, side: int) -> Float64:
    """Tokens [1, side^2, channels] -> the same shape; the norms precede attention and MLP."""
    heads, ratio, linear_variant = architecture.num_heads[stage], architecture.sr_ratios[stage], architecture.linear
    tokens = tokens + _attention(at["attn"], layer_norm(at["norm1"], tokens), side, heads, ratio, linear_variant)
    return tokens + _mlp(at["mlp"], layer_norm(at["norm2"], tokens), side, linear_variant)


@layer
def _attention(at: Place, tokens: Float64, side: int, heads: int, ratio: int, linear_variant: bool) -> Float64:
    """Attention of all tokens to those of a smaller map (section 3.2): tokens [1, side^2, channels] -> the same."""
    count, channels = tokens.shape[1:]
    width = channels // heads
    source = tokens
    if linear_variant:
        pooled = convolution(at["sr"], _pool(at["pool"], map_of(tokens, side)), 1, 0)
        source = gelu(layer_norm(at["norm"], tokens_of(pooled)))
    elif ratio > 1:
        source = layer_norm(at["norm"], tokens_of(convolution(at["sr"], map_of(tokens, side), ratio, 0)))
    query = linear(at["q"], tokens).reshape(count, heads, width)
    key, value = linear(at["kv"], source).reshape(-1, 2, heads, width).transpose(1, 0, 2, 3)
    mixed = np.empty((count, heads, width))
    room = Scores(count, len(key))
    for head in range(heads):
        for some in room.parts():
            scores = room.products(query[some, head], key[:, head])
            scores /= math.sqrt(width)
            mixed[some, head] = softmax(scores) @ value[:, head]
    return linear(at["proj"], mixed.reshape(tokens.shape))


@layer
def _pool(_at: Place, grid: Float64) -> Float64:
    """Map [1, channels, side, side] -> [1, channels, 7, 7]: the mean of each part (section 3.2).

    If 7 does not divide the side, the parts overlap: part i is from floor(i side / 7) to ceil((i + 1) side / 7).
    """
    side = grid.shape[-1]
    parts = [slice(i * side // POOLED, -(-(i + 1) * side // POOLED)) for i in range(POOLED)]
    means = [grid[:, :, rows, columns].mean(axis=(2, 3)) for rows in parts for columns in parts]
    return np.stack(means, axis=-1).reshape(*grid.shape[:2], POOLED, POOLED)


@layer
def _mlp(at: Place, tokens: Float64, side: int, linear_variant: bool) -> Float64:
    """Linear, depthwise convolution, GELU, linear (section 3.3); the linear variant has a ReLU after the first."""
    hidden = linear(at["fc1"], tokens)
    if linear_variant:
        hidden = np.maximum(hidden, 0.0)
    return linear(at["fc2"], gelu(_among_neighbours(at["dwconv"], hidden, side)))


@layer
def _among_neighbours(at: Place, tokens: Float64, side: int) -> Float64:
    """Tokens [1, side^2, channels] -> the same shape, through a convolution over their map."""
    return tokens_of(_depthwise_convolution(at["dwconv"], map_of(tokens, side)))


@layer
def _depthwise_convolution(at: Place, grid: Float64) -> Float64:
    """Map [1, channels, H, W] -> the same shape: 3 x 3, each channel separately, with zero padding."""
    kernel = at.parameter("weight")
    height, width = grid.shape[2:]
    # Channels last, as in the memory layout of the tokens.
    padded = np.pad(grid[0].transpose(1, 2, 0), ((1, 1), (1, 1), (0, 0)))
    result = np.empty((height, width, len(kernel)))
    result[:] = at.parameter("bias")
    for y in range(3):
        for x in range(3):
            result += padded[y : y + height, x : x + width] * kernel[:, 0, y, x]
    return result.transpose(2, 0, 1)[None]


def _epsilon(name: str) -> float:
    return EMBED_EPSILON if name.startswith("patch_embed") or name.endswith(".attn.norm") else BLOCK_EPSILON


def _shapes(architecture: PvtV2Architecture, num_classes: int) -> Iterator[NamedShape]:
    """Every parameter's name and shape."""
    channels = 3
    for stage, (dim, depth) in enumerate(zip(architecture.embed_dims, architecture.depths, strict=True)):
        kernel, _ = LATER_EMBED if stage else FIRST_EMBED
        yield from both(f"patch_embed{stage + 1}.proj", (dim, channels, kernel, kernel), dim)
        yield from both(f"patch_embed{stage + 1}.norm", (dim,), dim)
        for index in range(depth):
            yield from _block_shapes(f"block{stage + 1}.{index}", dim, architecture, stage)
        yield from both(f"norm{stage + 1}", (dim,), dim)
        channels = dim
    yield from both("head", (channels, num_classes), num_classes)


def _block_shapes(name: str, dim: int, architecture: PvtV2Architecture, stage: int) -> Iterator[NamedShape]:
    hidden, ratio = int(dim * architecture.mlp_ratios[stage]), architecture.sr_ratios[stage]
    yield from both(f"{name}.norm1", (dim,), dim)
    yield from both(f"{name}.attn.q", (dim, dim), dim)
    yield from both(f"{name}.attn.kv", (dim, 2 * dim), 2 * dim)
    yield from both(f"{name}.attn.proj", (dim, dim), dim)
    if architecture.linear or ratio > 1:
        kernel = 1 if architecture.linear else ratio
        yield from both(f"{name}.attn.sr", (dim, dim, kernel, kernel), dim)
        yield from both(f"{name}.attn.norm", (dim,), dim)
    yield from both(f"{name}.norm2", (dim,), dim)
    yield from both(f"{name}.mlp.fc1", (dim, hidden), hidden)
    yield from both(f"{name}.mlp.dwconv.dwconv", (hidden, 1, 3, 3), hidden)
    yield from both(f"{name}.mlp.fc2", (hidden, dim), dim)
