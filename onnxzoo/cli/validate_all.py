"""`onnxzoo validate --all`: every model on this machine, one after the other, and the table at the end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from ..artifact import read_artifact
from ..errors import EngineUnavailableError, ModelNotFoundError, OnnxzooError
from ..hub import cached_models, find_artifact, shipped_models
from . import one_line, report
from .validate_text import plain


@dataclass(frozen=True, slots=True)
class Result:
    """How one model fared; true when it passed.

    `origin`: `package`, `cache` (exported) or `hub`. `checks`, `failed`: their numbers. `max_abs`: largest difference
    from the recorded outputs, of those that could be compared. `error`: one line, the first problem or what kept the
    model from being checked; "" when it passed.
    """

    model: str
    origin: str
    folder: str
    checks: int
    failed: int
    max_abs: float
    seconds: float
    error: str

    def __bool__(self) -> bool:
        return not self.error


def validate_all(choices: Mapping[str, Any], document: dict[str, Any], *, quiet: bool) -> bool:
    """Validate what ships, was exported or came from the Hub, by its conformance vectors; whether all passed.

    What a model from the Hub lacks for that in the cache is downloaded.
    `choices`: arguments of every Validation. Progress goes to stderr, the summary to stdout unless `quiet`, and into
    `document`. Raises ModelNotFoundError when there is no model at all, EngineUnavailableError when an engine that was
    asked for, or every one, cannot be used here: that is no fault of a model.
    """
    from ..hub import cache

    found: list[tuple[str, str, str | Path]] = [("package", folder.name, folder) for folder in shipped_models()]
    found += [("cache", folder.name, folder) for folder in cached_models()]
    found += [("hub", one.name, f"{one.name}@{one.revision}") for one in cache.entries() if one.kind == cache.HUB]
    if not found:
        raise ModelNotFoundError(
            "there is no model on this machine to validate: none ships with this package and none is in the cache; "
            "make one: onnxzoo export NAME"
        )
    results = []
    for number, (origin, name, place) in enumerate(found, start=1):
        click.echo(f"{name} ({number} of {len(found)})", err=True)
        results.append(_validate_one(origin, name, place, choices))
        if results[-1].error:
            report(f"{results[-1].folder}: {results[-1].error}")
    if not quiet:
        _print(results)
    document["models"] = [{**plain(result), "passed": bool(result)} for result in results]
    return all(results)


def _validate_one(origin: str, name: str, place: str | Path, choices: Mapping[str, Any]) -> Result:
    from ..validators.validate import Validation

    started = time.perf_counter()
    checks, error, folder = [], "", Path(place)
    try:
        folder = find_artifact(place, files=None)
        validation = Validation(read_artifact(folder), **choices)
        checks = [*validation.run()]
    except EngineUnavailableError:
        raise
    except OnnxzooError as problem:
        error = str(problem)
    failed = [check for check in checks if not check]
    if failed and not error:
        first = failed[0]
        error = f"{first.requested}, {first.reference}, batch {first.batch_size}: {first.comparison.problems[0]}"
    values = [check.comparison.max_abs for check in checks if check.comparison.outputs]
    largest = max(values, default=float("nan"))
    seconds = time.perf_counter() - started
    return Result(name, origin, str(folder), len(checks), len(failed), largest, seconds, one_line(error))


def _print(results: list[Result]) -> None:
    click.echo(f"{'model':<24}{'from':<9}{'checks':>7}{'failed':>8}{'max':>11}{'seconds':>9}  result")
    for result in results:
        largest = "-" if result.max_abs != result.max_abs else f"{result.max_abs:.2e}"
        click.echo(
            f"{result.model:<24}{result.origin:<9}{result.checks:>7}{result.failed:>8}{largest:>11}{result.seconds:>9.1f}"
            f"  {result.error and 'FAILED: '}{result.error or 'passed'}"
        )
    failed = sum(not result for result in results)
    click.echo(f"{'FAILED' if failed else 'passed'}: {len(results) - failed} of {len(results)} models")
