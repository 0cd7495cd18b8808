"""The artifact: one folder with everything needed to run one model.

    config.json               what programs need: classes, architecture, image size, preprocessing, source, files
    preprocessor_config.json  the preprocessing in the format of transformers' image processors
    onnx/model.onnx           fp32; further precisions as model_fp16.onnx, model_int8.onnx
    conformance.npz           a few inputs and the reference's outputs, recorded when the artifact was made
    README.md                 model card (not listed under `files`: it may be edited)

This module reads such a folder and checks it; `onnxzoo.exports` writes it. Everything in the folder
is untrusted: paths may not leave it, sizes and hashes must match config.json.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ArtifactError, InputError, RegistryError
from ..families import Architecture
from ..files import readable
from ..precisions import FP32, PRECISIONS
from ..registry import (
    MAX_IMAGE_SIZE,
    ModelEntry,
    Preprocess,
    architecture_from_dict,
    labels,
    models,
    preprocess_from_dict,
)
from ..strict_json import parse_json
from .config_fields import Fields
from .file import ArtifactFile, may_lie_at, parse_file
from .onnx_checks import KNOWN, Interface, Trust, check_onnx
from .records import EvaluationRecord, ValidationRecord, parse_evaluation, parse_validation
from .remake import renewal

SCHEMA_VERSION = 1
CONFIG_FILE = "config.json"
PREPROCESSOR_FILE = "preprocessor_config.json"
CONFORMANCE_FILE = "conformance.npz"
CARD_FILE = "README.md"
MODEL_FILES: Mapping[str, str] = {name: one.file for name, one in PRECISIONS.items() if one.file is not None}
"""Path of the ONNX file by precision, for precisions that have one."""
INPUT_NAME = "pixel_values"
"""Name of the ONNX file's input and of the array in conformance.npz, as in transformers, optimum, transformers.js."""
OUTPUT_NAMES = ("logits", "embedding")
MAX_CONFIG_BYTES = 2 * 2**20
MAX_CLASSES = 100_000
MAX_FILES = 256


