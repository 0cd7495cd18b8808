"""The artifact: one folder that holds everything needed to run one model.

    config.json               what programs need: classes, architecture, image size, preprocessing, source, files
    preprocessor_config.json  the preprocessing in the words of transformers' image processors
    onnx/model.onnx           fp32; further precisions as model_fp16.onnx, model_int8.onnx
    conformance.npz           a few inputs and the reference's outputs, recorded at export
    README.md                 model card (not listed under `files`: it may be edited)

This module reads such a folder and checks it; `onnxzoo.exports` writes it. Everything in the folder
is untrusted: paths may not leave it, sizes and hashes must be those that config.json announces.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .artifact_file import ArtifactFile, may_lie_at, parse_file
from .errors import ArtifactError, InputError, RegistryError
from .external_data import refuse_external_data
from .registry import (
    Architecture,
    ModelEntry,
    Preprocess,
    architecture_from_dict,
    labels,
    models,
    preprocess_from_dict,
)

SCHEMA_VERSION = 1
CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
CONFORMANCE_FILE = "conformance.npz"
CARD_FILE = "README.md"
MODEL_FILES: Mapping[str, str] = {
    "fp32": "onnx/model.onnx",
    "fp16": "onnx/model_fp16.onnx",
    "int8": "onnx/model_int8.onnx",
}
INPUT_NAME = "image"
OUTPUT_NAMES = ("logits", "embedding")
MAX_CONFIG_BYTES = 2 * 2**20


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """A validation that passed, as config.json keeps it under `validations`; `onnxzoo.validators` writes it.

    `engine`, `version`, `device`, `precision`: what ran the model whose ONNX file had `model_sha256`.
    `reference`: what it was compared with, `conformance` (recorded at export) or `paddle` (run then).
    `inputs`: number of images; `batch_sizes`: each ran at all of these. `max_abs`, `mean_abs`: of the differences,
    all within `tolerance` + `tolerance` * |reference|. `top1_agreement`: in [0, 1]. `date`: UTC, ISO 8601.
    """

    engine: str
    version: str
    device: str
    precision: str
    model_sha256: str
    reference: str
    tolerance: float
    inputs: int
    batch_sizes: tuple[int, ...]
    max_abs: float
    mean_abs: float
    top1_agreement: float
    date: str


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """An accuracy that was measured, as config.json keeps it under `evaluations`; `onnxzoo eval --record` writes it.

    `engine`, `version`, `device`, `precision`: what ran the model whose ONNX file had `model_sha256`. `dataset`: what
    it was measured on, in words; `images`: how many. `top1`, `top5`: fractions in [0, 1]. `date`: UTC, ISO 8601.
    """

    engine: str
    version: str
    device: str
    precision: str
    model_sha256: str
    dataset: str
    images: int
    top1: float
    top5: float
    date: str


@dataclass(frozen=True, slots=True, repr=False)
class Artifact:
    """An artifact folder whose config.json has been read and checked (the other files have not).

    `id2label[i]` names class i. `source` and `tools` are the provenance as config.json holds it;
    `config` is the whole document, with the keys that this version does not know.
    """

    folder: Path
    name: str
    family: str
    architecture: Architecture
    image_size: int
    id2label: tuple[str, ...]
    preprocess: Preprocess
    source: Mapping[str, Any]
    tools: Mapping[str, str]
    files: Mapping[str, ArtifactFile]
    validations: tuple[ValidationRecord, ...]
    evaluations: tuple[EvaluationRecord, ...]
    config: Mapping[str, Any]

    def __repr__(self) -> str:
        precisions = ", ".join(self.precisions) or "no ONNX file"
        return f"<Artifact {self.name!r} in {str(self.folder)!r}: {self.num_classes} classes, {precisions}>"

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return len(self.id2label)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions that there is an ONNX file for."""
        return tuple(file.precision for file in self.files.values() if file.precision)

    def validated(self, precision: str) -> tuple[ValidationRecord, ...]:
        """The validations that this precision's ONNX file passed as config.json lists it now."""
        return tuple(one for one in self.validations if self._is_current(one, precision))

    def evaluated(self, precision: str) -> tuple[EvaluationRecord, ...]:
        """The accuracies measured with this precision's ONNX file as config.json lists it now."""
        return tuple(one for one in self.evaluations if self._is_current(one, precision))

    def _is_current(self, record: ValidationRecord | EvaluationRecord, precision: str) -> bool:
        hashes = {file.sha256 for file in self.files.values() if file.precision == precision}
        return record.precision == precision and record.model_sha256 in hashes

    @property
    def fetched_files(self) -> tuple[ArtifactFile, ...]:
        """Of what config.json lists, the files that an artifact has by its format: no others leave or enter here."""
        known = (PREPROCESSOR_FILE, CONFORMANCE_FILE)
        return tuple(file for file in self.files.values() if file.precision or file.path in known)

    def announced_model(self, precision: str) -> ArtifactFile | None:
        """The ONNX file of this precision as config.json announces it; None when the artifact has no such precision."""
        return next((file for file in self.files.values() if file.precision == precision), None)

    def model_file(self, precision: str = "fp32") -> Path:
        """The verified ONNX file of this precision.

        Raises InputError when the artifact has no such precision, ArtifactError when the file is
        missing, is not the one that config.json announces, or refers to data in other files.
        """
        found = self.verified(self.required_model(precision).path)
        refuse_external_data(found)
        return found

    def required_model(self, precision: str) -> ArtifactFile:
        """The ONNX file of this precision as config.json announces it; raises InputError where there is none."""
        file = self.announced_model(precision)
        if file is None:
            raise InputError(f"{self.name} has no {precision!r} model; it has {', '.join(self.precisions) or 'none'}")
        return file

    def verified(self, path: str) -> Path:
        """The file at this relative path, once its size and SHA-256 are found to be as announced.

        Raises ArtifactError naming the file.
        """
        announced = self.files.get(path)
        if announced is None:
            raise ArtifactError(f"{self.folder / CONFIG_FILE} lists no file {path!r}; the artifact is incomplete")
        found = self.folder / announced.path
        if not found.is_file():
            raise ArtifactError(
                f"{found} is missing, though {CONFIG_FILE} lists it; export or download the model again"
            )
        if not may_lie_at(found, self.folder):
            raise ArtifactError(f"{found} leads outside the artifact's folder")
        try:
            problem = announced.problem(found)
        except OSError as error:
            raise ArtifactError(f"{found} cannot be read: {error}") from None
        if problem is not None:
            raise ArtifactError(f"{found} {problem}; export or download the model again")
        return found

    def verify(self) -> None:
        """Check every file that config.json lists; raises ArtifactError naming the first bad one."""
        for path in self.files:
            self.verified(path)


