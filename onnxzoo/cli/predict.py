"""`onnxzoo predict`: classifies images."""

from __future__ import annotations

from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .completion import model_names
from .engine_options import batch_size_option, engine_options, loaded_model, max_pixels_option
from .output import say
from .parameters import OUTPUT_FILE, Whole
from .printed_results import JsonWriter, TextWriter, Writer, print_results
from .progress import quiet_option
from .ray_options import ray_option, write_table_by_ray
from .source_options import source_options
from .table_options import table_options, write_table

if TYPE_CHECKING:
    from ..engines.options import Hint


@click.command("predict", short_help="Classify images.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@source_options
@click.option("--top-k", default=5, show_default=True, type=Whole(1), help="Classes to show per image.")
@table_options("predict")
@ray_option
@engine_options
@batch_size_option
@max_pixels_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--sheet",
    type=OUTPUT_FILE,
    help="Also write a contact sheet, .png or .html: the images with their best classes, a sample of many.",
)
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    images: tuple[str, ...],
    lists: tuple[str, ...],
    column: str | None,
    top_k: int,
    out: Path | None,
    restart: bool,
    ray: str | None,
    batch_size: int | None,
    quiet: bool,
    as_json: bool,
    sheet: Path | None,
    **engine: Any,
) -> None:
    """Classify images: files, folders (including subfolders), quoted patterns such as 'photos/**/*.jpg', archives
    (.zip, .tar, .tar.gz), lists (.txt with a path in every line, .csv or .tsv with a column of paths), and any of these
    at a URL (s3://, gs://, hf://, https://).

    '-' is an image on standard input.

    An image that cannot be read is reported on stderr; the others are classified and the exit code is 1.
    """
    from ..batch.results import results_of
    from ..batch.sources import open_source
    from ..engines.options import EngineOptions
    from ..errors import ImageError

    if sheet is not None:
        from ..batch.sheet import SheetWriter, refuse_sheet

        refuse_sheet(sheet)
    if out is not None and as_json:
        raise click.UsageError("--out writes a table, and --json prints: give one of them")
    common = {"restart": restart, "quiet": quiet, "batch_size": batch_size, "top_k": top_k, **engine}
    if ray is not None:
        if sheet is not None:
            raise click.UsageError("--sheet shows images that this process reads; leave it out, or leave out --ray")
        source = open_source(images, lists=lists, column=column)
        write_table_by_ray(ctx, "predict", model, source, out, address=ray, **common)
        return
    if out is not None:
        source = open_source(images, lists=lists, column=column)
        write_table(ctx, "predict", model, source, out, sheet=sheet, **common)
        return
    if restart:
        raise click.UsageError("--restart is for --out")
    size = EngineOptions(engine["precision"], engine["threads"], batch_size, engine["strict"]).largest_batch
    source = open_source(images, lists=lists, column=column, unique=False)
    entries = iter(source)
    # The first batch is listed before anything is loaded: no image at all is wrong usage.
    ahead = list(islice(entries, size))
    count = sum(not isinstance(entry.image, ImageError) for entry in ahead)
    hint: Hint = "throughput" if count == size > 1 else "latency"
    with loaded_model(model, quiet=quiet, batch_size=batch_size, hint=hint, **engine) as (loaded, line):
        line.begin("predicting")
        writers: list[Writer] = [JsonWriter(loaded) if as_json else TextWriter()]
        if sheet is not None:
            writers.append(SheetWriter(sheet, loaded))
        errors = print_results(results_of(loaded, chain(ahead, entries), top_k=top_k), writers, line)
    say(*(f"onnxzoo: {note}" for note in source.notes), err=True)
    if errors:
        ctx.exit(1)
