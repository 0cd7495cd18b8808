"""Artifacts with records in their config.json: copies of what ships, validations, measured accuracies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from artifacts import copy_shipped

from onnxzoo.artifact.folder import Artifact, read_artifact
from onnxzoo.datasets import DATASETS
from onnxzoo.hub import shipped_models

SHIPPED = {folder.name: folder for folder in shipped_models()}


def copy(shipped: str, folder: Path, **config: Any) -> Path:
    """A shipped artifact in `folder`, with one validation of its model; `config` replaces keys of its config.json."""
    copy_shipped(folder, shipped)
    set_config(folder, **({"validations": [validation(folder)]} | config))
    return folder


def set_config(folder: Path, **keys: Any) -> None:
    """Replace top-level keys of the artifact's config.json."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys), encoding="utf-8")


def with_config(folder: Path, **keys: Any) -> Artifact:
    """The artifact, once `set_config` has replaced these keys."""
    set_config(folder, **keys)
    return read_artifact(folder)


def validation(folder: Path, **changes: Any) -> dict[str, Any]:
    """A validation of the folder's fp32 model as config.json keeps it."""
    ran = {"engine": "openvino", "version": "2026.4", "device": "CPU", "precision": "fp32", "reference": "conformance"}
    figures = {"tolerance": 1e-4, "inputs": 8, "batch_sizes": [1, 2, 8], "max_abs": 5e-6, "mean_abs": 1e-7}
    return ran | figures | {"top1_agreement": 1.0} | _of_the_model(folder) | changes


def evaluation(folder: Path, **changes: Any) -> dict[str, Any]:
    """An accuracy of the folder's fp32 model on ImageNet-1k as config.json keeps it."""
    ran = {"engine": "onnxruntime", "version": "1.31", "device": "CPU", "precision": "fp32"}
    figures = {"dataset": DATASETS["imagenet1k"].description, "images": 50_000, "top1": 0.7, "top5": 0.9}
    return ran | figures | _of_the_model(folder) | changes


def _of_the_model(folder: Path) -> dict[str, Any]:
    return {"model_sha256": read_artifact(folder).files["onnx/model.onnx"].sha256, "date": "2026-11-20T10:00:00Z"}
