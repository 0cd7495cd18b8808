"""`onnxzoo export`: checkpoints become artifacts."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm  # type: ignore[import-untyped]

from ..errors import ExportError, InputError
from ..registry import ModelEntry, find, models
from .completion import model_names
from .output import say
from .progress import quiet_option

if TYPE_CHECKING:
    from ..artifact.folder import Artifact


@click.command("export", short_help="Turn checkpoints into ONNX artifacts.")
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=model_names)
@click.option("--all", "every", is_flag=True, help="Export every model that has a published checkpoint.")
@click.option(
    "--weights",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Checkpoint of one model, .pdparams or .safetensors; without it the registry's is downloaded.",
)
@click.option(
    "--weights-dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of checkpoints, called as in the registry's addresses, or NAME.pdparams or NAME.safetensors.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Artifact folder, by default the model's place in the cache; with several models, the folder above theirs.",
)
@click.option("--image-size", type=click.IntRange(min=1), metavar="S", help="Side of the square input in pixels.")
@click.option(
    "--labels",
    "labels_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Class names, one a line, with or without a leading id; or the config.json of an artifact.",
)
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print what was made, how long it took and how large, as JSON.")
@click.pass_context
def command(
    context: click.Context,
    names: tuple[str, ...],
    every: bool,
    weights: Path | None,
    weights_dir: Path | None,
    out: Path | None,
    image_size: int | None,
    labels_file: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Export models: checkpoint -> Paddle -> ONNX -> simplified -> artifact folder.

    One model ends with the name of its folder. Several, or --all, go on after a failure and end with a table.
    """
    entries = _chosen(names, every)
    several = every or len(entries) > 1
    if weights is not None and (several or weights_dir is not None):
        raise click.UsageError("--weights names the checkpoint of one model; several need --weights-dir")
    if not several and not as_json:
        file = weights if weights_dir is None else find_weights(entries[0], weights_dir)
        say(str(export_one(entries[0], file, out, labels_file, image_size, quiet=quiet).folder))
        return
    from .export_many import Job, export_all, print_results

    jobs = [
        Job(
            name=entry.name,
            weights=weights,
            weights_dir=weights_dir,
            out=out / entry.name if out is not None and several else out,
            labels_file=labels_file,
            image_size=image_size,
            quiet=quiet,
        )
        for entry in entries
    ]
    results = export_all(jobs)
    print_results(results, as_json=as_json)
    context.exit(0 if all(results) else 1)


def export_one(
    entry: ModelEntry,
    weights: Path | None,
    out: Path | None,
    labels_file: Path | None,
    image_size: int | None,
    *,
    quiet: bool = False,
) -> Artifact:
    """Export one model. Raises as `export_model` does.

    Its progress, unless `quiet`, and the log of a tool that fails go to stderr.
    """
    from ..exports.pipeline import export_model

    steps = _Steps(quiet=quiet)
    with tqdm(
        unit="B", unit_scale=True, desc=entry.name, file=sys.stderr, disable=quiet or None, leave=False, delay=0.5
    ) as bar:

        def downloaded(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            artifact = export_model(
                entry,
                weights=weights,
                out=out,
                labels_file=labels_file,
                image_size=image_size,
                progress=steps.begin,
                download_progress=downloaded,
            )
        except BaseException as error:
            steps.end("failed" if isinstance(error, Exception) else "ended")
            if isinstance(error, ExportError) and error.log:
                say(*error.log.rstrip().splitlines(), err=True)
            raise
    steps.end()
    return artifact


def find_weights(entry: ModelEntry, folder: Path) -> Path:
    """The model's checkpoint in `folder`: called as in its registry address, or after the model.

    Raises InputError, with the names that would do, when there is none. Nothing is downloaded instead.
    """
    from ..weights.download import file_name

    names = [f"{entry.name}.pdparams", f"{entry.name}.safetensors"]
    if entry.source.url:
        names.insert(0, file_name(entry.source.url))
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise InputError(
        f"no checkpoint of {entry.name} in {folder}: expected {', '.join(names[:-1])} or {names[-1]}; "
        "without --weights-dir it is downloaded"
    )


def _chosen(names: tuple[str, ...], every: bool) -> list[ModelEntry]:
    if every and names:
        raise click.UsageError("name models or give --all, not both")
    if every:
        # Models without an address come with this package, trained and exported.
        return [entry for entry in models().values() if entry.source.url]
    if not names:
        raise click.UsageError("Missing argument 'NAME': a model of 'onnxzoo list', or give --all.")
    return list({entry.name: entry for entry in map(find, names)}.values())


class _Steps:
    """Prints the title of each step as it begins and its duration when the next one does."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._started = time.perf_counter()
        self._open = False

    def begin(self, number: int, total: int, title: str) -> None:
        if self._quiet:
            return
        self.end()
        self._started, self._open = time.perf_counter(), True
        say(f"[{number}/{total}] {title} ...", err=True, nl=False)

    def end(self, outcome: str = "") -> None:
        if self._open:
            say(f" {outcome or f'{time.perf_counter() - self._started:.1f} s'}", err=True)
        self._open = False
