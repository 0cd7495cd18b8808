"""The export form of Swin Transformer V2: window order.

The textbook model keeps tokens in row-major order and, around every attention, rolls the map, partitions it into
windows, merges the windows and rolls back. But all operations between two attentions (norms, MLP, residual additions)
work token by token, so they commute with any permutation of the tokens:

    f(x[:, p]) = f(x)[:, p]     for f token by token and p a permutation

So the residual stream of a stage can stay in the window order of the current block, in which the tokens of its windows
follow one another. Let o_i be the window order of block i: token t of the stream is token o_i[t] of the map, where o_i
is obtained by rolling and partitioning 0, 1, 2, ... Between blocks i and i+1 one Gather with the index o_i^-1[o_{i+1}]
is sufficient, and none if the orders are equal, as in stages covered by one window. Patch merging takes the four tokens
of every 2 x 2 square. Its index is composed with the orders on both sides, so it is also one Gather, directly into the
window order of the next stage. The mean at the end does not depend on the order.

Attention itself then needs no rearranging, as windows are a reshape of the stream. Queries and keys are normalised
together, and the scale of each head, exp(min(logit_scale, ln 100)), is folded into that normalisation. The position
bias is computed once, in float64, for every offset of two tokens, 16 * sigmoid(cpb_mlp(offsets)), and stored as a small
table. An index maps each pair of tokens to its entry. The Gather with this index stays in the graph, because folding it
would add up to 629 MB to the file; engines fold it when they load the model. The shift mask has at most four different
windows (inner, right edge, bottom edge, corner), which are stored once and gathered in the same way.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ...families import Constants, ModelSpec
from ...families.swinv2.constants import COSINE_EPSILON, NORM_EPSILON, Stage, architecture_of, stages
from .form_layers import Form, LayerNorm, Linear, PatchEmbed


class Attention(Form):
    """Scaled cosine attention on consecutive windows: stream [N, T, dim] -> the same shape."""

    def __init__(self, constants: Constants, name: str, stage: Stage) -> None:
        super().__init__()
        self.dim, self.heads, self.windows, self.tokens = stage.dim, stage.heads, stage.windows, stage.window**2
        self.hold(constants, name, "qk_scale", "position_bias", "position_index")
        self.qkv = Linear(constants, f"{name}.qkv")
        self.proj = Linear(constants, f"{name}.proj")
        self.shifted = f"{name}.shift_mask" in constants
        self.spread = f"{name}.shift_mask_kind" in constants
        if self.shifted:
            self.hold(constants, name, "shift_mask")
        if self.spread:
            self.hold(constants, name, "shift_mask_kind")

    def forward(self, stream: Any) -> Any:
        heads, width = self.heads, self.dim // self.heads
        inner = [self.tokens] if self.windows == 1 else [self.windows, self.tokens]
        axis = len(inner)
        swapped = [*range(axis), axis + 1, axis, axis + 2]
        qkv = self.qkv(stream).reshape([-1, *inner, 3 * heads, width]).transpose(swapped)
        qk, value = paddle.split(qkv, [2 * heads, heads], axis=axis)
        norms = paddle.linalg.norm(qk, p=2, axis=-1, keepdim=True)
        norms = paddle.maximum(norms, paddle.full([1], COSINE_EPSILON))
        query, key = paddle.split(qk * (self.qk_scale / norms), 2, axis=axis)
        scores = paddle.matmul(query, key, transpose_y=True)
        pairs = paddle.gather(self.position_bias, self.position_index, axis=1)
        scores = scores + pairs.reshape([heads, self.tokens, self.tokens])
        if self.shifted:
            masks = self.shift_mask
            scores = scores + (paddle.gather(masks, self.shift_mask_kind, axis=0) if self.spread else masks)
        mixed = paddle.matmul(F.softmax(scores, axis=-1), value).transpose(swapped)
        return self.proj(mixed.reshape([-1, self.windows * self.tokens, self.dim]))


class Block(Form):
    """A block on a stream in its window order, to which it first rearranges the stream if necessary."""

    def __init__(self, constants: Constants, name: str, stage: Stage) -> None:
        super().__init__()
        self.reorders = f"{name}.window_order" in constants
        if self.reorders:
            self.hold(constants, name, "window_order")
        self.attn = Attention(constants, f"{name}.attn", stage)
        self.norm1, self.norm2 = (LayerNorm(constants, f"{name}.norm{n}", NORM_EPSILON) for n in (1, 2))
        self.fc1, self.fc2 = (Linear(constants, f"{name}.mlp.fc{n}") for n in (1, 2))

    def forward(self, stream: Any) -> Any:
        if self.reorders:
            stream = paddle.gather(stream, self.window_order, axis=1)
        stream = stream + self.norm1(self.attn(stream))
        return stream + self.norm2(self.fc2(F.gelu(self.fc1(stream))))


class PatchMerging(Form):
    """Stream [N, side^2, dim] -> [N, side^2 / 4, 2 * dim], in the window order of the next stage."""

    def __init__(self, constants: Constants, name: str, stage: Stage) -> None:
        super().__init__()
        self.hold(constants, name, "merging_order")
        self.tokens, self.width = stage.side**2 // 4, 4 * stage.dim
        self.reduction = Linear(constants, f"{name}.reduction")
        self.norm = LayerNorm(constants, f"{name}.norm", NORM_EPSILON)

    def forward(self, stream: Any) -> Any:
        squares = paddle.gather(stream, self.merging_order, axis=1).reshape([-1, self.tokens, self.width])
        return self.norm(self.reduction(squares))


class WindowOrderSwinV2(nn.Layer):
    """The classifier in window order: float32 [N, 3, S, S] -> (logits, embedding)."""

    def __init__(self, spec: ModelSpec, constants: Constants) -> None:
        super().__init__()
        every, patch = stages(spec), architecture_of(spec).patch_size
        self.patch_embed = PatchEmbed(
            constants, "patch_embed", every[0].side, stride=patch, padding=0, epsilon=NORM_EPSILON
        )
        self.steps = nn.LayerList()
        for stage in every:
            for index in range(stage.depth):
                self.steps.append(Block(constants, f"layers.{stage.number}.blocks.{index}", stage))
            if stage is not every[-1]:
                self.steps.append(PatchMerging(constants, f"layers.{stage.number}.downsample", stage))
        self.norm = LayerNorm(constants, "norm", NORM_EPSILON)
        self.head = Linear(constants, "head")

    def forward(self, image: Any) -> tuple[Any, Any]:
        stream = self.patch_embed(image)
        for step in self.steps:
            stream = step(stream)
        embedding = self.norm(stream).mean(axis=1)
        return self.head(embedding), embedding
