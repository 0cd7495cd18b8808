"""The export form of Swin Transformer V2: window order.

The textbook model keeps tokens in row-major order and, around every attention, rolls the map, cuts it into windows,
puts the windows back together and rolls back. But all that happens between two attentions (norms, MLP, residual
additions) works token by token, so it commutes with any permutation of the tokens:

    f(x[:, p]) = f(x)[:, p]     for f token by token and p a permutation

So the residual stream of a stage can stay in the order in which the current block's windows lie one after the
other. Write o_i for the window order of block i: token t of the stream is token o_i[t] of the map, where o_i is
what rolling and partitioning make of 0, 1, 2, ... Between blocks i and i+1 one Gather suffices, with the index
o_i^-1[o_{i+1}], and none where the orders are equal, as in stages that one window covers. Patch merging takes the
four tokens of every 2 x 2 square; its index composes with the orders on both sides, so that it is one Gather too,
straight into the window order of the next stage. The mean at the end does not see the order.

Attention itself needs no rearranging then: windows are a reshape of the stream. Queries and keys are normalised
together, and the scale of each head, exp(min(logit_scale, ln 100)), is folded into that normalisation. The position
bias is computed once, in float64, for every offset of two tokens, 16 * sigmoid(cpb_mlp(offsets)), and stored as
that small table; which entry belongs to which pair of tokens is an index, and the Gather that spreads the table
stays in the graph, because folding it would add up to 629 MB to the file (engines fold it when they load the
model). The shift mask has at most four different windows (inner, right edge, bottom edge, corner): they are stored
once and gathered likewise.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import paddle
import paddle.nn.functional as F
from paddle import nn

from ...reference.swinv2 import CPB_FACTOR, MAX_LOGIT_SCALE, SwinTransformerV2, relative_position_index, shift_mask
from .layers import Form, LayerNorm, PatchEmbed, linear_of

Order = npt.NDArray[np.int64]

# F.normalize of the textbook model divides by at least this.
NORM_EPSILON = 1e-12


def window_order(side: int, window: int, shift: int) -> Order:
    """Row-major place in the map of every token in window order: int64 [side^2], windows and their tokens row-major."""
    count = side // window
    places = np.roll(np.arange(side * side).reshape(side, side), (-shift, -shift), (0, 1))
    order: Order = places.reshape(count, window, count, window).transpose(0, 2, 1, 3).reshape(-1)
    return order


def reorder_index(current: Order, wanted: Order) -> Order:
    """The index that takes a stream from one order to another: stream[:, index] is in the order `wanted`."""
    index: Order = np.argsort(current)[wanted]
    return index


def merging_index(side: int, current: Order, following: Order) -> Order:
    """The index of patch merging: int64 [side^2], four tokens of the stream for each token of the halved map.

    The stream is in the order `current`, the halved map in the order `following`; the four are those at the top left,
    bottom left, top right, bottom right.
    """
    row, column = np.divmod(following, side // 2)
    corners = [(2 * row + down) * side + 2 * column + right for right, down in ((0, 0), (0, 1), (1, 0), (1, 1))]
    index: Order = np.argsort(current)[np.stack(corners, axis=1)].reshape(-1)
    return index


class Attention(Form):
    """Scaled cosine attention on windows that lie one after the other: stream [N, T, dim] -> the same shape."""

    def __init__(self, name: str, block: Any) -> None:
        super().__init__()
        attn = block.attn
        self.dim, self.heads, self.tokens = attn.dim, attn.heads, attn.tokens
        self.windows = (block.side // block.window) ** 2
        self.constant("weight", f"{name}.qkv.weight", attn.qkv.weight.numpy())
        query, value = attn.q_bias.numpy(), attn.v_bias.numpy()
        self.constant("bias", f"{name}.qkv.bias", np.concatenate([query, np.zeros_like(query), value]))
        scale = np.exp(np.minimum(attn.logit_scale.numpy().astype(np.float64), MAX_LOGIT_SCALE))
        self.constant("scale", f"{name}.qk_scale", np.concatenate([scale, np.ones_like(scale)]))
        self.constant("table", f"{name}.position_bias", position_bias_table(attn))
        self.constant("index", f"{name}.position_index", relative_position_index(block.window).astype(np.int32))
        self.proj = linear_of(f"{name}.proj", attn.proj)
        self.shifted = block.shift > 0
        if self.shifted:
            mask = shift_mask(block.side, block.window, block.shift)
            patterns, kinds = np.unique(mask, axis=0, return_inverse=True)
            self.spread = len(patterns) < len(mask)
            self.constant("mask", f"{name}.shift_mask", patterns if self.spread else mask)
            if self.spread:
                self.constant("kinds", f"{name}.shift_mask_kind", kinds.reshape(-1).astype(np.int32))

    def forward(self, stream: Any) -> Any:
        heads, width = self.heads, self.dim // self.heads
        inner = [self.tokens] if self.windows == 1 else [self.windows, self.tokens]
        axis = len(inner)
        swapped = [*range(axis), axis + 1, axis, axis + 2]
        qkv = paddle.matmul(stream, self.weight) + self.bias
        qkv = qkv.reshape([-1, *inner, 3 * heads, width]).transpose(swapped)
        qk, value = paddle.split(qkv, [2 * heads, heads], axis=axis)
        norms = paddle.linalg.norm(qk, p=2, axis=-1, keepdim=True)
        norms = paddle.maximum(norms, paddle.full([1], NORM_EPSILON))
        query, key = paddle.split(qk * (self.scale / norms), 2, axis=axis)
        scores = paddle.matmul(query, key, transpose_y=True)
        pairs = paddle.gather(self.table, self.index, axis=1)
        scores = scores + pairs.reshape([heads, self.tokens, self.tokens])
        if self.shifted:
            scores = scores + (paddle.gather(self.mask, self.kinds, axis=0) if self.spread else self.mask)
        mixed = paddle.matmul(F.softmax(scores, axis=-1), value).transpose(swapped)
        return self.proj(mixed.reshape([-1, self.windows * self.tokens, self.dim]))


def position_bias_table(attn: Any) -> npt.NDArray[np.float64]:
    """Score offsets by head and offset of two tokens: float64 [heads, (2 * window - 1)^2], in (0, 16)."""
    first, _, second = attn.cpb_mlp
    offsets = attn.relative_coords_table.numpy().astype(np.float64)
    hidden = offsets @ first.weight.numpy().astype(np.float64) + first.bias.numpy().astype(np.float64)
    values = np.maximum(hidden, 0) @ second.weight.numpy().astype(np.float64)
    table: npt.NDArray[np.float64] = CPB_FACTOR / (1 + np.exp(-values.T))
    return table


class Block(Form):
    """A block on a stream in the order of its windows; `reorder` brings the stream there, None where it is there."""

    def __init__(self, name: str, block: Any, reorder: Order | None) -> None:
        super().__init__()
        self.reorders = reorder is not None
        if reorder is not None:
            self.constant("reorder", f"{name}.window_order", reorder.astype(np.int32))
        self.attn = Attention(f"{name}.attn", block)
        self.norm1, self.norm2 = LayerNorm(f"{name}.norm1", block.norm1), LayerNorm(f"{name}.norm2", block.norm2)
        self.fc1 = linear_of(f"{name}.mlp.fc1", block.mlp.fc1)
        self.fc2 = linear_of(f"{name}.mlp.fc2", block.mlp.fc2)

    def forward(self, stream: Any) -> Any:
        if self.reorders:
            stream = paddle.gather(stream, self.reorder, axis=1)
        stream = stream + self.norm1(self.attn(stream))
        return stream + self.norm2(self.fc2(F.gelu(self.fc1(stream))))


class PatchMerging(Form):
    """Stream [N, side^2, dim] -> [N, side^2 / 4, 2 * dim], in the window order of the next stage."""

    def __init__(self, name: str, merging: Any, index: Order) -> None:
        super().__init__()
        self.constant("index", f"{name}.merging_order", index.astype(np.int32))
        self.tokens, self.width = len(index) // 4, 4 * merging.dim
        self.reduction = linear_of(f"{name}.reduction", merging.reduction)
        self.norm = LayerNorm(f"{name}.norm", merging.norm)

    def forward(self, stream: Any) -> Any:
        squares = paddle.gather(stream, self.index, axis=1).reshape([-1, self.tokens, self.width])
        return self.norm(self.reduction(squares))


class WindowOrderSwinV2(nn.Layer):
    """The classifier in window order: image float32 [N, 3, S, S] -> (logits, embedding), derived from `model`."""

    def __init__(self, model: SwinTransformerV2) -> None:
        super().__init__()
        first = model.layers[0].blocks[0]
        patch = int(model.patch_embed.proj.weight.shape[-1])
        self.patch_embed = PatchEmbed("patch_embed", model.patch_embed, first.side, stride=patch, padding=0)
        self.steps = nn.LayerList()
        order = np.arange(first.side**2)
        for number, stage in enumerate(model.layers):
            for index, block in enumerate(stage.blocks):
                wanted = window_order(block.side, block.window, block.shift)
                reorder = None if np.array_equal(order, wanted) else reorder_index(order, wanted)
                self.steps.append(Block(f"layers.{number}.blocks.{index}", block, reorder))
                order = wanted
            if number + 1 < len(model.layers):
                following = model.layers[number + 1].blocks[0]
                wanted = window_order(following.side, following.window, following.shift)
                corners = merging_index(stage.blocks[0].side, order, wanted)
                self.steps.append(PatchMerging(f"layers.{number}.downsample", stage.downsample, corners))
                order = wanted
        self.norm = LayerNorm("norm", model.norm)
        self.head = linear_of("head", model.head)

    def forward(self, image: Any) -> tuple[Any, Any]:
        stream = self.patch_embed(image)
        for step in self.steps:
            stream = step(stream)
        embedding = self.norm(stream).mean(axis=1)
        return self.head(embedding), embedding
