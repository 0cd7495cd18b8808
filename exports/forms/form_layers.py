"""Layers of export forms, whose weights are named constants of the graph."""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import nn

from ...families import Constants


class Form(nn.Layer):
    """A layer whose constants have the names that they will have in the ONNX file."""

    def hold(self, constants: Constants, name: str, *parts: str) -> None:
        """Store the constant `name.part` as `self.<part>`, for each of `parts`.

        The converter finds a tensor only as an attribute of the layer whose forward uses it. Two layers must not have
        the same constant.
        """
        for part in parts:
            tensor = paddle.to_tensor(constants[f"{name}.{part}"])
            tensor.name = f"{name}.{part}"
            self.register_buffer(part, tensor, persistable=True)


class Linear(Form):
    """Tokens [..., in] -> [..., out]: one MatMul, and one Add if there is a bias."""

    def __init__(self, constants: Constants, name: str) -> None:
        super().__init__()
        self.hold(constants, name, "weight")
        self.has_bias = f"{name}.bias" in constants
        if self.has_bias:
            self.hold(constants, name, "bias")

    def forward(self, tokens: Any) -> Any:
        product = paddle.matmul(tokens, self.weight)
        return product + self.bias if self.has_bias else product


class LayerNorm(Form):
    """Normalises the last axis."""

    def __init__(self, constants: Constants, name: str, epsilon: float) -> None:
        super().__init__()
        self.hold(constants, name, "weight", "bias")
        self.width, self.epsilon = int(self.weight.shape[0]), epsilon

    def forward(self, tokens: Any) -> Any:
        return F.layer_norm(tokens, [self.width], self.weight, self.bias, self.epsilon)


class Convolution(Form):
    """Map [N, in, side, side] -> [N, out, side', side']."""

    def __init__(self, constants: Constants, name: str, *, stride: int = 1, padding: int = 0, groups: int = 1) -> None:
        super().__init__()
        self.hold(constants, name, "weight", "bias")
        self.stride, self.padding, self.groups = stride, padding, groups

    def forward(self, grid: Any) -> Any:
        return F.conv2d(grid, self.weight, self.bias, self.stride, self.padding, groups=self.groups)


def grid_of(tokens: Any, side: int, dim: int) -> Any:
    """Tokens [N, side^2, dim] -> map [N, dim, side, side].

    The reshape precedes the transpose, which has four axes. Engines with their own layout for convolutions (ONNX
    Runtime's NCHWc) recognise this pattern and read the tokens directly, without the transpose and a reordering.
    """
    return tokens.reshape([-1, side, side, dim]).transpose([0, 3, 1, 2])


def tokens_of(grid: Any, side: int, dim: int) -> Any:
    """Map [N, dim, side, side] -> tokens [N, side^2, dim], row-major; the inverse of `grid_of`."""
    # This reshapes to known sizes, as flatten would read the batch size from the shape, with three operators.
    return grid.transpose([0, 2, 3, 1]).reshape([-1, side * side, dim])


class PatchEmbed(Form):
    """Map [N, channels, ...] -> normalised tokens [N, side^2, dim], row-major."""

    def __init__(
        self, constants: Constants, name: str, side: int, *, stride: int, padding: int, epsilon: float
    ) -> None:
        super().__init__()
        self.proj = Convolution(constants, f"{name}.proj", stride=stride, padding=padding)
        self.norm = LayerNorm(constants, f"{name}.norm", epsilon)
        self.side, self.dim = side, self.norm.width

    def forward(self, grid: Any) -> Any:
        return self.norm(tokens_of(self.proj(grid), self.side, self.dim))