@dataclass(frozen=True, slots=True, repr=False)
class Artifact:
    """An artifact folder whose config.json has been read and checked (the other files have not).

    `id2label[i]` names class i. `source` and `tools` are the provenance from config.json; `config` is the whole
    document, including keys unknown to this version. `trust`: which graphs are accepted in its ONNX files, see
    `onnxzoo.artifact.onnx_checks`.
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
    trust: Trust = KNOWN

    def __repr__(self) -> str:
        precisions = ", ".join(self.precisions) or "no ONNX file"
        return f"<Artifact {self.name!r} in {str(self.folder)!r}: {self.num_classes} classes, {precisions}>"

    @property
    def assembled(self) -> bool:
        """Whether it was made from weights and a graph that ships, and its vectors recorded from the exact reference.

        Otherwise it was exported, and Paddle gave the numbers.
        """
        return self.source.get("graph_sha256") is not None

    @property
    def config_file(self) -> Path:
        """Its config.json."""
        return self.folder / CONFIG_FILE

    @property
    def num_classes(self) -> int:
        """Number of logits."""
        return len(self.id2label)

    @property
    def precisions(self) -> tuple[str, ...]:
        """Precisions with an ONNX file."""
        return tuple(file.precision for file in self.files.values() if file.precision)

    def validated(self, precision: str) -> tuple[ValidationRecord, ...]:
        """The validations that the ONNX file now listed for this precision has passed."""
        return tuple(one for one in self.validations if self._is_current(one, precision))

    def evaluated(self, precision: str) -> tuple[EvaluationRecord, ...]:
        """The accuracies measured with the ONNX file now listed for this precision."""
        return tuple(one for one in self.evaluations if self._is_current(one, precision))

    def _is_current(self, record: ValidationRecord | EvaluationRecord, precision: str) -> bool:
        hashes = {file.sha256 for file in self.files.values() if file.precision == precision}
        return record.precision == precision and record.model_sha256 in hashes

    @property
    def fetched_files(self) -> tuple[ArtifactFile, ...]:
        """The files listed in config.json that belong to the artifact format; only these are up- or downloaded."""
        known = (PREPROCESSOR_FILE, CONFORMANCE_FILE)
        return tuple(file for file in self.files.values() if file.precision or file.path in known)

    def announced_model(self, precision: str) -> ArtifactFile | None:
        """The entry of this precision's ONNX file in config.json; None if the artifact has no such precision."""
        return next((file for file in self.files.values() if file.precision == precision), None)

    def model_file(self, precision: str = FP32) -> Path:
        """The verified ONNX file of this precision.

        Raises InputError if the artifact has no such precision, ArtifactError if the file is missing, does not match
        config.json, refers to data in other files, has other inputs or outputs than config.json implies, or, unless
        `trust` is `any`, is not a graph of the known operators.
        """
        return self.checked_graph(self.verified(self.required_model(precision).path))

    def checked_graph(self, found: Path) -> Path:
        """Return `found`, an ONNX file with verified bytes, if its graph may be run.

        Raises ArtifactError as `model_file` does.
        """
        check_onnx(
            found,
            self.interface,
            schema_version=self.config["schema_version"],
            trust=self.trust,
            advice=lambda inputs: renewal(self, inputs),
        )
        return found

    @property
    def interface(self) -> Interface:
        """Inputs and outputs of the artifact's ONNX files."""
        logits, embedding = OUTPUT_NAMES
        return Interface(
            {INPUT_NAME: (None, 3, self.image_size, self.image_size)},
            {logits: (None, self.num_classes), embedding: (None, self.architecture.num_features)},
        )

    def required_model(self, precision: str) -> ArtifactFile:
        """The entry of this precision's ONNX file in config.json; raises InputError if there is none."""
        file = self.announced_model(precision)
        if file is None:
            others = ", ".join(self.precisions) or "none"
            raise InputError(f"{self.name} has no {precision!r} model; available precisions: {others}")
        return file

    @property
    def remedy(self) -> str:
        """What to do about a file that is damaged or missing."""
        if self.assembled:
            return f"assemble the model again: onnxzoo download {self.name} --source timm"
        return "export or download the model again"

    def verified(self, path: str) -> Path:
        """The file at this relative path, after checking its size and SHA-256.

        Raises ArtifactError naming the file.
        """
        announced = self.files.get(path)
        if announced is None:
            raise ArtifactError(f"{self.config_file} does not list {path!r}; the artifact is incomplete")
        found = self.folder / announced.path
        with readable(found):
            if not found.is_file():
                raise ArtifactError(f"{found} is missing, though {CONFIG_FILE} lists it; {self.remedy}")
            if not may_lie_at(found, self.folder):
                raise ArtifactError(f"{found} leads outside the artifact's folder")
            problem = announced.problem(found)
        if problem is not None:
            raise ArtifactError(f"{found} {problem}; {self.remedy}")
        return found

    def verify(self) -> None:
        """Check every file listed in config.json as on opening it; raises ArtifactError naming the first bad one."""
        for path, file in self.files.items():
            if file.precision is not None and file.precision in MODEL_FILES:
                self.model_file(file.precision)
            else:
                self.verified(path)


def documented_entry(artifact: Artifact) -> ModelEntry | None:
    """The registry's entry if its accuracy applies to this model's classes, which differ after fine-tuning."""
    entry = models().get(artifact.name)
    return entry if entry is not None and artifact.id2label == labels(entry.labels) else None


def is_artifact(folder: Path) -> bool:
    """Whether the folder looks like an artifact, which has a config.json.

    Raises ArtifactError if it cannot be looked at.
    """
    with readable(folder):
        return (folder / CONFIG_FILE).is_file()


