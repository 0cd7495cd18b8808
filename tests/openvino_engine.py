"""The OpenVINO engine on a file, without the search for a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from onnxzoo.engines.openvino import OpenVINOEngine
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import ModelFile, Selection
from onnxzoo.hub import SHIPPED_DIR

NANO = SHIPPED_DIR / "pvt_v2_nano_fashion" / "onnx" / "model.onnx"


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, 3, 32, 32)).astype(np.float32)


def engine_for(file: Path, device: str | None = None, **options: Any) -> OpenVINOEngine:
    return OpenVINOEngine.open(ModelFile(file), options=EngineOptions(**options), device=device, selection=Selection())
