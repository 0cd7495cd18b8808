"""--out and --restart: results of many images in a table, by a run that can be killed and gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .engine_options import loaded_model
from .output import say
from .parameters import OUTPUT_FILE

if TYPE_CHECKING:
    from ..batch.rows import Task
    from ..batch.sources import Source

Command = TypeVar("Command", bound=Callable[..., Any])


def table_options(formats: str) -> Callable[[Command], Command]:
    """Add --out and --restart to a command; `formats`: the suffixes, for the help."""

    def add(command: Command) -> Command:
        restart = click.option(
            "--restart",
            is_flag=True,
            help="With --out: begin anew, discard what an unfinished run left, and replace FILE if it exists.",
        )
        out = click.option(
            "--out",
            type=OUTPUT_FILE,
            metavar="FILE",
            help=f"Write a table with a row for each image, {formats}. A run that was interrupted or killed goes on "
            "with the same command.",
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
    **options: Any,
) -> None:
    """Load the model and write the table; exits with 1 if there are images that cannot be read.

    `options`: those of `onnxzoo.load`. Raises as it, and `onnxzoo.batch.table_runs`, do.
    """
    from ..batch.table_runs import embed_to_table, predict_to_table
    from ..batch.tables import format_of

    # Before a model is loaded: whether the table can be written, and whether there are any images.
    format_of(out, task)
    next(iter(source))
    hint = "latency" if batch_size == 1 else "throughput"
    with loaded_model(model, quiet=quiet, batch_size=batch_size, hint=hint, **options) as (loaded, line):
        line.begin("listing images")
        total = source.count()
        line.begin("predicting" if task == "predict" else "embedding", total)
        common: dict[str, Any] = {
            "restart": restart,
            "batch_size": batch_size,
            "on_result": lambda _entry, _result, done: line.advance(done, total),
        }
        if task == "predict":
            table = predict_to_table(loaded, source, out, top_k=top_k, **common)
        else:
            table = embed_to_table(loaded, source, out, **common)
    if source.skipped:
        say(f"onnxzoo: {source.skipped}", err=True)
    if not quiet:
        unread = f", {table.errors:,} of which cannot be read (see the column error)" if table.errors else ""
        say(f"onnxzoo: {out}: {table.rows:,} image{'s' if table.rows != 1 else ''}{unread}", err=True)
    if table.errors:
        ctx.exit(1)