def documented_entry(artifact: Artifact) -> ModelEntry | None:
    """The registry's entry, if its accuracy is about this model's classes, as it is not after fine-tuning to others."""
    entry = models().get(artifact.name)
    return entry if entry is not None and artifact.id2label == labels(entry.labels) else None


def is_artifact(folder: Path) -> bool:
    """Whether the folder looks like an artifact: it has a config.json."""
    return (folder / CONFIG_FILE).is_file()


def read_artifact(folder: Path) -> Artifact:
    """Read and check the config.json of an artifact folder.

    Raises ArtifactError when there is none, or it is malformed, unsafe or of a newer schema.
    """
    return parse_config(folder, config_bytes(folder))


def config_bytes(folder: Path) -> bytes:
    """The config.json of an artifact folder as it is; raises ArtifactError when there is none of a sensible size."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise ArtifactError(f"{folder} is not an artifact: it has no {CONFIG_FILE}")
    try:
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise ArtifactError(f"{path} has more than {MAX_CONFIG_BYTES} bytes")
    return data


def parse_config(folder: Path, data: bytes) -> Artifact:
    """The artifact in `folder` as these bytes of its config.json describe it; raises as `read_artifact` does."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(data.decode("utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    if not isinstance(config, dict) or not isinstance(config.get("schema_version"), int):
        raise ArtifactError(f"{path} is not an onnxzoo artifact: it has no schema_version")
    if config["schema_version"] > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {config['schema_version']}, this onnxzoo reads up to {SCHEMA_VERSION}; "
            "upgrade onnxzoo"
        )
    try:
        return _parse(folder, config)
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if isinstance(error, ArtifactError):
            raise
        reason = f"{error.args[0]!r} is missing" if type(error) is KeyError else str(error)
        raise ArtifactError(f"{path} is malformed: {reason}") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of config.json. Of two equal keys readers take one or the other: nobody knows what was checked."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        if key in values:
            raise ValueError(f"the key {key[:80]!r} is in one object twice")
        values[key] = value
    return values


