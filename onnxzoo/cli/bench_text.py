"""The lines that `onnxzoo bench` prints for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..bench.result import Group, Row

UNHEALTHY = "*"


def group_lines(group: Group) -> Iterator[str]:
    """The table of one model and batch size, and the limits below it."""
    width = max(len("contender"), *(len(name(row)) for row in group.rows))
    yield f"{group.model}, batch size {group.batch_size}"
    yield (
        f"{'contender':<{width}}{'prec.':>6}{'min':>9}{'p50':>10}{'p95':>9}{'p99 ms':>9}{'images/s':>11}{'GFLOP/s':>9}"
        f"{'of limit':>9}{'load':>7}{'first s':>8}{'MiB':>7}{'SNR dB':>8}{'top-1':>8}{'healthy':>9}"
    )
    for row in group.rows:
        yield f"{name(row):<{width}}{_figures(row)}"
    limits = ", ".join(f"{one.gflops:.0f} in {one.precision} on {one.engine}" for one in group.limits)
    if limits:
        yield f"limit: a matrix product reaches, GFLOP/s: {limits}"
    if any(row.speed is not None and not row.speed.healthy for row in group.rows):
        yield f"{UNHEALTHY} the machine was busy at every moment of it: run again when it is quieter"


def name(row: Row) -> str:
    """The contender, with the engine in which a peer's graph ran."""
    return row.contender if row.contender == row.engine or not row.version else f"{row.contender} ({row.engine})"


def _figures(row: Row) -> str:
    speed = row.speed
    if speed is None:
        return f"{row.precision:>6}  failed: {row.error}"
    mark = " " if speed.healthy else UNHEALTHY
    return (
        f"{row.precision:>6}{speed.min_ms:>9.2f}{speed.p50_ms:>9.2f}{mark}{speed.p95_ms:>9.2f}{speed.p99_ms:>9.2f}"
        f"{speed.images_per_second:>11.1f}{_number(row.gflops, 9, '.0f')}{_number(row.limit_share, 9, '.0%')}"
        f"{_number(row.load_s, 7, '.2f')}{_number(row.first_s, 8, '.3f')}{_number(row.peak_mib, 7, '.0f')}"
        f"{_number(row.snr_db, 8, '.1f')}{_number(None if row.accuracy is None else row.accuracy.top1, 8, '.2%')}"
        f"{f'{speed.healthy}/{speed.samples}':>9}"
    )


def _number(value: float | None, width: int, form: str) -> str:
    return f"{'-' if value is None else format(value, form):>{width}}"
