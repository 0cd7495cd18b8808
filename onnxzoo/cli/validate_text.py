"""What `onnxzoo validate` prints: lines of a table for people, plain values for JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..validators.bisect import Bisection
    from ..validators.engine_checks import Check
    from ..validators.preprocess import PreprocessCheck
    from ..validators.tolerances import Tolerance

HEADER = (
    f"{'engine':<13}{'precision':<11}{'reference':<13}{'batch':>5}{'inputs':>7}"
    f"{'max':>10}{'mean':>10}{'99.9 %':>10}{'of tol':>9}{'SNR, dB':>9}{'top-1':>7}{'top-5':>7}"
)


def check_lines(check: Check, tolerance: Tolerance) -> Iterator[str]:
    """The line of one check in the table under HEADER, and one for each of its problems.

    `tolerance`: what is said above the table for its precision; another one is said beside the figures.
    """
    figures, outputs = check.comparison, check.comparison.outputs.values()
    p999 = max((output.absolute.p999 for output in outputs), default=math.nan)
    snr = min((output.snr_db for output in outputs), default=math.nan)
    yield (
        f"{check.requested:<13}{check.precision:<11}{check.reference:<13}{check.batch_size or '-':>5}"
        f"{check.samples or '-':>7}{_number(figures.max_abs, '10.2e')}{_number(figures.mean_abs, '10.2e')}"
        f"{_number(p999, '10.2e')}{_number(figures.worst_ratio, '9.1%')}{_number(snr, '9.1f')}"
        f"{_number(figures.top1_agreement, '7.0%')}{_number(figures.top5_agreement, '7.0%')}"
        f"{'' if check.tolerance == tolerance else f'  tolerance {check.tolerance.value:g}'}"
    )
    if check.note:
        yield f"  {check.note}"
    for problem in figures.problems:
        yield f"  FAILED: {problem}"


def preprocess_lines(checks: list[PreprocessCheck]) -> Iterator[str]:
    """The cases that failed, and how many there were."""
    for check in checks:
        if not check:
            yield f"  FAILED: {check.case}: {check.problem}"
    worst = max((check.max_abs for check in checks if not math.isnan(check.max_abs)), default=math.nan)
    verdict = "passed" if all(checks) else "FAILED"
    yield f"preprocessing {verdict}: {sum(map(bool, checks))} of {len(checks)} images, largest difference {worst:.2e}"


def bisection_lines(found: Bisection, *, every_layer: bool) -> Iterator[str]:
    """Where an engine leaves the reference; with `every_layer` the error of each layer as well."""
    yield found.message
    if every_layer:
        yield f"  {'layer':<44}{'error':>10}{'noise':>10}"
        for layer in found.layers:
            notes = ["<- jumps here"] if found.after is not None and layer.name == found.after.name else []
            notes += [layer.problem] if layer.problem else []
            yield "  ".join([f"  {layer.name:<44}{layer.error:>10.2e}{layer.noise:>10.2e}", *notes])


def plain(value: Any) -> Any:
    """Any result in JSON's values: dataclasses as objects, and null for NaN and infinity, which JSON does not have."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _number(value: float, form: str) -> str:
    """The figure, or a dash of the same width where there is none."""
    if math.isnan(value):
        return "-".rjust(int(form.partition(".")[0]))
    return format(value, form)
