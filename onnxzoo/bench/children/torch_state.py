"""Weights for a model in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np


def with_weights(model: Any, file: str, whose: str) -> Any:
    """The model with the parameters of an .npz under its own names, in eval mode; its buffers stay.

    `whose`: for the message. Raises ValueError where the parameters are not the model's.
    """
    import torch

    with np.load(file) as arrays:
        state = {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    loaded = model.load_state_dict(state, strict=False)
    parameters = {name for name, _ in model.named_parameters()}
    if wrong := [*loaded.unexpected_keys, *(name for name in loaded.missing_keys if name in parameters)]:
        raise ValueError(f"the weights do not fit {whose} model: {', '.join(wrong[:5])}")
    return model.eval()
