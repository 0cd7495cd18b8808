"""The export form of PVTv2: few transposes, no debris.

The textbook MLP lays 4 to 8 times widened tokens out as a map for its depthwise convolution and back. Here the
tokens become a map before they are widened: a linear layer over tokens is a 1 x 1 convolution over their map, so
that the two transposes move C values per token and not 4 C to 8 C.

    textbook   fc1, transpose, depthwise convolution, transpose, GELU, fc2
    here       transpose, 1 x 1 convolution, depthwise convolution, GELU, 1 x 1 convolution, transpose

Keys and values are split by channel rather than indexed out of a fifth axis. A stage with one head needs no axis of
heads, and none of the reshapes and transposes around it. The scale of the scores is folded into the queries' weights
(in float64). Average pooling of the linear variant is a product with a constant matrix of bin averages, which works for
every map size and needs no map; its 1 x 1 convolution is a linear layer then.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
import paddle.nn.functional as F
from paddle import nn

from ...reference.pvt_v2 import POOLED_SIDE, PyramidVisionTransformerV2
from .layers import Convolution, Form, LayerNorm, Linear, PatchEmbed, grid_of, linear_of, tokens_of


def pooling_matrix(side: int, pooled: int) -> npt.NDArray[np.float64]:
    """Adaptive average pooling of a row-major map as a matrix: float64 [pooled^2, side^2], rows sum to 1.

    Bin i of an axis covers floor(i * side / pooled) up to ceil((i + 1) * side / pooled).
    """
    axis = np.zeros((pooled, side))
    for i in range(pooled):
        start, end = i * side // pooled, -(-(i + 1) * side // pooled)
        axis[i, start:end] = 1 / (end - start)
    return np.asarray(np.kron(axis, axis), dtype=np.float64)


class Attention(Form):
    """Attention with keys and values from a smaller map: tokens [N, side^2, dim] -> the same shape."""

    def __init__(self, name: str, attn: Any) -> None:
        super().__init__()
        self.dim, self.heads, self.side = attn.dim, attn.heads, attn.side
        scaled = {part: getattr(attn.q, part).numpy().astype(np.float64) * attn.scale for part in ("weight", "bias")}
        self.q = Linear(f"{name}.q", scaled["weight"], scaled["bias"])
        self.kv = linear_of(f"{name}.kv", attn.kv)
        self.proj = linear_of(f"{name}.proj", attn.proj)
        self.linear_variant, self.reduced = attn.linear_variant, attn.reduced
        self.pooled = self.linear_variant and self.side != POOLED_SIDE
        self.source_side = self.side
        if not self.reduced:
            return
        weight, bias = attn.sr.weight.numpy(), attn.sr.bias.numpy()
        self.norm = LayerNorm(f"{name}.norm", attn.norm)
        if self.linear_variant:
            self.source_side = POOLED_SIDE
            self.sr: Form = Linear(f"{name}.sr", weight[:, :, 0, 0].T, bias)
            if self.pooled:
                self.constant("pool", f"{name}.pooling", pooling_matrix(self.side, POOLED_SIDE))
        else:
            ratio = int(weight.shape[-1])
            self.source_side = self.side // ratio
            self.sr = Convolution(f"{name}.sr", weight, bias, stride=ratio)

    def forward(self, tokens: Any) -> Any:
        query = self.q(tokens)
        kv = self.kv(self.reduce(tokens) if self.reduced else tokens)
        if self.heads > 1:
            query = self.by_head(query, self.side, self.heads)
            key, value = paddle.split(self.by_head(kv, self.source_side, 2 * self.heads), 2, axis=1)
        else:
            key, value = paddle.split(kv, 2, axis=-1)
        weights = F.softmax(paddle.matmul(query, key, transpose_y=True), axis=-1)
        mixed = paddle.matmul(weights, value)
        if self.heads > 1:
            mixed = mixed.transpose([0, 2, 1, 3]).reshape([-1, self.side**2, self.dim])
        return self.proj(mixed)

    def by_head(self, tokens: Any, side: int, heads: int) -> Any:
        """Tokens [N, side^2, heads * width] -> [N, heads, side^2, width]."""
        return tokens.reshape([-1, side**2, heads, self.dim // self.heads]).transpose([0, 2, 1, 3])

    def reduce(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> tokens of the smaller map [N, fewer, dim]."""
        if self.linear_variant:
            source = paddle.matmul(self.pool, tokens) if self.pooled else tokens
            return F.gelu(self.norm(self.sr(source)))
        smaller = self.sr(grid_of(tokens, self.side, self.dim))
        return self.norm(tokens_of(smaller, self.source_side, self.dim))


