"""The export form of PVTv2, with few transposes and no superfluous nodes.

The textbook MLP widens the tokens 4 to 8 times, and transposes them to a map for the depthwise convolution and back.
Here the tokens are transposed to a map before they are widened, as a linear layer over tokens is a 1 x 1 convolution
over their map. So the two transposes move C values per token instead of 4 C to 8 C.

    textbook   fc1, transpose, depthwise convolution, transpose, GELU, fc2
    here       transpose, 1 x 1 convolution, depthwise convolution, GELU, 1 x 1 convolution, transpose

Keys and values are split by channel instead of being indexed from a fifth axis. A stage with one head has no axis of
heads, and no reshapes and transposes for it. The scale of the scores is folded into the queries' weights (in float64).
Average pooling in the linear variant is a product with a constant matrix of bin averages, which works for every map
size and on tokens, so that its 1 x 1 convolution is a linear layer.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ...families import Constants, ModelSpec
from ...families.pvt_v2.constants import BLOCK_EPSILON, EMBED_EPSILON, Stage, stages
from .form_layers import Convolution, Form, LayerNorm, Linear, PatchEmbed, grid_of, tokens_of


class Attention(Form):
    """Attention with keys and values from a smaller map: tokens [N, side^2, dim] -> the same shape."""

    def __init__(self, constants: Constants, name: str, stage: Stage) -> None:
        super().__init__()
        self.dim, self.heads, self.side, self.source_side = stage.dim, stage.heads, stage.side, stage.source_side
        self.reduction, self.pools = stage.reduction, stage.pools
        self.q, self.kv, self.proj = (Linear(constants, f"{name}.{layer}") for layer in ("q", "kv", "proj"))
        if self.reduction == 0:
            self.sr: Form = Linear(constants, f"{name}.sr")
        elif self.reduction > 1:
            self.sr = Convolution(constants, f"{name}.sr", stride=self.reduction)
        if self.reduction != 1:
            self.norm = LayerNorm(constants, f"{name}.norm", EMBED_EPSILON)
        if self.pools:
            self.hold(constants, name, "pooling")

    def forward(self, tokens: Any) -> Any:
        query = self.q(tokens)
        kv = self.kv(tokens if self.reduction == 1 else self.reduce(tokens))
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
        if self.reduction == 0:
            source = paddle.matmul(self.pooling, tokens) if self.pools else tokens
            return F.gelu(self.norm(self.sr(source)))
        smaller = self.sr(grid_of(tokens, self.side, self.dim))
        return self.norm(tokens_of(smaller, self.source_side, self.dim))


class Mlp(Form):
    """1 x 1 convolution, depthwise convolution, GELU, 1 x 1 convolution: tokens [N, side^2, dim] -> the same shape."""

    def __init__(self, constants: Constants, name: str, stage: Stage) -> None:
        super().__init__()
        self.side, self.dim, self.linear_variant = stage.side, stage.dim, stage.reduction == 0
        self.fc1 = Convolution(constants, f"{name}.fc1")
        self.dwconv = Convolution(constants, f"{name}.dwconv.dwconv", padding=1, groups=stage.hidden)
        self.fc2 = Convolution(constants, f"{name}.fc2")

    def forward(self, tokens: Any) -> Any:
        hidden = self.fc1(grid_of(tokens, self.side, self.dim))
        if self.linear_variant:
            hidden = F.relu(hidden)
        return tokens_of(self.fc2(F.gelu(self.dwconv(hidden))), self.side, self.dim)


class Block(Form):
    """Attention and MLP on residual branches, each preceded by a norm."""

    def __init__(self, constants: Constants, name: str, stage: Stage) -> None:
        super().__init__()
        self.norm1, self.norm2 = (LayerNorm(constants, f"{name}.norm{n}", BLOCK_EPSILON) for n in (1, 2))
        self.attn = Attention(constants, f"{name}.attn", stage)
        self.mlp = Mlp(constants, f"{name}.mlp", stage)

    def forward(self, tokens: Any) -> Any:
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class StageForm(Form):
    """Map [N, channels, side, side] -> normalised tokens of the stage's own, smaller map."""

    def __init__(self, constants: Constants, stage: Stage) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(
            constants,
            f"patch_embed{stage.number}",
            stage.side,
            stride=stage.stride,
            padding=stage.kernel // 2,
            epsilon=EMBED_EPSILON,
        )
        names = [f"block{stage.number}.{index}" for index in range(stage.depth)]
        self.blocks = nn.LayerList(Block(constants, name, stage) for name in names)
        self.norm = LayerNorm(constants, f"norm{stage.number}", BLOCK_EPSILON)

    def forward(self, grid: Any) -> Any:
        tokens = self.patch_embed(grid)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


class PvtV2Form(nn.Layer):
    """The classifier: float32 [N, 3, S, S] -> (logits, embedding)."""

    def __init__(self, spec: ModelSpec, constants: Constants) -> None:
        super().__init__()
        every = stages(spec)
        self.stages = nn.LayerList(StageForm(constants, stage) for stage in every)
        self.maps = [(stage.side, stage.dim) for stage in every]
        self.head = Linear(constants, "head")

    def forward(self, image: Any) -> tuple[Any, Any]:
        tokens = self.stages[0](image)
        for number in range(1, len(self.stages)):
            tokens = self.stages[number](grid_of(tokens, *self.maps[number - 1]))
        embedding = tokens.mean(axis=1)
        return self.head(embedding), embedding
