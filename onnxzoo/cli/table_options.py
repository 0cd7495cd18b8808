"""--out and --restart: results of many images in a table, by a run that can be killed and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..batch.tables import format_of, suffixes_for
from .engine_options import loaded_model
from .output import say
from .parameters import OUTPUT

if TYPE_CHECKING:
    from ..batch.entry import Entry
    from ..batch.rows import Task
    from ..batch.sources import Source
    from ..batch.summary import Summary
    from ..batch.table_runs import Table
    from ..stream import Result

Command = TypeVar("Command", bound=Callable[..., Any])


def table_options(task: Task) -> Callable[[Command], Command]:
    """Add --out and --restart to a command."""

    def add(command: Command) -> Command:
        restart = click.option(
            "--restart",
            is_flag=True,
            help="With --out: begin anew, discard what an unfinished run left, and replace FILE if it is a table.",
        )
        out = click.option(
            "--out",
            type=OUTPUT,
            metavar="FILE",
            help=f"Write a table with a row for each image ({', '.join(suffixes_for(task))}; with --ray a folder of "
            "Parquet files). A run that was interrupted or killed goes on with the same command.",
        )
        return out(restart(command))

    return add


def write_table(
    ctx: click.Context,
    task: Task,
    model: str,
    source: Source,
    out: Path,
    *,
    restart: bool,
    quiet: bool,
    batch_size: int | None,
    top_k: int = 5,
    sheet: Path | None = None,
    **options: Any,
) -> None:
    """Load the model and write the table; exits with 1 if there are images that cannot be read.

    `sheet`: also write a contact sheet, of the images that no earlier run has finished. `options`: those of
    `onnxzoo.load`. Raises as it, and `onnxzoo.batch.table_runs`, do.
    """
    from ..batch.sheet import SheetWriter
    from ..batch.summary import Summary
    from ..batch.table_runs import embed_to_table, predict_to_table

    # Before a model is loaded: whether the table can be written, and whether there are any images.
    if out.is_dir():
        raise click.UsageError(f"--out: {out} is a directory; name a file, or write a folder of Parquet files by --ray")
    format_of(out, task)
    next(iter(source))
    hint = "latency" if batch_size == 1 else "throughput"
    with loaded_model(model, quiet=quiet, batch_size=batch_size, hint=hint, **options) as (loaded, line):
        line.begin("listing images")
        total = source.count()
        summary = Summary()
        writer = None if sheet is None else SheetWriter(sheet, loaded)

        def on_result(entry: Entry, result: Result, done: int) -> None:
            if not summary.images:
                line.begin("predicting" if task == "predict" else "embedding", total, done - 1)
            summary.add(entry.path, result)
            line.advance(done, total, summary.failed)
            if writer is not None:
                writer.write(entry.path, result)
            if done == total:
                line.begin("writing the table")

        common: dict[str, Any] = {"restart": restart, "batch_size": batch_size, "on_result": on_result}
        if task == "predict":
            table = predict_to_table(loaded, source, out, top_k=top_k, **common)
        else:
            table = embed_to_table(loaded, source, out, **common)
        if writer is not None:
            line.begin("drawing the contact sheet")
            writer.end()
    end_of_table(ctx, source, table, summary, quiet=quiet)


def end_of_table(ctx: click.Context, source: Source, table: Table, summary: Summary, *, quiet: bool) -> None:
    """Say what was skipped, and what the run and the table have; exits with 1 if there are errors in the table."""
    from ..batch.summary import counted

    say(*(f"onnxzoo: {note}" for note in source.notes), err=True)
    if not quiet:
        lines = summary.lines() if summary.images else []
        unread = f", {table.errors:,} with an error" if table.errors else ""
        lines.append(f"{table.path}: {counted(table.rows, 'row')}{unread}")
        say(*(f"onnxzoo: {one}" for one in lines), err=True)
    if table.errors:
        ctx.exit(1)
