"""The only writer of config.json and preprocessor_config.json."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ArtifactError
from ..families import ModelSpec
from ..files import atomic_write, sha256_of
from ..packages import installed_versions
from ..registry import ModelEntry, Preprocess
from .folder import (
    CARD_FILE,
    CONFIG_FILE,
    CONFORMANCE_FILE,
    MODEL_FILES,
    PREPROCESSOR_FILE,
    SCHEMA_VERSION,
    Artifact,
    read_artifact,
)
from .records import EvaluationRecord, ValidationRecord

# Pillow's codes, which transformers' image processors use.
RESAMPLE_CODES = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3}

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
    tools: Mapping[str, str],
    opset: int,
    card: Callable[[Artifact], str],
    more: Mapping[str, Any] | None = None,
) -> None:
    """Write config.json, preprocessor_config.json and README.md for the files already in `folder`.

    `tools`: versions of what made the files. `card`: makes the text of the README. `more`: further keys of config.json.
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
        "tools": dict(tools),
        "opset": opset,
        **(more or {}),
        "files": described_files(folder),
        "id2label": {str(class_id): label for class_id, label in enumerate(id2label)},
    }
    write_config(folder, config)
    (folder / CARD_FILE).write_text(card(read_artifact(folder)), encoding="utf-8")


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """Write config.json, replacing it whole. Raises ArtifactError when it cannot be written."""
    _write(folder / CONFIG_FILE, config)


def write_preprocessor_config(folder: Path, preprocess: Preprocess) -> None:
    """Write the preprocessing in the format of transformers' image processors.

    BitImageProcessor resizes the short side and then crops the centre, as we do.
    """
    document = {
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
    _write(folder / PREPROCESSOR_FILE, document)


def described_files(folder: Path) -> dict[str, dict[str, Any]]:
    """The entries for config.json of the artifact's files in `folder`: SHA-256, size, and precision of a model."""
    precisions = {path: precision for precision, path in MODEL_FILES.items()}
    files: dict[str, dict[str, Any]] = {}
    for path in (*MODEL_FILES.values(), PREPROCESSOR_FILE, CONFORMANCE_FILE):
        file = folder / path
        if file.is_file():
            files[path] = {"sha256": sha256_of(file), "bytes": file.stat().st_size}
            if path in precisions:
                files[path]["precision"] = precisions[path]
    return files


def add_model(folder: Path, precision: str, *, weights_bits: int | None = None) -> Artifact:
    """Add the ONNX file of this precision, already in place in `folder`, to config.json; everything else is kept.

    `weights_bits`: of an int8 file's weights. Raises ArtifactError if there is no artifact, no such file, or
    config.json cannot be written.
    """
    current = read_artifact(folder)
    path = MODEL_FILES[precision]
    file = folder / path
    if not file.is_file():
        raise ArtifactError(f"{file} is missing; it must be there before {CONFIG_FILE} can list it")
    entry: dict[str, Any] = {"sha256": sha256_of(file), "bytes": file.stat().st_size, "precision": precision}
    if weights_bits is not None:
        entry["weights_bits"] = weights_bits
    write_config(folder, {**current.config, "files": {**current.config["files"], path: entry}})
    return read_artifact(folder)


def forget_missing(folder: Path) -> None:
    """Remove files that are not in `folder` from config.json, which a partial copy of a Hub repo needs.

    Raises ArtifactError if there is no artifact, or config.json cannot be written.
    """
    current = read_artifact(folder)
    here = {path: entry for path, entry in current.config["files"].items() if (folder / path).is_file()}
    if len(here) < len(current.files):
        write_config(folder, {**current.config, "files": here})


def add_records(artifact: Artifact, records: Sequence[ValidationRecord | EvaluationRecord], *, changed: str) -> None:
    """Add records of one kind to config.json. Everything else in the file is kept.

    A record replaces an earlier one with the same `key`; records of ONNX files that no longer exist are removed.
    `changed` ends the error message for an artifact whose files have changed since it was read, and says what to do.

    Raises ArtifactError if they have, or config.json cannot be written.
    """
    current = read_artifact(artifact.folder)
    if current.files != artifact.files:
        raise ArtifactError(f"{artifact.config_file} {changed}")
    replaced = {record.key for record in records}
    for field, kind, valid in (
        ("validations", ValidationRecord, current.validated),
        ("evaluations", EvaluationRecord, current.evaluated),
    ):
        new = [record for record in records if isinstance(record, kind)]
        if new:
            kept = [old for known in current.precisions for old in valid(known) if old.key not in replaced]
            merged = {field: [dataclasses.asdict(record) for record in (*kept, *new)]}
            current = dataclasses.replace(current, config={**current.config, **merged})
    write_config(artifact.folder, current.config)


def _write(path: Path, document: Mapping[str, Any]) -> None:
    try:
        with atomic_write(path) as stream:
            stream.write((json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error
