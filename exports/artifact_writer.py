"""Writing the files of an artifact folder; `onnxzoo.artifact.folder` says what they are and reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..artifact.folder import CARD_FILE, SCHEMA_VERSION, read_artifact
from ..artifact.writing import described_files, write_config, write_preprocessor_config
from ..families import ModelSpec
from ..hub.card import model_card
from ..packages import installed_versions
from ..registry import ModelEntry, Preprocess

TOOLS = ("onnxzoo", "paddlepaddle", "paddlepaddle-gpu", "paddle2onnx", "onnx", "onnxsim", "numpy", "pillow")


def tool_versions() -> dict[str, str]:
    """Versions of the packages that take part in an export, by name; Paddle comes as one of two packages."""
    return installed_versions(TOOLS)


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
    write_preprocessor_config(folder, preprocess)
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
        "files": described_files(folder),
        "id2label": {str(class_id): label for class_id, label in enumerate(id2label)},
    }
    write_config(folder, config)
    (folder / CARD_FILE).write_text(model_card(read_artifact(folder)), encoding="utf-8")
