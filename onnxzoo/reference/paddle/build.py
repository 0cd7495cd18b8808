"""Builds reference models from an architecture and loads weights into them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...families import ModelSpec, family_of
from ...weights.state import checked_state
from .importing import require_paddle


def build_model(spec: ModelSpec, **training_rates: float) -> Any:
    """The Paddle layer of `spec` with initial weights, in eval mode: call `.train()` to train it.

    `training_rates`: `drop_rate`, `attn_drop_rate`, `drop_path_rate`, which act in train mode only.
    The layer maps float32 [N, 3, S, S] to logits float32 [N, classes]; its `forward_features` gives the
    pooled features before the head.

    Raises MissingDependencyError without PaddlePaddle.
    """
    require_paddle()
    from .pvt_v2 import PyramidVisionTransformerV2
    from .swinv2 import SwinTransformerV2

    classes = {"swinv2": SwinTransformerV2, "pvt_v2": PyramidVisionTransformerV2}
    family = family_of(spec.architecture).name
    model = classes[family](spec.architecture, spec.image_size, spec.num_classes, **training_rates)
    model.eval()
    return model


def load_state(model: Any, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Set every parameter of `model` from `state`, names and layouts as in PaddleClas (Linear weights [in, out]).

    Floats of other precisions are converted to float32. The model is changed only if everything fits.
    Raises CheckpointError, which names what is missing, unexpected, wrongly shaped, not float or not finite.
    """
    values = checked_state(parameter_shapes(model), state)
    for name, parameter in model.named_parameters():
        parameter.set_value(values[name])


def parameter_count(model: Any) -> int:
    """Number of trainable scalars; buffers are not counted."""
    return sum(int(np.prod(parameter.shape)) for parameter in model.parameters())


def parameter_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by its checkpoint name."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
