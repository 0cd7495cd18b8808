"""The training form of the model: stochastic depth from given draws, faster depthwise convolutions, and the loss.

Requires a reference model from `onnxzoo.reference.paddle.build`; ensures that parameters, their names and the function
in eval mode are the same as in the reference.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import nn

from ..families import ModelSpec
from ..reference.paddle.build import build_model
from ..reference.paddle.layers import DropPath
from ..reference.paddle.pvt_v2 import DepthwiseConv
from ..results import Array
from .recipe import Recipe
from .streams import DEPTH, stream

# Side of the largest map on which the dense product below was faster on a CPU. At 8 a whole PVTv2 processes 2.1 times
# the images/s with Paddle 3.3.1, whose own kernel reaches 1.3 GFLOPS.
DENSE_SIDE = 8


class Depths:
    """The draws of stochastic depth for the present batch, [layers, n, 1, 1]: 0, or 1 / (probability of keeping)."""

    def __init__(self) -> None:
        self.kept: Any = None


class DrawnDropPath(nn.Layer):
    """Stochastic depth (see `onnxzoo.reference.paddle.layers.DropPath`) with given draws."""

    def __init__(self, depths: Depths, number: int) -> None:
        super().__init__()
        self.depths, self.number = depths, number

    def forward(self, branch: Any) -> Any:
        """Branch float32 [N, tokens, channels] -> the same shape."""
        return branch * self.depths.kept[self.number] if self.training else branch


class DenseDepthwiseConv(nn.Layer):
    """`DepthwiseConv` of PVTv2 as one mostly zero [T, T] matrix per channel, T = side^2; same parameters.

    Paddle's depthwise kernel for CPUs is so slow that on small maps a matrix product with 7 times the operations
    is faster.
    """

    def __init__(self, layer: DepthwiseConv, side: int) -> None:
        super().__init__()
        self.dim = layer.dim
        self.dwconv = layer.dwconv
        self.register_buffer("taps", paddle.to_tensor(tap_numbers(side).reshape(-1)), persistable=False)
        self.side = side

    def forward(self, tokens: Any) -> Any:
        """Tokens [N, side^2, dim] -> the same shape."""
        count = self.side * self.side
        taps = paddle.concat([self.dwconv.weight.reshape([self.dim, 9]), paddle.zeros([self.dim, 1])], axis=1)
        matrices = paddle.gather(taps.transpose([1, 0]), self.taps, axis=0).reshape([count, count, self.dim])
        mixed = paddle.matmul(tokens.transpose([2, 0, 1]), matrices.transpose([2, 0, 1]))
        return mixed.transpose([1, 2, 0]) + self.dwconv.bias


def tap_numbers(side: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The index of the 3 x 3 kernel's weight that connects one position of a map with another; 9 if none does.

    int64 [side^2, side^2], source position first, positions row-major.
    """
    y, x = (axis.reshape(-1) for axis in np.meshgrid(np.arange(side), np.arange(side), indexing="ij"))
    dy, dx = y[:, None] - y[None, :], x[:, None] - x[None, :]
    near = (abs(dy) <= 1) & (abs(dx) <= 1)
    return np.where(near, (dy + 1) * 3 + dx + 1, 9).astype(np.int64)


class Objective(nn.Layer):
    """Computes loss and logits from images and targets."""

    def __init__(self, model: Any, depths: Depths) -> None:
        super().__init__()
        self.model = model
        self.depths = depths

    def forward(self, image: Any, target: Any, scale: Any, kept: Any = None) -> tuple[Any, Any]:
        """Cross entropy with soft targets, summed over the batch and multiplied by `scale`, and the logits.

        `image` float32 [n, 3, S, S], `target` float32 [n, classes] (zeros leave an image out), `scale` float32 [],
        `kept` float32 [layers, n, 1, 1] if the model has stochastic depth.
        """
        self.depths.kept = kept
        logits = self.model(image)
        return -(target * F.log_softmax(logits, axis=-1)).sum() * scale, logits


class Network:
    """A model under training. `model` is the reference layer, `parameters` its parameters by checkpoint name."""

    def __init__(self, spec: ModelSpec, recipe: Recipe, *, compiled: bool = True) -> None:
        """Draw the initial weights by the recipe's seed.

        `compiled`: use a static program, which is up to 1.5 times as fast on CPUs.
        """
        paddle.seed(recipe.seed)
        self._recipe = recipe
        self._depths = Depths()
        self.model: Any = build_model(spec, drop_path_rate=recipe.drop_path)
        self.parameters: dict[str, Any] = dict(self.model.named_parameters())
        self._rates = _draw_depths_outside(self.model, self._depths)
        if paddle.get_device() == "cpu":
            _densify(self.model)
        objective = Objective(self.model, self._depths)
        objective.train()
        self._objective = paddle.jit.to_static(objective, full_graph=True) if compiled else objective

    def loss(self, images: Array, targets: Array, scale: float, kept: Array | None) -> tuple[Any, Array]:
        """The loss as a tensor for `backward()`, and the logits float32 [n, classes]."""
        inputs = [paddle.to_tensor(images), paddle.to_tensor(targets), paddle.to_tensor(scale, dtype="float32")]
        if kept is not None:
            inputs.append(paddle.to_tensor(kept))
        loss, logits = self._objective(*inputs)
        return loss, logits.numpy()

    def draw_depths(self, epoch: int, step: int, batch: int) -> Array | None:
        """The draws of stochastic depth for a whole batch: float32 [layers, batch, 1, 1]; None without it."""
        if not self._rates:
            return None
        keep = 1 - np.array(self._rates)[:, None]
        draws = stream(DEPTH, self._recipe.seed, epoch, step).random((len(self._rates), batch))
        kept: Array = ((draws < keep) / keep).astype(np.float32)[:, :, None, None]
        return kept

    def state(self) -> dict[str, Array]:
        """A copy of every parameter by its checkpoint name."""
        return {name: parameter.numpy().copy() for name, parameter in self.parameters.items()}


def _draw_depths_outside(model: Any, depths: Depths) -> list[float]:
    rates: list[float] = []
    for parent in list(model.sublayers(include_self=True)):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, DropPath) and layer.rate > 0:
                setattr(parent, name, DrawnDropPath(depths, len(rates)))
                rates.append(layer.rate)
    return rates


def _densify(model: Any) -> None:
    for parent in list(model.sublayers(include_self=True)):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, DepthwiseConv) and layer.side <= DENSE_SIDE:
                setattr(parent, name, DenseDepthwiseConv(layer, layer.side))
