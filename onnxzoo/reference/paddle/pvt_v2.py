"""Pyramid Vision Transformer v2 in its textbook form (Wang et al., arXiv:2106.13797).

Parameter names and layouts are those of the PaddleClas checkpoints. Two epsilons are used, as in the
paper's code: 1e-6 for the norms of blocks and stages, 1e-5 for those of patch embedding and spatial reduction.
"""

from __future__ import annotations

import math
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ...families.pvt_v2.architecture import PvtV2Architecture
from .layers import DropPath, drop_path_rates, linear, zeros

BLOCK_EPSILON = 1e-6
EMBED_EPSILON = 1e-5
# Side of the map to which linear attention pools keys and values (section 3.2).
POOLED_SIDE = 7


def convolution(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: int = 0, groups: int = 1
) -> Any:
    """A Conv2D: weight [out, in/groups, k, k] of normal(0, sqrt(2 / fan_out)), zero bias, as in the paper's code."""
    fan_out = kernel * kernel * out_channels // groups
    weight = paddle.ParamAttr(initializer=nn.initializer.Normal(0.0, math.sqrt(2.0 / fan_out)))
    return nn.Conv2D(
        in_channels, out_channels, kernel, stride, padding, groups=groups, weight_attr=weight, bias_attr=zeros()
    )


