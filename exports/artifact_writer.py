"""Writing the files of an artifact folder; `onnxzoo.artifact.folder` says what they are and reads them."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from ..artifact.folder import (
    CARD_FILE,
    CONFIG_FILE,
    CONFORMANCE_FILE,
    MODEL_FILES,
    PREPROCESSOR_FILE,
    SCHEMA_VERSION,
    read_artifact,
)
from ..families import ModelSpec
from ..files import sha256_of
from ..hub.card import model_card
from ..registry import ModelEntry, Preprocess

TOOLS = ("onnxzoo", "paddlepaddle", "paddlepaddle-gpu", "paddle2onnx", "onnx", "onnxsim", "numpy", "pillow")
# Pillow's codes, which transformers' image processors use.
RESAMPLE_CODES = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}


def tool_versions() -> dict[str, str]:
    """Versions of the packages that take part in an export, by name; Paddle comes as one of two packages."""
    versions = {}
    for tool in TOOLS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[tool] = metadata.version(tool)
    return versions


def write_descriptions(
    folder: Path,
    *,
    entry: ModelEntry,
    spec: ModelSpec,
    preprocess: Preprocess,
    id2label: Sequence[str],
    source: Mapping[str, Any],
    opset: int,
) -> None:
    """Write config.json, preprocessor_config.json and README.md for the files already in `folder`.

    Requires the ONNX files and the conformance vectors to be there: config.json records their hashes.
    """
    (folder / PREPROCESSOR_FILE).write_text(_json(preprocessor_config(preprocess)), encoding="utf-8")
    precisions = {path: precision for precision, path in MODEL_FILES.items()}
    files = {}
    for path in (*MODEL_FILES.values(), PREPROCESSOR_FILE, CONFORMANCE_FILE):
        file = folder / path
        if file.is_file():
            files[path] = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
            if path in precisions:
                files[path]["precision"] = precisions[path]
    config = {
        "schema_version": SCHEMA_VERSION,
        "name": entry.name,
        "model_type": entry.family,
        "architecture": spec.architecture.to_dict(),
        "image_size": spec.image_size,
        "num_classes": spec.num_classes,
        "num_features": spec.architecture.num_features,
        "preprocess": dataclasses.asdict(preprocess),
        "source": dict(source),
        "tools": tool_versions(),
        "opset": opset,
        "files": files,
        "id2label": {str(class_id): label for class_id, label in enumerate(id2label)},
    }
    (folder / CONFIG_FILE).write_text(_json(config), encoding="utf-8")
    (folder / CARD_FILE).write_text(model_card(read_artifact(folder)), encoding="utf-8")


def preprocessor_config(preprocess: Preprocess) -> dict[str, Any]:
    """The preprocessing in the words of transformers' image processors.

    BitImageProcessor is the one that resizes the short side and then crops the centre, as we do.
    """
    return {
        "image_processor_type": "BitImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": preprocess.resize_size},
        "resample": RESAMPLE_CODES[preprocess.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": preprocess.crop_size, "width": preprocess.crop_size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocess.mean),
        "image_std": list(preprocess.std),
    }


def _json(document: Mapping[str, Any]) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
