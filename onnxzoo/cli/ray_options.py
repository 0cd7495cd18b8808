"""--ray: results of many images in a table, by the workers of a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from .progress import progress
from .table_options import end_of_table

if TYPE_CHECKING:
    from ..batch.rows import Task
    from ..batch.sources import Source

Command = TypeVar("Command", bound=Callable[..., Any])

ANY_CLUSTER = ""
"""The value of --ray without an address."""


def ray_option(command: Command) -> Command:
    """Add --ray to a command, as the parameter `ray`: an address, ANY_CLUSTER, or None if it is not given."""
    return click.option(
        "--ray",
        is_flag=False,
        flag_value=ANY_CLUSTER,
        metavar="[ADDRESS]",
        help="With --out DIR: run on a Ray cluster, and write a folder of Parquet files. ADDRESS: auto, HOST:6379 ...; "
        "by default RAY_ADDRESS, or a Ray that is started on this machine. --threads: CPUs of a worker, 1 by default.",
    )(command)


def write_table_by_ray(
    ctx: click.Context,
    task: Task,
    model: str,
    source: Source,
    out: Path | None,
    *,
    address: str,
    quiet: bool,
    top_k: int = 5,
    **options: Any,
) -> None:
    """Write the table, and say what is in it; exits with 1 if there are images that cannot be read.

    `options`: the others of `onnxzoo.batch.ray_runs.table_by_ray`. Raises as it does.
    """
    from ..batch.ray_runs import table_by_ray

    if out is None:
        raise click.UsageError("--ray writes a folder of Parquet files; name it with --out DIR")
    if address and Path(address).exists():
        raise click.UsageError(f"--ray takes the address of a cluster, got the path {address!r}; put --ray behind it")
    next(iter(source))  # no image at all is wrong usage, reported before a cluster is started
    with progress("listing images", "images", quiet=quiet) as line:
        total = source.count()
        line.begin("starting Ray")
        begun = False

        def on_part(done: int, errors: int) -> None:
            nonlocal begun
            if not begun:
                line.begin("predicting" if task == "predict" else "embedding", total)
            begun = True
            line.advance(done, total, errors)

        table, summary = table_by_ray(
            model, source, out, task=task, top_k=top_k, address=address or None, count=total, on_part=on_part, **options
        )
    end_of_table(ctx, source, table, summary, quiet=quiet)
