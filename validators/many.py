"""Validates every model on this machine, one after the other, by the outputs recorded in their artifacts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..comparison.tolerances import tolerance_of
from ..engines import AUTO, engine_class
from ..errors import ModelNotFoundError, OnnxzooError
from ..hub import cached_models, shipped_models
from ..precisions import FP32
from ..source import resolve
from ..strict_json import plain
from .engine_checks import Check
from .result import PreprocessResult
from .validate import Validation


@dataclass(frozen=True, slots=True)
class Installed:
    """A model on this machine. `origin`: `package`, `cache` (exported) or `hub`. `place`: for `source.resolve`."""

    origin: str
    name: str
    place: str | Path


@dataclass(frozen=True, slots=True)
class ModelResult:
    """The result of one model; true if it passed.

    `origin`: as in `Installed`. `checks`, `failed`: their numbers. `max_abs`: largest difference from the recorded
    outputs among those that could be compared. `error`: one line, the first problem or the reason why the model could
    not be checked; "" if it passed. `skipped`: nothing failed, but something needed for the checks is missing.
    `unavailable`: what was not checked, and why.
    """

    model: str
    origin: str
    folder: str
    checks: int
    failed: int
    max_abs: float
    seconds: float
    error: str
    skipped: bool = False
    unavailable: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __bool__(self) -> bool:
        return not self.error


@dataclass(frozen=True, slots=True)
class Summary:
    """The results of all models; true if all passed. `preprocess`: None if it was not requested."""

    models: tuple[ModelResult, ...]
    preprocess: PreprocessResult | None = None

    def __bool__(self) -> bool:
        return bool(self.models) and all(self.models) and (self.preprocess is None or bool(self.preprocess))

    @property
    def failed(self) -> bool:
        """Whether something failed, not only was missing."""
        wrong = any(not one and not one.skipped for one in self.models)
        return wrong or (self.preprocess is not None and not self.preprocess)

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "models": [{**plain(one), "passed": bool(one)} for one in self.models],
            **({} if self.preprocess is None else self.preprocess.to_dict()),
            "passed": bool(self),
        }


def installed_models() -> tuple[Installed, ...]:
    """The shipped and exported models and those from the Hub. Raises ModelNotFoundError if there is no model at all."""
    from ..hub import inventory

    found = [Installed("package", folder.name, folder) for folder in shipped_models()]
    found += [Installed("cache", folder.name, folder) for folder in cached_models()]
    hub = (one for one in inventory.entries() if one.kind == inventory.HUB)
    found += [Installed("hub", one.name, f"{one.name}@{one.revision}") for one in hub]
    if not found:
        raise ModelNotFoundError(
            "there is no model on this machine to validate: none ships with this package and none is in the cache; "
            "make one: onnxzoo export NAME"
        )
    return tuple(found)


def validate_many(
    models: Sequence[Installed],
    choices: Mapping[str, Any],
    begin: Callable[[Installed, int, int], None] = lambda _model, _number, _count: None,
) -> Iterator[ModelResult]:
    """Validate one model after the other and yield each result as soon as it is known, also failures.

    Files of a model from the Hub that are not in the cache are downloaded. `choices`: arguments of every Validation.
    `begin` is called with each model, its number from 1 and the number of models.

    Raises InputError, before the first model, for choices that are invalid for all.
    """
    _refuse_nonsense(choices)

    def results() -> Iterator[ModelResult]:
        for number, model in enumerate(models, start=1):
            begin(model, number, len(models))
            yield _validate(model, choices)

    return results()


def _refuse_nonsense(choices: Mapping[str, Any]) -> None:
    """Raise InputError for invalid choices, which would otherwise look like a fault of every model."""
    for name in choices.get("engines", ()):
        if name != AUTO:
            engine_class(name)
    for precision in choices.get("precisions", (FP32,)):
        tolerance_of(precision, choices.get("tolerance"))


def _validate(model: Installed, choices: Mapping[str, Any]) -> ModelResult:
    started = time.perf_counter()
    checks: list[Check] = []
    error, skipped, folder, unavailable = "", False, Path(model.place), {}
    try:
        artifact = resolve(model.place, files=None).artifact
        folder = artifact.folder
        validation = Validation(artifact, **choices)
        # Results from before the missing item was found are kept.
        checks, unavailable = validation.checks, validation.unavailable
        for _ in validation.run():
            pass
    except OnnxzooError as problem:
        error = str(problem)
        # A missing engine, or a precision that model or engine lacks, is not a fault of the model.
        skipped = problem.exit_code != OnnxzooError.exit_code
    failed = [check for check in checks if not check]
    if failed and (skipped or not error):
        skipped = False
        first = failed[0]
        error = f"{first.requested}, {first.reference}, batch {first.batch_size}: {first.comparison.problems[0]}"
    values = [check.comparison.max_abs for check in checks if check.comparison.outputs]
    return ModelResult(
        model=model.name,
        origin=model.origin,
        folder=str(folder),
        checks=len(checks),
        failed=len(failed),
        max_abs=max(values, default=float("nan")),
        seconds=time.perf_counter() - started,
        error=error,
        skipped=skipped,
        unavailable=unavailable,
    )
