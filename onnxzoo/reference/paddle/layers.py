"""Building blocks that both model families use."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
from paddle import nn


class DropPath(nn.Layer):
    """Stochastic depth (Huang et al., arXiv:1603.09382): in training, drops the whole branch of a sample.

    A branch that is kept is divided by the probability of keeping it, so the expectation does not change.
    In eval mode, or with rate 0, it returns its input.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, branch: Any) -> Any:
        """Branch float32 [N, tokens, channels] -> the same shape."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        kept = paddle.floor(paddle.rand([branch.shape[0], 1, 1]) + keep)
        return branch * kept / keep


def linear(in_features: int, out_features: int, *, bias: bool = True) -> Any:
    """A Linear layer, weight [in, out], truncated normal of std 0.02 with zero bias, as in both papers' code."""
    weight = paddle.ParamAttr(initializer=nn.initializer.TruncatedNormal(std=0.02))
    return nn.Linear(in_features, out_features, weight_attr=weight, bias_attr=zeros() if bias else False)


def zeros() -> Any:
    """The attribute of a parameter that starts at zero."""
    return paddle.ParamAttr(initializer=nn.initializer.Constant(0.0))


def drop_path_rates(last_rate: float, depths: tuple[int, ...]) -> list[list[float]]:
    """Stochastic depth rates per stage and block: from 0 at the first block linearly to `last_rate` at the last."""
    rates = np.linspace(0.0, last_rate, sum(depths)).tolist()
    ends = np.cumsum(depths).tolist()
    return [rates[end - depth : end] for end, depth in zip(ends, depths, strict=True)]
