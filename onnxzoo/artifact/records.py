"""Records of validations and of accuracies in an artifact's config.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .config_fields import Fields, shown

MAX_COUNT = 10**12
"""Maximum count of images and the like."""
MAX_NUMBER = 1e30
"""Maximum difference between outputs."""


@dataclass(frozen=True, slots=True)
class ValidationRecord:
    """A passed validation, stored under `validations` in config.json; `onnxzoo.validators` writes it.

    `engine`, `version`, `device`, `precision`: what ran the model whose ONNX file had `model_sha256`.
    `reference`: what it was compared with, `conformance` (recorded when the artifact was made), `paddle` or `exact`
    (run then).
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

    @property
    def key(self) -> tuple[str, ...]:
        """A later record with the same key replaces this one."""
        return "validation", self.engine, self.device, self.precision, self.reference


@dataclass(frozen=True, slots=True)
class EvaluationRecord:
    """A measured accuracy, stored under `evaluations` in config.json; `onnxzoo eval --record` writes it.

    `engine`, `version`, `device`, `precision`: what ran the model whose ONNX file had `model_sha256`. `dataset`:
    description of the images; `images`: their number. `top1`, `top5`: fractions in [0, 1]. `date`: UTC, ISO 8601.
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

    @property
    def key(self) -> tuple[str, ...]:
        """A later record with the same key replaces this one."""
        return "evaluation", self.engine, self.device, self.precision, self.dataset


def parse_validation(values: Fields) -> ValidationRecord:
    """Read a record. Raises ValueError if it is not valid."""
    texts = ("engine", "version", "device", "precision", "model_sha256", "reference", "date")
    sizes = values.value("batch_sizes")
    if not isinstance(sizes, list) or not all(type(size) is int and size > 0 for size in sizes):
        raise ValueError(f"{values.named('batch_sizes')} must be a list of whole numbers from 1, got {shown(sizes)}")
    fields: dict[str, Any] = {key: values.text(key) for key in texts}
    fields |= {key: values.number(key, 0, MAX_NUMBER) for key in ("tolerance", "max_abs", "mean_abs")}
    return ValidationRecord(
        **fields,
        top1_agreement=values.number("top1_agreement", 0, 1),
        inputs=values.whole("inputs", 0, MAX_COUNT),
        batch_sizes=tuple(sizes),
    )


def parse_evaluation(values: Fields) -> EvaluationRecord:
    """Read a record. Raises ValueError if it is not valid."""
    texts = ("engine", "version", "device", "precision", "model_sha256", "dataset", "date")
    top1 = values.number("top1", 0, 1)
    return EvaluationRecord(
        **{key: values.text(key) for key in texts},
        images=values.whole("images", 1, MAX_COUNT),
        top1=top1,
        top5=values.number("top5", top1, 1),
    )