def read_artifact(folder: Path, trust: Trust = KNOWN) -> Artifact:
    """Read and check the config.json of an artifact folder. `trust`: which graphs are accepted in its ONNX files.

    Raises ArtifactError if config.json is missing, malformed, unsafe or of a newer schema.
    """
    return dataclasses.replace(parse_config(folder, config_bytes(folder)), trust=trust)


def config_bytes(folder: Path) -> bytes:
    """The bytes of an artifact's config.json; raises ArtifactError if it is missing or too large."""
    path = folder / CONFIG_FILE
    with readable(path):
        if not path.is_file():
            raise ArtifactError(f"{folder} is not an artifact: it has no {CONFIG_FILE}")
        with path.open("rb") as file:
            data = file.read(MAX_CONFIG_BYTES + 1)
    if len(data) > MAX_CONFIG_BYTES:
        raise ArtifactError(f"{path} has more than {MAX_CONFIG_BYTES} bytes")
    return data


def parse_config(folder: Path, data: bytes) -> Artifact:
    """The artifact in `folder` described by these bytes of its config.json; raises as `read_artifact` does."""
    path = folder / CONFIG_FILE
    try:
        config = parse_json(data)
    except ValueError as error:
        raise ArtifactError(f"{path} cannot be read: {error}; export or download the model again") from None
    if not isinstance(config, dict) or "schema_version" not in config:
        raise ArtifactError(f"{path} is not an onnxzoo artifact: it has no schema_version; another tool wrote it")
    version = config["schema_version"]
    if type(version) is int and version > SCHEMA_VERSION:
        raise ArtifactError(
            f"{path} has schema version {version}, this onnxzoo reads up to {SCHEMA_VERSION}; upgrade onnxzoo"
        )
    try:
        return _parse(folder, Fields(config))
    except (ValueError, RegistryError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{path} is malformed: {error}") from None


def _parse(folder: Path, config: Fields) -> Artifact:
    config.whole("schema_version", 1, SCHEMA_VERSION)
    family = config.text("model_type")
    architecture = architecture_from_dict(family, config.object("architecture").values)
    preprocess = preprocess_from_dict(config.object("preprocess").values)
    image_size = config.whole("image_size", 1, MAX_IMAGE_SIZE)
    if image_size != preprocess.crop_size or image_size % architecture.size_multiple:
        raise ValueError(
            f"image_size must equal crop_size {preprocess.crop_size} and be a multiple of "
            f"{architecture.size_multiple}, got {image_size}"
        )
    names = _names(config.object("id2label"))
    for key, count in (("num_classes", len(names)), ("num_features", architecture.num_features)):
        if key in config.values:
            config.whole(key, count, count)
    return Artifact(
        folder=folder,
        name=config.text("name", least=1),
        family=family,
        architecture=architecture,
        image_size=image_size,
        id2label=names,
        preprocess=preprocess,
        source=config.plain("source"),
        tools=config.plain("tools"),
        files=_files(config.object("files")),
        validations=tuple(map(parse_validation, config.objects("validations"))),
        evaluations=tuple(map(parse_evaluation, config.objects("evaluations"))),
        config=config.values,
    )


def _names(id2label: Fields) -> tuple[str, ...]:
    count = len(id2label.values)
    keys = [str(number) for number in range(count)]
    if id2label.values.keys() != set(keys) or not 0 < count <= MAX_CLASSES:
        raise ValueError(f"id2label must have the keys 0, 1, 2, ... without a gap, up to {MAX_CLASSES} of them")
    return tuple(id2label.text(key) for key in keys)


def _files(listed: Fields) -> dict[str, ArtifactFile]:
    if len(listed.values) > MAX_FILES:
        raise ValueError(f"files must list up to {MAX_FILES} files, got {len(listed.values)}")
    files = {path: parse_file(path, listed.object(path)) for path in listed.values}
    precisions = [file.precision for file in files.values() if file.precision is not None]
    if len(set(precisions)) < len(precisions):
        raise ValueError(f"files must list one ONNX file per precision, got {', '.join(map(str, precisions))}")
    return files
