"""Pieces of export forms: layers whose weights are named constants of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn


class Form(nn.Layer):
    """A layer that holds its weights as constants, under the names that they are to have in the ONNX file."""

    def constant(self, attribute: str, name: str, values: Any) -> None:
        """Hold `values` as `self.<attribute>`; float64 is stored as float32. No two constants may have one name.

        The converter reads a tensor only as an attribute of the layer whose forward uses it.
        """
        array = np.asarray(values)
        tensor = paddle.to_tensor(array.astype(np.float32) if array.dtype == np.float64 else array)
        tensor.name = name
        self.register_buffer(attribute, tensor, persistable=True)


class Linear(Form):
    """Tokens [..., in] -> [..., out]: one MatMul, and one Add where there is a bias."""

    def __init__(self, name: str, weight: Any, bias: Any = None) -> None:
        super().__init__()
        self.constant("weight", f"{name}.weight", weight)
        self.has_bias = bias is not None
        if self.has_bias:
            self.constant("bias", f"{name}.bias", bias)

    def forward(self, tokens: Any) -> Any:
        product = paddle.matmul(tokens, self.weight)
        return product + self.bias if self.has_bias else product


class LayerNorm(Form):
    """Normalises the last axis."""

    def __init__(self, name: str, norm: Any) -> None:
        super().__init__()
        self.constant("weight", f"{name}.weight", norm.weight.numpy())
        self.constant("bias", f"{name}.bias", norm.bias.numpy())
        self.width, self.epsilon = int(norm.weight.shape[0]), float(norm._epsilon)

    def forward(self, tokens: Any) -> Any:
        return F.layer_norm(tokens, [self.width], self.weight, self.bias, self.epsilon)


class Convolution(Form):
    """Map [N, in, side, side] -> [N, out, side', side']."""

    def __init__(
        self, name: str, weight: Any, bias: Any, *, stride: int = 1, padding: int = 0, groups: int = 1
    ) -> None:
        super().__init__()
        self.constant("weight", f"{name}.weight", weight)
        self.constant("bias", f"{name}.bias", bias)
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(self, grid: Any) -> Any:
        return F.conv2d(grid, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


def grid_of(tokens: Any, side: int, dim: int) -> Any:
    """Tokens [N, side^2, dim] -> map [N, dim, side, side].

    Reshaped first and then transposed with four axes, as engines that compute convolutions in a layout of their own
    (ONNX Runtime's NCHWc) recognise: they read the tokens in place of the transpose and of a reordering.
    """
    return tokens.reshape([-1, side, side, dim]).transpose([0, 3, 1, 2])


def tokens_of(grid: Any, side: int, dim: int) -> Any:
    """Map [N, dim, side, side] -> tokens [N, side^2, dim], row-major; the way back of `grid_of`."""
    # A reshape to known sizes: flatten would read the batch from the shape, in three operators.
    return grid.transpose([0, 2, 3, 1]).reshape([-1, side * side, dim])


class PatchEmbed(Form):
    """Map [N, channels, side, side] -> normalised tokens [N, side'^2, dim], row-major."""

    def __init__(self, name: str, embed: Any, side: int, *, stride: int, padding: int) -> None:
        super().__init__()
        weight = embed.proj.weight.numpy()
        self.side, self.dim = side, int(weight.shape[0])
        self.proj = Convolution(f"{name}.proj", weight, embed.proj.bias.numpy(), stride=stride, padding=padding)
        self.norm = LayerNorm(f"{name}.norm", embed.norm)

    def forward(self, grid: Any) -> Any:
        return self.norm(tokens_of(self.proj(grid), self.side, self.dim))


def linear_of(name: str, layer: Any) -> Linear:
    """The form of a reference Linear."""
    return Linear(name, layer.weight.numpy(), None if layer.bias is None else layer.bias.numpy())
