"""`onnxzoo export`: turns checkpoints into artifacts."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..errors import ExportError
from ..registry import ModelEntry, find
from ..terminal import bar_size
from .completion import model_names
from .output import print_json, say
from .parameters import FILE, FOLDER, OUTPUT, Whole
from .progress import quiet_option

if TYPE_CHECKING:
    from ..exports.many import Job, Result


@click.command("export", short_help="Turn checkpoints into ONNX artifacts.")
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=model_names)
@click.option("--all", "every", is_flag=True, help="Export every model that has a published checkpoint.")
@click.option(
    "--weights",
    type=FILE,
    help="Checkpoint of one model, .pdparams or .safetensors; by default the registry's is downloaded.",
)
@click.option(
    "--weights-dir",
    type=FOLDER,
    help="Folder of checkpoints, named as in the registry's URLs, or NAME.pdparams or NAME.safetensors.",
)
@click.option(
    "--out",
    type=OUTPUT,
    help="Artifact folder, by default the model's in the cache; with several models, the parent of their folders.",
)
@click.option("--image-size", type=Whole(1), metavar="S", help="Side of the square input in pixels.")
@click.option(
    "--labels",
    "labels_file",
    type=FILE,
    help="Class names, one per line, with or without a leading id; or the config.json of an artifact.",
)
@click.option(
    "--skip-exported", is_flag=True, help="Skip models that these tools already exported from the same checkpoint."
)
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print the artifacts, their sizes and their times as JSON.")
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
    skip_exported: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Export models: checkpoint -> Paddle -> ONNX -> simplified -> artifact folder.

    With one model the last line is its folder. With several, or --all, the command continues after a failure and ends
    with a table; run it again with --skip-exported to export only the rest.
    """
    entries = _chosen(names, every)
    several = every or len(entries) > 1
    if weights is not None and (several or weights_dir is not None):
        raise click.UsageError("--weights names the checkpoint of one model; several need --weights-dir")
    from ..exports.many import Job

    jobs = [
        Job(
            name=entry.name,
            weights=weights,
            weights_dir=weights_dir,
            out=out / entry.name if out is not None and several else out,
            labels_file=labels_file,
            image_size=image_size,
            skip_exported=skip_exported,
        )
        for entry in entries
    ]
    with Steps(several=several, quiet=quiet) as steps:
        if not several and not as_json:
            say(str(_export(jobs[0], steps)))
            return
        results = _export_all(jobs, steps)
    if as_json:
        print_json({"results": [_as_dict(result) for result in results]})
    else:
        say(*_table(results))
    context.exit(0 if all(results) else 1)


def _chosen(names: tuple[str, ...], every: bool) -> list[ModelEntry]:
    if every and names:
        raise click.UsageError("name models or give --all, not both")
    if every:
        from ..exports.many import exportable

        return exportable()
    if not names:
        raise click.UsageError("Missing argument 'NAME': a model of 'onnxzoo list', or give --all.")
    return list({entry.name: entry for entry in map(find, names)}.values())


def _export(job: Job, steps: Steps) -> Path:
    """Export one model in this process, where its errors end the command; returns the artifact's folder."""
    from ..exports.many import already_exported
    from ..exports.pipeline import export_model

    if job.skip_exported and (there := already_exported(job)) is not None:
        say(f"onnxzoo: {job.name} is exported already", err=True)
        return there.folder
    try:
        return export_model(
            find(job.name),
            weights=job.checkpoint(),
            out=job.out,
            labels_file=job.labels_file,
            image_size=job.image_size,
            progress=steps.step,
            download_progress=steps.downloaded,
        ).folder
    except ExportError as error:
        steps.failed(error.log)
        raise
    except Exception:
        steps.failed()
        raise


def _export_all(jobs: list[Job], steps: Steps) -> list[Result]:
    from ..exports.many import export_many

    results = []
    for result in export_many(jobs, steps):
        if result:
            steps.done()
        else:
            steps.failed(result.log)
            say(f"{result.name}: {result.error}", err=True)
        results.append(result)
    return results


def _table(results: Sequence[Result]) -> Iterator[str]:
    yield f"{'model':<18}{'seconds':>9}{'peak MiB':>10}{'nodes':>7}{'file MB':>9}  result"
    for result in results:
        megabytes = "-" if result.bytes is None else f"{result.bytes / 1e6:.1f}"
        peak = "-" if result.peak_mib is None else f"{result.peak_mib:.0f}"
        nodes = "-" if result.nodes is None else str(result.nodes)
        outcome = result.error or ("already exported" if result.skipped else "ok")
        yield f"{result.name:<18}{result.seconds:>9.1f}{peak:>10}{nodes:>7}{megabytes:>9}  {outcome}"
    failed = sum(not result for result in results)
    yield f"{len(results) - failed} of {len(results)} exported" + (f", {failed} FAILED" if failed else "")


def _as_dict(result: Result) -> dict[str, Any]:
    """The result for programs, without the log of a failed tool, which went to stderr."""
    return {name: value for name, value in dataclasses.asdict(result).items() if name != "log"}


class Steps:
    """Prints the progress of an export to stderr: the title of each step when it begins, its duration when it ends.

    It is a `Watcher` of `exports.many`. On a terminal, a download has a progress bar.
    """

    def __init__(self, *, several: bool, quiet: bool) -> None:
        self._several, self._quiet = several, quiet
        self._started = time.perf_counter()
        self._open = False
        self._bar: Any = None

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        self._close("" if kind is None else "ended")

    def begin(self, name: str, number: int, count: int) -> None:
        """Print which of several models begins."""
        if self._several and not self._quiet:
            say(f"{name} ({number} of {count})", err=True)

    def step(self, number: int, total: int, title: str) -> None:
        """Print the title of a step that begins."""
        if self._quiet:
            return
        self._close()
        self._started, self._open = time.perf_counter(), True
        say(f"[{number}/{total}] {title} ...", err=True, nl=False)

    def downloaded(self, done: int, total: int | None) -> None:
        """Show how much of the checkpoint has been downloaded."""
        from tqdm import tqdm  # type: ignore[import-untyped]

        if self._bar is None:
            disabled = self._quiet or None
            self._bar = tqdm(
                unit="B",
                unit_scale=True,
                file=sys.stderr,
                disable=disabled,
                leave=False,
                delay=0.5,
                **bar_size(),
            )
        self._bar.total = total
        self._bar.update(done - self._bar.n)

    def done(self) -> None:
        """End the last step of a model."""
        self._close()

    def failed(self, log: str = "") -> None:
        """End the failed step, and show the output of its tool."""
        self._close("failed")
        if log:
            say(*log.rstrip().splitlines(), err=True)

    def _close(self, outcome: str = "") -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        if self._open:
            say(f" {outcome or f'{time.perf_counter() - self._started:.1f} s'}", err=True)
        self._open = False