class Mlp(Form):
    """1 x 1 convolution, depthwise convolution, GELU, 1 x 1 convolution: tokens [N, side^2, dim] -> the same shape."""

    def __init__(self, name: str, mlp: Any, side: int) -> None:
        super().__init__()
        self.side, self.dim, hidden = side, int(mlp.fc1.weight.shape[0]), int(mlp.fc1.weight.shape[1])
        depthwise = mlp.dwconv.dwconv
        self.fc1 = Convolution(f"{name}.fc1", mlp.fc1.weight.numpy().T[:, :, None, None], mlp.fc1.bias.numpy())
        self.dwconv = Convolution(
            f"{name}.dwconv.dwconv", depthwise.weight.numpy(), depthwise.bias.numpy(), padding=1, groups=hidden
        )
        self.fc2 = Convolution(f"{name}.fc2", mlp.fc2.weight.numpy().T[:, :, None, None], mlp.fc2.bias.numpy())
        self.linear_variant = mlp.linear_variant

    def forward(self, tokens: Any) -> Any:
        hidden = self.fc1(grid_of(tokens, self.side, self.dim))
        if self.linear_variant:
            hidden = F.relu(hidden)
        return tokens_of(self.fc2(F.gelu(self.dwconv(hidden))), self.side, self.dim)


class Block(Form):
    """Attention and MLP, each behind a norm, on the residual branch."""

    def __init__(self, name: str, block: Any) -> None:
        super().__init__()
        self.norm1, self.norm2 = LayerNorm(f"{name}.norm1", block.norm1), LayerNorm(f"{name}.norm2", block.norm2)
        self.attn = Attention(f"{name}.attn", block.attn)
        self.mlp = Mlp(f"{name}.mlp", block.mlp, block.attn.side)

    def forward(self, tokens: Any) -> Any:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class Stage(Form):
    """Map [N, channels, side, side] -> normalised tokens of the stage's own, smaller map."""

    def __init__(self, number: int, model: PyramidVisionTransformerV2) -> None:
        super().__init__()
        embed, blocks = getattr(model, f"patch_embed{number}"), getattr(model, f"block{number}")
        kernel = int(embed.proj.weight.shape[-1])
        self.patch_embed = PatchEmbed(
            f"patch_embed{number}", embed, model.sides[number - 1], stride=4 if number == 1 else 2, padding=kernel // 2
        )
        self.blocks = nn.LayerList(Block(f"block{number}.{index}", block) for index, block in enumerate(blocks))
        self.norm = LayerNorm(f"norm{number}", getattr(model, f"norm{number}"))

    def forward(self, grid: Any) -> Any:
        tokens = self.patch_embed(grid)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class PvtV2Form(nn.Layer):
    """The classifier: image float32 [N, 3, S, S] -> (logits, embedding), derived from `model`."""

    def __init__(self, model: PyramidVisionTransformerV2) -> None:
        super().__init__()
        self.stages = nn.LayerList(Stage(number, model) for number in range(1, len(model.dims) + 1))
        self.maps = list(zip(model.sides, model.dims, strict=True))
        self.head = linear_of("head", model.head)

    def forward(self, image: Any) -> tuple[Any, Any]:
        tokens = self.stages[0](image)
        for number in range(1, len(self.stages)):
            tokens = self.stages[number](grid_of(tokens, *self.maps[number - 1]))
        embedding = tokens.mean(axis=1)
        return self.head(embedding), embedding
