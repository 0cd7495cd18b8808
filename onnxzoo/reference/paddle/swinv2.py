"""Swin Transformer V2 in its textbook form (Liu et al., arXiv:2111.09883; windows: arXiv:2103.14030).

Parameter names and layouts are those of the PaddleClas checkpoints. Buffers are computed here and are
not part of the state; those in a checkpoint are never used.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
import paddle.nn.functional as F
from paddle import nn

from ...families.swinv2.architecture import SwinV2Architecture
from .layers import DropPath, drop_path_rates, linear, zeros

# Section 3.2: tau is kept above 0.01, so its reciprocal, the scale of the cosines, is at most 100.
MAX_LOGIT_SCALE = math.log(100.0)
# Width of the meta network of section 3.3, and the factor on its sigmoid (the paper's code).
CPB_HIDDEN, CPB_FACTOR = 512, 16.0
# Added to the score of two tokens that are in one window only because of the cyclic shift (arXiv:2103.14030, 3.2).
MASKED = -100.0


def relative_coords_table(window: int, pretrained_window: int) -> npt.NDArray[np.float32]:
    """Log-spaced offsets between two tokens of a window (section 3.3, equation 4).

    Returns float32 [(2*window-1)^2, 2], rows in the order of (dy, dx), each offset from -(window-1) up.
    Offsets are divided by the largest offset of pre-training, so that a larger window extrapolates; then
    sign(x) * log2(1 + |8x|) / log2(8), as in the paper's code.
    """
    largest = max((pretrained_window if pretrained_window > 0 else window) - 1, 1)
    offsets = np.arange(-(window - 1), window, dtype=np.float64)
    grid = np.stack(np.meshgrid(offsets, offsets, indexing="ij"), axis=-1).reshape(-1, 2) / largest * 8.0
    table: npt.NDArray[np.float32] = (np.sign(grid) * np.log2(np.abs(grid) + 1.0) / np.log2(8.0)).astype(np.float32)
    return table


def relative_position_index(window: int) -> npt.NDArray[np.int64]:
    """Row of `relative_coords_table` for every pair of tokens: int64 [window^4], query-major, tokens row-major."""
    y, x = (axis.reshape(-1) for axis in np.meshgrid(np.arange(window), np.arange(window), indexing="ij"))
    dy, dx = (axis[:, None] - axis[None, :] + window - 1 for axis in (y, x))
    index: npt.NDArray[np.int64] = (dy * (2 * window - 1) + dx).reshape(-1).astype(np.int64)
    return index


def shift_mask(side: int, window: int, shift: int) -> npt.NDArray[np.float32]:
    """Score offsets of shifted windows (arXiv:2103.14030, section 3.2, figure 4).

    Returns float32 [windows, 1, window^2, window^2]: 0 where both tokens come from one region of the
    unshifted map, -100 elsewhere. The singleton axis is for the heads.
    """
    band = np.zeros(side, dtype=np.int64)
    band[side - window :] = 1
    band[side - shift :] = 2
    region = band[:, None] * 3 + band[None, :]
    count = side // window
    regions = region.reshape(count, window, count, window).transpose(0, 2, 1, 3).reshape(-1, window * window)
    differ = regions[:, :, None] != regions[:, None, :]
    return np.where(differ, MASKED, 0.0).astype(np.float32)[:, None]


class PatchEmbed(nn.Layer):
    """Image -> tokens: non-overlapping patches, a linear projection of each, LayerNorm."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2D(3, dim, kernel_size=patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Any) -> Any:
        """Image [N, 3, S, S] -> tokens [N, (S/patch)^2, dim], row-major."""
        return self.norm(self.proj(image).flatten(2).transpose([0, 2, 1]))