class OverlapPatchEmbed(nn.Layer):
    """Map -> tokens of a smaller map by a strided convolution whose windows overlap (section 3.1), then LayerNorm."""

    def __init__(self, in_channels: int, dim: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        self.proj = convolution(in_channels, dim, kernel, stride=stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(dim, epsilon=EMBED_EPSILON)

    def forward(self, image: Any) -> Any:
        """Map [N, channels, side, side] -> tokens [N, (side / stride)^2, dim], row-major."""
        return self.norm(self.proj(image).flatten(2).transpose([0, 2, 1]))


class Attention(nn.Layer):
    """Attention with keys and values from a smaller map (section 3.2).

    The linear variant makes it by average pooling to 7 x 7, a 1 x 1 convolution, norm and GELU. Otherwise, with
    `sr_ratio` above 1, it is made by a convolution of that size and stride, and norm; else it is the tokens themselves.
    """

    def __init__(
        self, dim: int, heads: int, side: int, sr_ratio: int, drop: float, attn_drop: float, *, linear_variant: bool
    ) -> None:
        super().__init__()
        self.dim, self.heads, self.side = dim, heads, side
        self.linear_variant = linear_variant
        self.reduced = linear_variant or sr_ratio > 1
        self.scale = (dim // heads) ** -0.5
        self.q = linear(dim, dim)
        self.kv = linear(dim, 2 * dim)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = linear(dim, dim)
        self.proj_drop = nn.Dropout(drop)
        if linear_variant:
            self.pool = nn.AdaptiveAvgPool2D(POOLED_SIDE)
            self.sr = convolution(dim, dim, 1)
        elif self.reduced:
            self.sr = convolution(dim, dim, sr_ratio, stride=sr_ratio)
        if self.reduced:
            self.norm = nn.LayerNorm(dim, epsilon=EMBED_EPSILON)

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> the same shape."""
        head_dim = self.dim // self.heads
        query = self.q(tokens).reshape([-1, self.side * self.side, self.heads, head_dim]).transpose([0, 2, 1, 3])
        source = self.reduce(tokens) if self.reduced else tokens
        # The 0 keeps the batch size, so that -1 is the reduced number of tokens.
        kv = self.kv(source).reshape([0, -1, 2, self.heads, head_dim]).transpose([2, 0, 3, 1, 4])
        key, value = kv[0], kv[1]
        scores = paddle.matmul(query, key, transpose_y=True) * self.scale
        weights = self.attn_drop(F.softmax(scores, axis=-1))
        mixed = paddle.matmul(weights, value).transpose([0, 2, 1, 3]).reshape([-1, self.side * self.side, self.dim])
        return self.proj_drop(self.proj(mixed))

    def reduce(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> tokens of the smaller map [N, fewer, dim]."""
        grid = tokens.transpose([0, 2, 1]).reshape([-1, self.dim, self.side, self.side])
        if self.linear_variant:
            grid = self.pool(grid)
        reduced = self.norm(self.sr(grid).flatten(2).transpose([0, 2, 1]))
        return F.gelu(reduced) if self.linear_variant else reduced


class DepthwiseConv(nn.Layer):
    """3 x 3 depthwise convolution with zero padding over tokens laid out as a map (section 3.3)."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.dim, self.side = dim, side
        self.dwconv = convolution(dim, dim, 3, padding=1, groups=dim)

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> the same shape."""
        grid = tokens.transpose([0, 2, 1]).reshape([-1, self.dim, self.side, self.side])
        return self.dwconv(grid).flatten(2).transpose([0, 2, 1])


class Mlp(nn.Layer):
    """Linear, depthwise convolution, GELU, linear (section 3.3); the linear variant has a ReLU after the first."""

    def __init__(self, dim: int, hidden: int, side: int, drop: float, *, linear_variant: bool) -> None:
        super().__init__()
        self.linear_variant = linear_variant
        self.fc1 = linear(dim, hidden)
        self.dwconv = DepthwiseConv(hidden, side)
        self.fc2 = linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> the same shape."""
        hidden = self.fc1(tokens)
        if self.linear_variant:
            hidden = F.relu(hidden)
        return self.drop(self.fc2(self.drop(F.gelu(self.dwconv(hidden)))))


class PvtBlock(nn.Layer):
    """Attention and MLP on residual branches, each preceded by a norm."""

    def __init__(
        self, architecture: PvtV2Architecture, stage: int, side: int, drop: float, attn_drop: float, drop_path: float
    ) -> None:
        super().__init__()
        dim, heads = architecture.embed_dims[stage], architecture.num_heads[stage]
        sr_ratio, variant = architecture.sr_ratios[stage], architecture.linear
        self.norm1 = nn.LayerNorm(dim, epsilon=BLOCK_EPSILON)
        self.attn = Attention(dim, heads, side, sr_ratio, drop, attn_drop, linear_variant=variant)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, epsilon=BLOCK_EPSILON)
        self.mlp = Mlp(dim, int(dim * architecture.mlp_ratios[stage]), side, drop, linear_variant=variant)

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> the same shape."""
        tokens = tokens + self.drop_path(self.attn(self.norm1(tokens)))
        return tokens + self.drop_path(self.mlp(self.norm2(tokens)))


class PyramidVisionTransformerV2(nn.Layer):
    """The classifier.

    `drop_rate`: dropout of projections and MLPs. `attn_drop_rate`: dropout of attention weights.
    `drop_path_rate`: stochastic depth of the last block (None: the architecture's own).
    """

    def __init__(
        self,
        architecture: PvtV2Architecture,
        image_size: int,
        num_classes: int,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float | None = None,
    ) -> None:
        super().__init__()
        rate = architecture.drop_path_rate if drop_path_rate is None else drop_path_rate
        rates_of_stages = drop_path_rates(rate, architecture.depths)
        self.dims = architecture.embed_dims
        self.sides = tuple(image_size // (4 * 2**stage) for stage in range(len(self.dims)))
        for stage, (dim, side, rates) in enumerate(zip(self.dims, self.sides, rates_of_stages, strict=True)):
            # Checkpoints number stages from 1 and have them as separate attributes, not in a list.
            embed = (
                OverlapPatchEmbed(3, dim, kernel=7, stride=4)
                if stage == 0
                else OverlapPatchEmbed(self.dims[stage - 1], dim, kernel=3, stride=2)
            )
            blocks = nn.LayerList(
                PvtBlock(architecture, stage, side, drop_rate, attn_drop_rate, block_rate) for block_rate in rates
            )
            setattr(self, f"patch_embed{stage + 1}", embed)
            setattr(self, f"block{stage + 1}", blocks)
            setattr(self, f"norm{stage + 1}", nn.LayerNorm(dim, epsilon=BLOCK_EPSILON))
        self.head = linear(self.dims[-1], num_classes)

    def forward_features(self, image: Any) -> Any:
        """Image float32 [N, 3, S, S] (RGB, normalised) -> pooled features float32 [N, features]."""
        tokens = self.stage(1, image)
        for number in range(2, len(self.dims) + 1):
            dim, side = self.dims[number - 2], self.sides[number - 2]
            tokens = self.stage(number, tokens.transpose([0, 2, 1]).reshape([-1, dim, side, side]))
        return tokens.mean(axis=1)

    def stage(self, number: int, grid: Any) -> Any:
        """Stage `number`, from 1: map [N, channels, side, side] -> normalised tokens of its own, smaller map."""
        tokens = getattr(self, f"patch_embed{number}")(grid)
        for block in getattr(self, f"block{number}"):
            tokens = block(tokens)
        return getattr(self, f"norm{number}")(tokens)

    def forward(self, image: Any) -> Any:
        """Image float32 [N, 3, S, S] (RGB, normalised) -> logits float32 [N, classes]."""
        return self.head(self.forward_features(image))
