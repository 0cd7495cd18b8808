"""`onnxzoo embed`: writes the features of images before the classifier's head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..batch.tables import suffixes_for
from .completion import model_names
from .engine_options import batch_size_option, engine_options, loaded_model, max_pixels_option
from .output import say
from .printed_results import JsonWriter, print_results
from .progress import quiet_option
from .ray_options import ray_option, write_table_by_ray
from .source_options import source_options
from .table_options import table_options, write_table


@click.command("embed", short_help="Write the embeddings of images.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@source_options
@table_options("embed")
@ray_option
@engine_options
@batch_size_option
@max_pixels_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: str,
    images: tuple[str, ...],
    lists: tuple[str, ...],
    column: str | None,
    out: Path | None,
    restart: bool,
    ray: str | None,
    batch_size: int | None,
    quiet: bool,
    as_json: bool,
    **engine: Any,
) -> None:
    """Write the embeddings of images, the pooled features before the classifier's head, for search and clustering.

    SOURCE is what `onnxzoo predict` takes. FILE.parquet has the columns path, embedding and error. FILE.npy is a
    float32 array [images, features], with NaN for images that cannot be read; FILE.npy.rows.jsonl names its rows.

    If an image cannot be read, the exit code is 1.
    """
    from ..batch.results import results_of
    from ..batch.sources import open_source

    common = {"restart": restart, "quiet": quiet, "batch_size": batch_size, **engine}
    if ray is not None:
        if as_json:
            raise click.UsageError("--ray writes a folder of Parquet files, and --json prints: give one of them")
        write_table_by_ray(
            ctx, "embed", model, open_source(images, lists=lists, column=column), out, address=ray, **common
        )
        return
    if (out is None) != as_json:
        raise click.UsageError(f"give either --out FILE ({', '.join(suffixes_for('embed'))}) or --json")
    if restart and out is None:
        raise click.UsageError("--restart is for --out")
    source = open_source(images, lists=lists, column=column, unique=out is not None)
    if out is not None:
        write_table(ctx, "embed", model, source, out, **common)
        return
    next(iter(source))  # no image at all is wrong usage, reported before a model is loaded
    hint = "latency" if batch_size == 1 else "throughput"
    with loaded_model(model, quiet=quiet, batch_size=batch_size, hint=hint, **engine) as (loaded, line):
        line.begin("embedding")
        errors = print_results(results_of(loaded, source, top_k=1, embed=True), [JsonWriter(loaded)], line)
    say(*(f"onnxzoo: {note}" for note in source.notes), err=True)
    if errors:
        ctx.exit(1)
