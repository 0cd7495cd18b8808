"""AdamW with the recipe's parameter groups, and its state by parameter name instead of Paddle's running numbers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import paddle
from paddle import nn

from ..results import Array
from .recipe import Recipe, decays


class Optimizer:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101); the decay is multiplied by the learning rate."""

    def __init__(self, parameters: Mapping[str, Any], recipe: Recipe) -> None:
        self._names = {parameter.name: name for name, parameter in parameters.items()}
        self._parameters = parameters
        decayed = {p.name for name, p in parameters.items() if decays(name, tuple(p.shape))}
        self._adam = paddle.optimizer.AdamW(
            learning_rate=recipe.lr,
            beta1=recipe.beta1,
            beta2=recipe.beta2,
            epsilon=recipe.epsilon,
            parameters=list(parameters.values()),
            weight_decay=recipe.weight_decay,
            apply_decay_param_fun=decayed.__contains__,
            grad_clip=nn.ClipGradByGlobalNorm(recipe.clip_norm) if recipe.clip_norm else None,
        )

    def step(self, learning_rate: float) -> None:
        """Apply and clear the gradients."""
        self._adam.set_lr(learning_rate)
        self._adam.step()
        self._adam.clear_grad()

    def state(self) -> dict[str, Array]:
        """Moments and powers of the betas as `<parameter>|<role>`; empty before the first step."""
        state: dict[str, Array] = {}
        for key, value in self._adam.state_dict().items():
            own = next((name for name in self._names if key.startswith(f"{name}_")), None)
            if own is not None:
                state[f"{self._names[own]}|{key[len(own) :]}"] = value.numpy().copy()
        return state

    def load(self, state: Mapping[str, Array]) -> None:
        """Restore the result of `state()`, from this or another process."""
        named = {}
        for key, value in state.items():
            name, _, role = key.rpartition("|")
            named[self._parameters[name].name + role] = paddle.to_tensor(value)
        if named:
            self._adam.set_state_dict(named)