def _parse(folder: Path, config: Mapping[str, Any]) -> Artifact:
    try:
        architecture = architecture_from_dict(config["model_type"], config["architecture"])
        preprocess = preprocess_from_dict(config["preprocess"])
    except RegistryError as error:
        raise ValueError(str(error)) from None
    image_size = int(config["image_size"])
    if image_size != preprocess.crop_size or image_size % architecture.size_multiple:
        raise ValueError(
            f"image_size must equal crop_size {preprocess.crop_size} and be a multiple of "
            f"{architecture.size_multiple}, got {image_size}"
        )
    for key in ("source", "tools"):
        if not isinstance(config[key], dict):
            raise ValueError(f"{key} must be an object, got {type(config[key]).__name__}")
    id2label = config["id2label"]
    if sorted(id2label, key=int) != [str(i) for i in range(len(id2label))] or not id2label:
        raise ValueError("id2label must have the keys 0, 1, 2, ... without a gap")
    files = {path: parse_file(path, values) for path, values in config["files"].items()}
    precisions = [file.precision for file in files.values() if file.precision is not None]
    if len(set(precisions)) < len(precisions):
        raise ValueError(f"files must hold one ONNX file a precision, got {', '.join(map(str, precisions))}")
    return Artifact(
        folder=folder,
        name=str(config["name"]),
        family=config["model_type"],
        architecture=architecture,
        image_size=image_size,
        id2label=tuple(str(id2label[str(i)]) for i in range(len(id2label))),
        preprocess=preprocess,
        source=config["source"],
        tools=config["tools"],
        files=files,
        validations=tuple(_parse_validation(values) for values in config.get("validations", ())),
        evaluations=tuple(_parse_evaluation(values) for values in config.get("evaluations", ())),
        config=config,
    )


def _parse_validation(values: Mapping[str, Any]) -> ValidationRecord:
    texts = ("engine", "version", "device", "precision", "model_sha256", "reference", "date")
    numbers = ("tolerance", "max_abs", "mean_abs", "top1_agreement")
    fields: dict[str, Any] = {key: str(values[key]) for key in texts}
    fields |= {key: float(values[key]) for key in numbers}
    if not all(math.isfinite(fields[key]) for key in numbers):
        raise ValueError(f"validations must hold finite numbers, got {[fields[key] for key in numbers]}")
    return ValidationRecord(
        **fields,
        inputs=int(values["inputs"]),
        batch_sizes=tuple(int(size) for size in values["batch_sizes"]),
    )


def _parse_evaluation(values: Mapping[str, Any]) -> EvaluationRecord:
    texts = ("engine", "version", "device", "precision", "model_sha256", "dataset", "date")
    fields: dict[str, Any] = {key: str(values[key]) for key in texts}
    record = EvaluationRecord(
        **fields, images=int(values["images"]), top1=float(values["top1"]), top5=float(values["top5"])
    )
    if not 0 <= record.top1 <= record.top5 <= 1 or record.images < 1:
        raise ValueError(f"evaluations must hold fractions top1 <= top5 of at least one image, got {record}")
    return record
