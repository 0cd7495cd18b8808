"""`onnxzoo export`: a checkpoint becomes an artifact."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from tqdm import tqdm  # type: ignore[import-untyped]

from ..errors import ExportError, OnnxzooError
from ..registry import find


@click.command("export", short_help="Turn a checkpoint into an ONNX artifact.")
@click.argument("name")
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoint, .pdparams or .safetensors; without it the registry's is downloaded.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Artifact folder; by default the model's place in the cache."
)
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Class names, one a line, with or without a leading id.",
)
def command(name: str, weights: Path | None, out: Path | None, labels_file: Path | None) -> None:
    """Export a model: checkpoint -> Paddle -> ONNX -> simplified -> artifact folder."""
    from ..exports.pipeline import export_model

    entry = find(name)
    steps = _Steps()
    with tqdm(unit="B", unit_scale=True, desc=entry.name, file=sys.stderr, disable=None, leave=False, delay=0.5) as bar:

        def downloaded(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            artifact = export_model(
                entry,
                weights=weights,
                out=out,
                labels_file=labels_file,
                progress=steps.begin,
                download_progress=downloaded,
            )
        except OnnxzooError as error:
            steps.end("failed")
            if isinstance(error, ExportError) and error.log:
                click.echo(error.log.rstrip(), err=True)
            raise
    steps.end()
    click.echo(str(artifact.folder))


class _Steps:
    """Prints the title of each step as it begins and its duration when the next one does."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self._open = False

    def begin(self, number: int, total: int, title: str) -> None:
        self.end()
        self._started, self._open = time.perf_counter(), True
        click.echo(f"[{number}/{total}] {title} ...", err=True, nl=False)

    def end(self, outcome: str = "") -> None:
        if self._open:
            click.echo(f" {outcome or f'{time.perf_counter() - self._started:.1f} s'}", err=True)
        self._open = False
