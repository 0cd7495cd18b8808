"""The exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle

from ..results import Array


class Ema:
    """average <- d * average + (1 - d) * weights after every step.

    d = min(decay, (1 + t) / (10 + t)) at step t from 0, so that the initial weights are forgotten quickly
    (as in TensorFlow's `ExponentialMovingAverage(num_updates)`).
    """

    def __init__(self, parameters: Mapping[str, Any], decay: float) -> None:
        self._parameters, self._decay = parameters, decay
        self._average: dict[str, Any] = {name: value.detach().clone() for name, value in parameters.items()}

    def update(self, step: int) -> None:
        """Add the weights after step `step`, counted from 0 over the whole training."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with paddle.no_grad():
            for name, parameter in self._parameters.items():
                average = self._average[name]
                paddle.assign(average * decay + parameter * (1 - decay), average)

    def state(self) -> dict[str, Array]:
        """A copy of the averages by parameter name."""
        return {name: value.numpy().copy() for name, value in self._average.items()}

    def load(self, state: Mapping[str, Array]) -> None:
        """Set the averages."""
        for name, average in self._average.items():
            average.set_value(state[name])
