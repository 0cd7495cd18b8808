"""`onnxzoo eval`: measures a model's accuracy on labelled images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..artifact.folder import documented_entry
from ..datasets import DATASETS
from .completion import model_names
from .engine_options import batch_size_option, engine_options, loaded_model, max_pixels_option
from .output import print_json, report, say
from .parameters import FILE, FILE_OR_FOLDER, Whole
from .progress import quiet_option

if TYPE_CHECKING:
    from ..evaluation.accuracy import Evaluation
    from ..registry import ModelEntry

# With more classes than this only those with the lowest accuracy are printed; --json has all.
SHOWN_CLASSES = 20


@click.command("eval", short_help="Measure a model's accuracy on labelled images.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@click.option(
    "--data",
    required=True,
    type=FILE_OR_FOLDER,
    help="Folder with class folders, val/ with class folders, val_list.txt, or IDX files; or a list file.",
)
@click.option("--split", type=click.Choice(["val", "train"]), default="val", show_default=True, help="Which images.")
@engine_options
@click.option(
    "--weights",
    type=FILE,
    help="Checkpoint for --engine paddle, the reference; by default the registry's, downloaded if necessary.",
)
@batch_size_option
@max_pixels_option
@click.option(
    "--classes",
    help="Only these classes of the data: names, or ids in the data (class folders are numbered in the order of their "
    "names), separated by commas.",
)
@click.option("--limit", type=Whole(1), help="Maximum number of images, spread evenly over the data.")
@click.option(
    "--record",
    metavar="DATA",
    help=f"Record the accuracy in config.json for the model card: {', '.join(DATASETS)}, or a description of the data.",
)
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document, with every class.")
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    data: Path,
    split: str,
    engine: str,
    precision: str,
    threads: int | None,
    strict: bool,
    trust: str,
    verify: bool,
    weights: Path | None,
    batch_size: int | None,
    classes: str | None,
    limit: int | None,
    record: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Measure a model's accuracy: top-1, top-5, their 95 % confidence intervals, and images per second.

    The classes of the data are matched with the model's labels by name, by ImageNet's synset folders, or by number.
    An image that cannot be read is reported on stderr and skipped; the exit code is then 1.
    """
    from ..data.layouts import open_dataset
    from ..evaluation.accuracy import evaluate
    from ..evaluation.record import data_in_words, record_evaluation
    from ..hub import require_own
    from ..model import BATCH_SIZE
    from ..registry import models

    if record is not None:
        if limit is not None or classes is not None or split != "val":
            raise click.UsageError("--record is for all validation images: not with --limit, --classes or --split")
        data_in_words(record)

    with loaded_model(
        model,
        quiet=quiet,
        engine=engine,
        precision=precision,
        weights=weights,
        threads=threads,
        batch_size=batch_size,
        hint="latency" if batch_size == 1 else "throughput",
        strict=strict,
        trust=trust,
        verify=verify,
    ) as (loaded, line):
        if record is not None:
            require_own(loaded.artifact.folder)
        entry = documented_entry(loaded.artifact)
        # In data without names, numbers are the ids of this model; with --classes, those of the registry's model.
        named_by = models().get(loaded.name) if classes else entry
        line.begin(f"listing {data}")
        wanted = None if classes is None else [item.strip() for item in classes.split(",")]
        dataset = open_dataset(
            data,
            "train" if split == "train" else "val",
            classes=wanted,
            label_set=None if named_by is None else named_by.labels,
        )
        for item, name in zip(wanted or (), dataset.classes, strict=False):
            if item.isdigit() and item != name:
                say(f"onnxzoo: --classes {item} is {name!r}, by its place in the data", err=True)
        if dataset.skipped:
            say(f"onnxzoo: {dataset.skipped}", err=True)
        line.begin("classifying", len(dataset))
        result = evaluate(loaded, dataset, batch_size=batch_size or BATCH_SIZE, limit=limit, progress=line.advance)
    if classes is not None:
        entry = None  # the documented accuracy is for all classes
    for image in result.unreadable:
        report(image.reason if image.name in image.reason else f"{image.name}: {image.reason}")
    if as_json:
        print_json({"data": str(data), "split": split, **result.to_dict(entry)})
    else:
        say(*_lines(result, entry, data, split))
    if record is not None:
        written = record_evaluation(loaded.artifact, result, precision, record)
        say(f"recorded in {loaded.artifact.folder}: {written.precision} on {written.dataset}", err=True)
    if result.unreadable:
        ctx.exit(1)


def _lines(result: Evaluation, entry: ModelEntry | None, data: Path, split: str) -> Iterator[str]:
    engine = result.engine
    yield f"{result.model} on {engine.name} {engine.version} ({engine.device}, {engine.precision}), {data}, {split}"
    yield f"{'':<12}{'top-1':>8}{'95 % interval':>18}{'top-5':>10}{'95 % interval':>18}{'images':>9}"
    yield (
        f"{'measured':<12}{result.top1:>8.4f}{_interval(result.top1_interval):>18}"
        f"{result.top5:>10.4f}{_interval(result.top5_interval):>18}{result.images:>9}"
    )
    if entry is not None:
        accuracy = entry.accuracy
        yield f"{'documented':<12}{accuracy.top1:>8.4f}{'':>18}{accuracy.top5:>10.4f}  {entry.dataset}"
    left_out = f", {len(result.unreadable)} unreadable left out" if result.unreadable else ""
    yield f"{result.seconds:.1f} s, {result.images_per_second:.1f} images/s from file to answer{left_out}"
    yield ""
    rows = result.classes
    if len(rows) > SHOWN_CLASSES:
        yield f"the {SHOWN_CLASSES} of {len(rows)} classes that go worst (--json has all)"
        rows = tuple(sorted(rows, key=lambda row: row.top1)[:SHOWN_CLASSES])
    width = max(len("class"), *(len(row.label) for row in rows))
    yield f"{'id':>5}  {'class':<{width}}{'images':>8}{'top-1':>9}  most often taken for"
    for row in rows:
        other = "" if row.confused_with is None else f"{row.confused_with} ({row.confused})"
        yield f"{row.class_id:>5}  {row.label:<{width}}{row.images:>8}{row.top1:>9.4f}  {other}".rstrip()


def _interval(bounds: tuple[float, float]) -> str:
    return f"{bounds[0]:.4f}..{bounds[1]:.4f}"
