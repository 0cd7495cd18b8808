"""The lines that `onnxzoo validate` prints for people."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..comparison.tolerances import Tolerance
    from ..validators.bisect import Bisection
    from ..validators.engine_checks import Check
    from ..validators.many import ModelResult
    from ..validators.preprocess import PreprocessCheck
    from ..validators.result import ValidationResult

ENGINE_WIDTH = 13
HEADER = (
    f"{'engine':<{ENGINE_WIDTH}}{'precision':<11}{'reference':<13}{'batch':>5}{'inputs':>7}"
    f"{'max':>10}{'mean':>10}{'99.9 %':>10}{'of tol':>9}{'SNR, dB':>9}{'top-1':>7}{'top-5':>7}"
)


def check_lines(check: Check, tolerance: Tolerance, before: Check | None = None) -> Iterator[str]:
    """The line of one check in the table under HEADER, and one for each of its problems.

    `tolerance`: the tolerance printed above the table for its precision; a different one is printed beside the figures.
    `before`: the check above it. A name that is too long for its column, as a server's address, is printed once above
    all of its checks.
    """
    name = check.requested
    if len(name) >= ENGINE_WIDTH:
        if before is None or before.requested != name:
            yield f"{name} ({check.engine.version})"
        name = ""
    figures, outputs = check.comparison, check.comparison.outputs.values()
    p999 = max((output.absolute.p999 for output in outputs), default=math.nan)
    snr = min((output.snr_db for output in outputs), default=math.nan)
    yield (
        f"{name:<{ENGINE_WIDTH}}{check.precision:<11}{check.reference:<13}{check.batch_size or '-':>5}"
        f"{check.samples or '-':>7}{_number(figures.max_abs, '10.2e')}{_number(figures.mean_abs, '10.2e')}"
        f"{_number(p999, '10.2e')} {_number(figures.worst_ratio, '8.1%')}{_number(snr, '9.1f')}"
        f"{_number(figures.top1_agreement, '7.0%')}{_number(figures.top5_agreement, '7.0%')}"
        f"{'' if check.tolerance == tolerance else f'  tolerance {check.tolerance.value:g}'}"
    )
    if check.note:
        yield f"  {check.note}"
    for problem in figures.problems:
        yield f"  FAILED: {problem}"


def preprocess_lines(checks: list[PreprocessCheck]) -> Iterator[str]:
    """The failed cases, and the number of all."""
    for check in checks:
        if not check:
            yield f"  FAILED: {check.case}: {check.problem}"
    worst = max((check.max_abs for check in checks if not math.isnan(check.max_abs)), default=math.nan)
    verdict = "passed" if all(checks) else "FAILED"
    yield f"preprocessing {verdict}: {sum(map(bool, checks))} of {len(checks)} images, largest difference {worst:.2e}"


def bisection_lines(found: Bisection, *, every_layer: bool) -> Iterator[str]:
    """Where an engine diverges from the reference; with `every_layer` also the error of each layer."""
    yield found.message
    if every_layer:
        yield f"  {'layer':<44}{'error':>10}{'noise':>10}"
        for layer in found.layers:
            notes = ["<- jumps here"] if found.after is not None and layer.name == found.after.name else []
            notes += [layer.problem] if layer.problem else []
            yield "  ".join([f"  {layer.name:<44}{layer.error:>10.2e}{layer.noise:>10.2e}", *notes])


def head_lines(result: ValidationResult) -> Iterator[str]:
    """The model, its references, and the header of the table of checks."""
    met = ", ".join(f"{tolerance.value:g} ({name})" for name, tolerance in result.tolerances.items())
    yield f"{result.artifact.name} in {result.artifact.folder}, tolerance {met}"
    yield from (f"{name}: {one.remark}" for name, one in result.references.items() if one.remark)
    yield HEADER


def difference_lines(result: ValidationResult, *, every_layer: bool) -> Iterator[str]:
    """What could not be checked, and where engines diverge from the reference."""
    yield from (f"{name}: not checked: {reason}" for name, reason in result.unavailable.items())
    for found in result.bisections:
        yield from bisection_lines(found, every_layer=every_layer)


def advice_lines(result: ValidationResult, model: str, weights: Path | None) -> Iterator[str]:
    """What to do about a failed validation, unless the checks and bisections say it.

    `model`, `weights`: as the user gave them.
    """
    from ..engines import is_remote
    from ..validators.references import CONFORMANCE

    failing = [check for check in result.checks if not check]
    if all(is_remote(check.requested) for check in failing):
        if not any(check.comparison.outputs for check in failing):
            return  # the problems say why there was nothing to compare
        yield (
            "the server does not give this model's numbers: it serves another file, or computes otherwise; 'onnxzoo "
            "validate' of the file that it serves tells which"
        )
        return
    if set(result.references) == {CONFORMANCE}:
        how = "--reference exact" if result.artifact.assembled else "--weights CHECKPOINT"
        yield f"to find the layer at fault: onnxzoo validate {model} {how}"
    failed = {check.reference for check in result.checks if not check}
    if weights is not None and failed == {CONFORMANCE}:
        yield (
            "the model agrees with this checkpoint but not with the outputs recorded in the artifact, which are of "
            f"another one; export it again: onnxzoo export {result.artifact.name} --weights {weights}"
        )


def summary_lines(results: Sequence[ModelResult]) -> Iterator[str]:
    """The table of all models."""
    yield f"{'model':<24}{'from':<9}{'checks':>7}{'failed':>8}{'max':>11}{'seconds':>9}  result"
    for result in results:
        largest = "-" if math.isnan(result.max_abs) else f"{result.max_abs:.2e}"
        yield (
            f"{result.model:<24}{result.origin:<9}{result.checks:>7}{result.failed:>8}{largest:>11}{result.seconds:>9.1f}"
            f"  {result.error and ('skipped: ' if result.skipped else 'FAILED: ')}{result.error or 'passed'}"
        )
    missing = {(name, why) for result in results for name, why in result.unavailable.items() if why != result.error}
    yield from (f"{name}: not checked: {why}" for name, why in sorted(missing))
    passed, skipped = sum(map(bool, results)), sum(result.skipped for result in results)
    if passed + skipped < len(results):
        yield f"FAILED: {passed} of {len(results)} models"
    elif skipped:
        yield f"incomplete: {passed} of {len(results)} models passed, {skipped} skipped"
    else:
        yield f"passed: {passed} of {len(results)} models"


def _number(value: float, form: str) -> str:
    """The formatted figure, or a dash of the same width if it is not a number."""
    if math.isnan(value):
        return "-".rjust(int(form.partition(".")[0]))
    return format(value, form)
