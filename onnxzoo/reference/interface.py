"""The description that both reference engines give of themselves; their computations are independent."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..artifact.folder import INPUT_NAME, OUTPUT_NAMES
from ..described_engine import DescribedEngine
from ..errors import InputError
from ..families import ModelSpec
from ..results import Array, EngineInfo, TensorSpec


class ReferenceEngine(DescribedEngine):
    """The part of an engine's interface that is determined by the model: one input, two outputs, any batch size."""

    def __init__(self, spec: ModelSpec, info: EngineInfo) -> None:
        side = spec.image_size
        logits, embedding = OUTPUT_NAMES
        super().__init__(
            info,
            {INPUT_NAME: TensorSpec((None, 3, side, side), "float32")},
            {
                logits: TensorSpec((None, spec.num_classes), "float32"),
                embedding: TensorSpec((None, spec.architecture.num_features), "float32"),
            },
        )

    def _checked_image(self, feeds: Mapping[str, Array]) -> Array:
        """The images of `feeds`; raises InputError if name, dtype or shape differ from `inputs`."""
        if set(feeds) != {INPUT_NAME}:
            raise InputError(f"the inputs must be named {[INPUT_NAME]}, got {sorted(feeds)}")
        image = feeds[INPUT_NAME]
        sides = self._inputs[INPUT_NAME].shape[1:]
        if image.dtype != np.float32 or image.ndim != 4 or image.shape[1:] != sides:
            wanted = ", ".join(map(str, ("N", *sides)))
            raise InputError(f"{INPUT_NAME} must be float32 [{wanted}], got {image.dtype} {list(image.shape)}")
        return image
