"""What a reference takes: one input, checked in the same words by both engines."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..artifact.folder import INPUT_NAME
from ..errors import InputError
from ..results import Array, TensorSpec


def input_specs(side: int) -> dict[str, TensorSpec]:
    """The one input: float32 [N, 3, side, side], RGB, normalised."""
    return {INPUT_NAME: TensorSpec((None, 3, side, side), "float32")}


def checked_image(feeds: Mapping[str, Array], side: int) -> Array:
    """The images of `feeds`; raises InputError for another name, dtype or shape than `input_specs` says."""
    if set(feeds) != {INPUT_NAME}:
        raise InputError(f"the inputs must be named {[INPUT_NAME]}, got {sorted(feeds)}")
    image = feeds[INPUT_NAME]
    if image.dtype != np.float32 or image.ndim != 4 or image.shape[1:] != (3, side, side):
        raise InputError(f"{INPUT_NAME} must be float32 [N, 3, {side}, {side}], got {image.dtype} {list(image.shape)}")
    return image