class WindowAttention(nn.Layer):
    """Scaled cosine attention within one window (section 3.2) with log-spaced continuous position bias (3.3)."""

    def __init__(
        self, dim: int, heads: int, window: int, pretrained_window: int, drop: float, attn_drop: float
    ) -> None:
        super().__init__()
        self.dim, self.heads, self.tokens = dim, heads, window * window
        self.logit_scale = self.create_parameter(
            [heads, 1, 1], default_initializer=nn.initializer.Constant(math.log(10.0))
        )
        self.cpb_mlp = nn.Sequential(linear(2, CPB_HIDDEN), nn.ReLU(), linear(CPB_HIDDEN, heads, bias=False))
        # Keys have no bias: softmax would cancel its effect, and the paper's cosine form omits it.
        self.qkv = linear(dim, 3 * dim, bias=False)
        self.q_bias = self.create_parameter([dim], attr=zeros())
        self.v_bias = self.create_parameter([dim], attr=zeros())
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = linear(dim, dim)
        self.proj_drop = nn.Dropout(drop)
        for name, values in (
            ("relative_coords_table", relative_coords_table(window, pretrained_window)),
            ("relative_position_index", relative_position_index(window)),
        ):
            self.register_buffer(name, paddle.to_tensor(values), persistable=False)

    def forward(self, windows: Any, mask: Any = None) -> Any:
        """Windows [N * count, tokens, dim], image by image, and mask [count, 1, tokens, tokens] -> windows."""
        bias = paddle.concat([self.q_bias, paddle.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(windows, self.qkv.weight, bias)
        qkv = qkv.reshape([-1, self.tokens, 3, self.heads, self.dim // self.heads]).transpose([2, 0, 3, 1, 4])
        query, key, value = qkv[0], qkv[1], qkv[2]

        cosine = paddle.matmul(F.normalize(query, axis=-1), F.normalize(key, axis=-1), transpose_y=True)
        scores = cosine * paddle.clip(self.logit_scale, max=MAX_LOGIT_SCALE).exp() + self.position_bias()
        if mask is not None:
            scores = scores.reshape([-1, mask.shape[0], self.heads, self.tokens, self.tokens]) + mask
            scores = scores.reshape([-1, self.heads, self.tokens, self.tokens])
        weights = self.attn_drop(F.softmax(scores, axis=-1))
        mixed = paddle.matmul(weights, value).transpose([0, 2, 1, 3]).reshape([-1, self.tokens, self.dim])
        return self.proj_drop(self.proj(mixed))

    def position_bias(self) -> Any:
        """Score offsets [heads, tokens, tokens], in (0, 16)."""
        table = self.cpb_mlp(self.relative_coords_table)
        pairs = paddle.gather(table, self.relative_position_index, axis=0)
        bias = pairs.reshape([self.tokens, self.tokens, self.heads]).transpose([2, 0, 1])
        return CPB_FACTOR * F.sigmoid(bias)


class Mlp(nn.Layer):
    """Two linear layers with GELU between them, token by token."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = linear(dim, hidden)
        self.fc2 = linear(hidden, dim)
        self.drop = nn.Dropout(drop)

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, T, dim] -> the same shape."""
        return self.drop(self.fc2(self.drop(F.gelu(self.fc1(tokens)))))


class SwinBlock(nn.Layer):
    """Window attention and MLP on residual branches, each followed by a norm (res-post-norm, section 3.2).

    Odd blocks shift the windows by half a window; if a window would cover the whole map, it is not shifted.
    """

    def __init__(
        self,
        architecture: SwinV2Architecture,
        stage: int,
        index: int,
        side: int,
        drop: float,
        attn_drop: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        dim, heads = architecture.embed_dim * 2**stage, architecture.num_heads[stage]
        pretrained_window = architecture.pretrained_window_sizes[stage]
        self.side, self.dim = side, dim
        self.window = min(architecture.window_size, side)
        self.shift = self.window // 2 if index % 2 == 1 and self.window < side else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, self.window, pretrained_window, drop, attn_drop)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * architecture.mlp_ratio), drop)
        if self.shift:
            mask = paddle.to_tensor(shift_mask(side, self.window, self.shift))
            self.register_buffer("attn_mask", mask, persistable=False)

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim], row-major -> the same shape."""
        tokens = tokens + self.drop_path(self.norm1(self.attend(tokens)))
        return tokens + self.drop_path(self.norm2(self.mlp(tokens)))

    def attend(self, tokens: Any) -> Any:
        """Shift, partition into windows, attend, merge the windows, shift back; shapes as in forward."""
        count = self.side // self.window
        grid = tokens.reshape([-1, self.side, self.side, self.dim])
        if self.shift:
            grid = paddle.roll(grid, shifts=(-self.shift, -self.shift), axis=(1, 2))
        windows = grid.reshape([-1, count, self.window, count, self.window, self.dim]).transpose([0, 1, 3, 2, 4, 5])
        windows = windows.reshape([-1, self.window * self.window, self.dim])
        windows = self.attn(windows, self.attn_mask) if self.shift else self.attn(windows)
        grid = windows.reshape([-1, count, count, self.window, self.window, self.dim]).transpose([0, 1, 3, 2, 4, 5])
        grid = grid.reshape([-1, self.side, self.side, self.dim])
        if self.shift:
            grid = paddle.roll(grid, shifts=(self.shift, self.shift), axis=(1, 2))
        return grid.reshape([-1, self.side * self.side, self.dim])


class PatchMerging(nn.Layer):
    """Halves the map: the four tokens of each 2 x 2 square become one of twice the width, then LayerNorm."""

    def __init__(self, side: int, dim: int) -> None:
        super().__init__()
        self.side, self.dim = side, dim
        self.reduction = linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(2 * dim)

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> [N, side^2 / 4, 2 * dim]."""
        half = self.side // 2
        squares = tokens.reshape([-1, half, 2, half, 2, self.dim])
        # Channels of a square in the order top left, bottom left, top right, bottom right, as the weights expect.
        squares = squares.transpose([0, 1, 3, 4, 2, 5]).reshape([-1, half * half, 4 * self.dim])
        return self.norm(self.reduction(squares))


class SwinStage(nn.Layer):
    """Blocks on one resolution, then patch merging except after the last stage."""

    def __init__(
        self, architecture: SwinV2Architecture, stage: int, side: int, drop: float, attn_drop: float, rates: list[float]
    ) -> None:
        super().__init__()
        self.blocks = nn.LayerList(
            SwinBlock(architecture, stage, index, side, drop, attn_drop, rate) for index, rate in enumerate(rates)
        )
        last = stage == len(architecture.depths) - 1
        self.downsample = nn.Identity() if last else PatchMerging(side, architecture.embed_dim * 2**stage)

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> [N, side^2 / 4, 2 * dim], or unchanged in shape after the last stage."""
        for block in self.blocks:
            tokens = block(tokens)
        return self.downsample(tokens)


class SwinTransformerV2(nn.Layer):
    """The classifier.

    `drop_rate`: dropout of tokens, projections and MLPs. `attn_drop_rate`: dropout of attention weights.
    `drop_path_rate`: stochastic depth of the last block (None: the architecture's own).
    """

    def __init__(
        self,
        architecture: SwinV2Architecture,
        image_size: int,
        num_classes: int,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float | None = None,
    ) -> None:
        super().__init__()
        rate = architecture.drop_path_rate if drop_path_rate is None else drop_path_rate
        side = image_size // architecture.patch_size
        self.patch_embed = PatchEmbed(architecture.patch_size, architecture.embed_dim)
        self.pos_drop = nn.Dropout(drop_rate)
        self.layers = nn.LayerList(
            SwinStage(architecture, stage, side // 2**stage, drop_rate, attn_drop_rate, rates)
            for stage, rates in enumerate(drop_path_rates(rate, architecture.depths))
        )
        self.norm = nn.LayerNorm(architecture.num_features)
        self.head = linear(architecture.num_features, num_classes)

    def forward_features(self, image: Any) -> Any:
        """Image float32 [N, 3, S, S] (RGB, normalised) -> pooled features float32 [N, features]."""
        tokens = self.pos_drop(self.patch_embed(image))
        for stage in self.layers:
            tokens = stage(tokens)
        return self.norm(tokens).mean(axis=1)

    def forward(self, image: Any) -> Any:
        """Image float32 [N, 3, S, S] (RGB, normalised) -> logits float32 [N, classes]."""
        return self.head(self.forward_features(image))
