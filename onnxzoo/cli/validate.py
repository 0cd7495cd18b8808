"""`onnxzoo validate`: does every engine give the reference's numbers?"""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..artifact import read_artifact
from ..hub import find_artifact
from ..validators import DEFAULT_TOLERANCE

if TYPE_CHECKING:
    from ..validators.validate import Check


@click.command("validate", short_help="Compare every engine with the Paddle reference.")
@click.argument("model")
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoint of the artifact: compare with the Paddle reference, run here and now, as well.",
)
@click.option(
    "--tol",
    "tolerance",
    type=click.FloatRange(min=0, min_open=True),
    default=DEFAULT_TOLERANCE,
    show_default=True,
    help="Passes when |y - ref| <= tol + tol * |ref| for every value.",
)
@click.option("--engine", "engines", multiple=True, help="Engine to check; may be repeated. By default all installed.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(
    context: click.Context, model: str, weights: Path | None, tolerance: float, engines: tuple[str, ...], as_json: bool
) -> None:
    """Compare MODEL (a name or an artifact folder) on every engine with the outputs of the Paddle reference."""
    from ..validators.validate import validate

    artifact = read_artifact(find_artifact(model, files=None))
    checks: list[Check] = []
    if not as_json:
        click.echo(f"{artifact.name} in {artifact.folder}, tolerance {tolerance:g}")
        click.echo(
            f"{'engine':<13}{'reference':<13}{'batch':>5}{'inputs':>8}{'max':>11}{'mean':>11}{'of tol':>9}{'top-1':>8}"
        )
    for check in validate(artifact, engines=engines or None, weights=weights, tolerance=tolerance):
        checks.append(check)
        if not as_json:
            _print(check)
    passed = all(checks)
    if as_json:
        document: dict[str, Any] = {
            "model": artifact.name,
            "folder": str(artifact.folder),
            "tolerance": tolerance,
            "passed": passed,
            "checks": [_as_json(check) for check in checks],
        }
        click.echo(json.dumps(document, indent=2, allow_nan=False))
    else:
        click.echo(f"{'passed' if passed else 'FAILED'}: {sum(map(bool, checks))} of {len(checks)} checks")
    context.exit(0 if passed else 1)


def _as_json(check: Check) -> dict[str, Any]:
    document = dataclasses.asdict(check)
    # JSON has no NaN; null says that there is no figure.
    figures = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in document["comparison"].items()}
    return {**document, "comparison": figures, "passed": bool(check)}


def _print(check: Check) -> None:
    figures = check.comparison
    click.echo(
        f"{check.engine.name:<13}{check.reference:<13}{check.batch_size:>5}{check.samples:>8}"
        f"{figures.max_abs:>11.2e}{figures.mean_abs:>11.2e}{figures.worst_ratio:>8.1%}{figures.top1_agreement:>8.0%}"
    )
    for problem in figures.problems:
        click.echo(f"  FAILED: {problem}")
