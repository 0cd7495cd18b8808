"""The options for engine and precision, the same for every command that runs a model."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..precisions import AUTO_PRECISION, FP32, LOW_PRECISIONS
from .completion import engine_names, precision_names
from .parameters import Whole
from .progress import Line, progress

if TYPE_CHECKING:
    from ..model import Model

Command = TypeVar("Command", bound=Callable[..., Any])

_ENGINE = click.option(
    "--engine",
    default="auto",
    show_default=True,
    shell_complete=engine_names,
    help="openvino, onnxruntime, cuda, tensorrt ...; openvino:GPU, cuda:1 for a device. An engine that does not work "
    "is an error; auto takes the first that works.",
)
_PRECISION = click.option(
    "--precision",
    default=FP32,
    show_default=True,
    shell_complete=precision_names,
    help=f"Arithmetic: {FP32} is exact; {', '.join(LOW_PRECISIONS)}; {AUTO_PRECISION}: the fastest that engine and "
    "model support.",
)
_THREADS = click.option(
    "--threads",
    type=Whole(1),
    help="CPU threads; by default the cores that affinity, CPU quota and OMP_NUM_THREADS allow.",
)
_STRICT = click.option("--strict", is_flag=True, help="Refuse an engine that would run a part of the model on the CPU.")
_TRUST = click.option(
    "--trust",
    default="known",
    show_default=True,
    type=click.Choice(["known", "any"]),
    help="ONNX graphs to run: known for those with only the operators of onnxzoo's own artifacts, or any; an unknown "
    "graph may use unlimited time and memory.",
)

_VERIFY = click.option(
    "--no-verify",
    "verify",
    is_flag=True,
    flag_value=False,
    default=True,
    help="Use the engine although it was not seen to give the model's recorded outputs on this machine.",
)


def trust_option(command: Command) -> Command:
    """Add --trust to a command, as the parameter `trust`."""
    return _TRUST(command)


def engine_options(command: Command) -> Command:
    """Add --engine, --precision, --threads, --strict, --trust and --no-verify (the parameter `verify`) to a command."""
    for option in (_VERIFY, _TRUST, _STRICT, _THREADS, _PRECISION, _ENGINE):
        command = option(command)
    return command


def _allow_pixels(_context: click.Context, _option: click.Parameter, pixels: int | None) -> None:
    """Set our limit and Pillow's, which would apply before ours, for this process, which runs only this command."""
    if pixels is None:
        return
    import PIL.Image

    from ..image_memory import MAX_PIXELS_VARIABLE

    os.environ[MAX_PIXELS_VARIABLE] = str(pixels)
    PIL.Image.MAX_IMAGE_PIXELS = max(pixels, PIL.Image.MAX_IMAGE_PIXELS or pixels)


max_pixels_option = click.option(
    "--max-pixels",
    type=Whole(1, 2**48),
    expose_value=False,
    callback=_allow_pixels,
    help="Largest image to read, in pixels; by default ONNXZOO_MAX_PIXELS or 89478485.",
)
"""Adds --max-pixels to a command; its callback sets the limit, without a parameter."""


@contextlib.contextmanager
def loaded_model(model: str, *, quiet: bool, **options: Any) -> Iterator[tuple[Model, Line]]:
    """Load a model with a progress line that its user continues, and close the model at the end.

    `options`: those of `onnxzoo.load`. Raises as it does.
    """
    from ..loading import load

    with progress(f"loading {model}", "images", quiet=quiet) as line, load(model, **options) as loaded:
        yield loaded, line


def batch_size_option(command: Command) -> Command:
    """Add --batch-size to a command; the parameter is None if it is not given."""
    return click.option("--batch-size", type=Whole(1), help="Images per run of the engine; by default 8.")(command)
