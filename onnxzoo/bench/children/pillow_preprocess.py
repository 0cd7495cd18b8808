"""The evaluation preprocessing as the peers do it: Pillow, then numpy in float32. Knows nothing of onnxzoo."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image


def preprocess(path: str, spec: dict[str, Any]) -> np.ndarray[Any, Any]:
    """The image at `path` as float32 [1, 3, S, S]; `spec` is config.json's `preprocess`."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    percent = spec["resize_size"] / min(image.size)
    resampling = Image.Resampling[spec["interpolation"].upper()]
    image = image.resize((round(image.width * percent), round(image.height * percent)), resampling)
    size = spec["crop_size"]
    left, top = (image.width - size) // 2, (image.height - size) // 2
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), dtype=np.float32) / np.float32(255)
    values = (pixels - np.array(spec["mean"], np.float32)) / np.array(spec["std"], np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)
