"""`onnxzoo validate --all`: every model on this machine, one after the other, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelNotFoundError, OnnxzooError
from ..hub import cached_models, shipped_models
from ..precisions import FP32
from ..source import resolve
from ..validators.tolerances import tolerance_of
from .output import report, say
from .validate_text import plain

if TYPE_CHECKING:
    from ..validators.engine_checks import Check


@dataclass(frozen=True, slots=True)
class Result:
    """How one model fared; true when it passed.

    `origin`: `package`, `cache` (exported) or `hub`. `checks`, `failed`: their numbers. `max_abs`: largest difference
    from the recorded outputs, of those that could be compared. `error`: one line, the first problem or what kept the
    model from being checked; "" when it passed. `skipped`: nothing failed, but something that checking it needs is
    missing. `unavailable`: what was not checked, and why.
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


def validate_all(choices: Mapping[str, Any], document: dict[str, Any], *, quiet: bool) -> int:
    """Validate what ships, was exported or came from the Hub, by its conformance vectors; returns an exit code.

    0: all passed; 1: one failed; 3: none did, but some could not be checked, for want of an engine or of the precision.

    What a model from the Hub lacks for that in the cache is downloaded. `choices`: arguments of every Validation.
    Progress goes to stderr, the summary to stdout unless `quiet`, and into `document`.
    Raises ModelNotFoundError when there is no model at all, InputError for choices that make no sense for any.
    """
    from ..hub import inventory

    _refuse_nonsense(choices)
    found: list[tuple[str, str, str | Path]] = [("package", folder.name, folder) for folder in shipped_models()]
    found += [("cache", folder.name, folder) for folder in cached_models()]
    found += [
        ("hub", one.name, f"{one.name}@{one.revision}") for one in inventory.entries() if one.kind == inventory.HUB
    ]
    if not found:
        raise ModelNotFoundError(
            "there is no model on this machine to validate: none ships with this package and none is in the cache; "
            "make one: onnxzoo export NAME"
        )
    results = []
    for number, (origin, name, place) in enumerate(found, start=1):
        say(f"{name} ({number} of {len(found)})", err=True)
        results.append(_validate_one(origin, name, place, choices))
        if results[-1].error:
            report(f"{results[-1].folder}: {results[-1].error}")
    if not quiet:
        _print(results)
    document["models"] = [{**plain(result), "passed": bool(result)} for result in results]
    if any(not result and not result.skipped for result in results):
        return 1
    return ModelNotFoundError.exit_code if not all(results) else 0


def _refuse_nonsense(choices: Mapping[str, Any]) -> None:
    """Raise InputError for what would otherwise look like the fault of every model."""
    from ..engines import AUTO, engine_class

    for name in choices.get("engines", ()):
        if name != AUTO:
            engine_class(name)
    for precision in choices.get("precisions", (FP32,)):
        tolerance_of(precision, choices.get("tolerance"))


def _validate_one(origin: str, name: str, place: str | Path, choices: Mapping[str, Any]) -> Result:
    from ..validators.validate import Validation

    started = time.perf_counter()
    checks: list[Check] = []
    error, skipped, folder, unavailable = "", False, Path(place), {}
    try:
        artifact = resolve(place, files=None).artifact
        folder = artifact.folder
        validation = Validation(artifact, **choices)
        # What was found before something is missing counts.
        checks, unavailable = validation.checks, validation.unavailable
        for _ in validation.run():
            pass
    except OnnxzooError as problem:
        error = str(problem)
        # Nothing is wrong with the model where an engine is missing, or the model or engine has no such precision.
        skipped = problem.exit_code != OnnxzooError.exit_code
    failed = [check for check in checks if not check]
    if failed and (skipped or not error):
        skipped = False
        first = failed[0]
        error = f"{first.requested}, {first.reference}, batch {first.batch_size}: {first.comparison.problems[0]}"
    values = [check.comparison.max_abs for check in checks if check.comparison.outputs]
    largest = max(values, default=float("nan"))
    seconds = time.perf_counter() - started
    return Result(name, origin, str(folder), len(checks), len(failed), largest, seconds, error, skipped, unavailable)


def _print(results: list[Result]) -> None:
    say(f"{'model':<24}{'from':<9}{'checks':>7}{'failed':>8}{'max':>11}{'seconds':>9}  result")
    missing = {(name, why) for result in results for name, why in result.unavailable.items() if why != result.error}
    for result in results:
        largest = "-" if result.max_abs != result.max_abs else f"{result.max_abs:.2e}"
        say(
            f"{result.model:<24}{result.origin:<9}{result.checks:>7}{result.failed:>8}{largest:>11}{result.seconds:>9.1f}"
            f"  {result.error and ('skipped: ' if result.skipped else 'FAILED: ')}{result.error or 'passed'}"
        )
    for name, why in sorted(missing):
        say(f"{name}: not checked: {why}")
    passed, skipped = sum(map(bool, results)), sum(result.skipped for result in results)
    if passed + skipped < len(results):
        say(f"FAILED: {passed} of {len(results)} models")
    elif skipped:
        say(f"incomplete: {passed} of {len(results)} models passed, {skipped} skipped")
    else:
        say(f"passed: {passed} of {len(results)} models")
