"""A picture of accuracy against speed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError, MissingDependencyError, raise_if_interrupted
from ..files import atomic_write
from .result import Group, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACCURACY, SNR = "Top-1, %", "signal-to-noise ratio of the logits, dB"
SUFFIX = ".png"
MARKERS = "osD^vP*X<>"


def require_plot(file: Path) -> None:
    """Refuse what would only be found out after the measuring.

    Raises InputError for another suffix than .png, a folder that does not exist or cannot be written to, or a name that
    is a folder's, and MissingDependencyError without matplotlib.
    """
    if file.suffix.lower() != SUFFIX:
        raise InputError(f"the plot is a {SUFFIX} file, got {file.name!r}; name it {file.with_suffix(SUFFIX).name}")
    if not file.parent.is_dir():
        raise InputError(f"the plot cannot be written to {file}: there is no folder {file.parent}; make it first")
    if file.is_dir():
        raise InputError(f"the plot cannot be written to {file}, which is a folder; name a file in it")
    try:
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise _unwritable(file, error) from error
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise_if_interrupted(error)
        raise MissingDependencyError(f"--plot needs matplotlib: pip install 'onnxzoo[bench]' ({error})") from error


def points(groups: Sequence[Group]) -> tuple[str, list[tuple[Row, float, float]]]:
    """What the vertical axis is, and (row, images per second, height) of every row that has both.

    The accuracy where every measured row has one; else the signal-to-noise ratio, which needs no labelled images.
    """
    rows = [row for group in groups for row in group.rows if row.speed is not None]
    if rows and all(row.accuracy is not None for row in rows):
        heights = [None if row.accuracy is None else 100 * row.accuracy.top1 for row in rows]
        what = ACCURACY
    else:
        heights, what = [row.snr_db for row in rows], SNR
    found = [
        (row, row.speed.images_per_second, height)
        for row, height in zip(rows, heights, strict=True)
        if row.speed is not None and height is not None
    ]
    return what, found


def draw(groups: Sequence[Group], machine: str) -> Figure:
    """The figure: one point for each contender, a colour for each model and batch size, a marker for each contender.

    `machine`: what it was measured on. Raises InputError where no row has an accuracy or a ratio.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    what, found = points(groups)
    if not found:
        raise InputError("there is nothing to plot: no model has an accuracy or recorded outputs in its config.json")
    figure = Figure(figsize=(9, 6), layout="constrained")
    axes = figure.add_subplot()
    colours = {key: f"C{number}" for number, key in enumerate(dict.fromkeys(_model(row) for row, _, _ in found))}
    kinds = {key: MARKERS[i % len(MARKERS)] for i, key in enumerate(dict.fromkeys(_kind(row) for row, _, _ in found))}
    for row, speed, height in found:
        healthy = row.speed is not None and row.speed.healthy
        colour = colours[_model(row)]
        axes.plot(
            [speed], [height], kinds[_kind(row)], color=colour, markersize=9,
            markerfacecolor=colour if healthy else "none", label="_",
        )  # fmt: skip
    axes.set_xscale("log")
    for kind in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        kind("{x:g}")
    axes.set_xlabel("images/s (hollow: measured on a busy machine)")
    axes.set_ylabel(what)
    axes.set_title(machine, fontsize="small")
    axes.grid(visible=True, which="both", alpha=0.3)
    handles = [Line2D([], [], color=colour, marker="s", linestyle="", label=key) for key, colour in colours.items()]
    handles += [Line2D([], [], color="grey", marker=kind, linestyle="", label=key) for key, kind in kinds.items()]
    figure.legend(handles=handles, loc="outside right upper", fontsize="small")
    return figure


def write_plot(groups: Sequence[Group], machine: str, file: Path) -> None:
    """Draw into a PNG file, whole or not at all. Raises as `draw` does, and InputError where it cannot be written."""
    figure = draw(groups, machine)
    try:
        with atomic_write(file) as out:
            figure.savefig(out, format="png", dpi=150)
    except OSError as error:
        raise _unwritable(file, error) from error


def _unwritable(file: Path, error: OSError) -> InputError:
    return InputError(f"the plot cannot be written to {file}: {error.strerror or error}")


def _model(row: Row) -> str:
    return f"{row.model}, batch {row.batch_size}"


def _kind(row: Row) -> str:
    where = "" if row.contender == row.engine else f" ({row.engine})"
    return f"{row.contender}{where}, {row.precision}"
