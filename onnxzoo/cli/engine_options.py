"""The options that say what runs a model and how, the same for every command that runs one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ..precisions import AUTO_PRECISION, FP32, LOW_PRECISIONS
from .completion import engine_names
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
    help="openvino, onnxruntime, cuda, tensorrt ...; openvino:GPU, cuda:1 for a device. Used or refused; "
    "auto takes the first that works.",
)
_PRECISION = click.option(
    "--precision",
    default=FP32,
    show_default=True,
    help=f"Arithmetic: {FP32} is exact; {', '.join(LOW_PRECISIONS)}; {AUTO_PRECISION}: the fastest that engine and "
    "model offer.",
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
    help="ONNX graphs to run: those of the operators that onnxzoo's own artifacts have, or any, which may use all "
    "time and memory.",
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
    """Add --trust to a command, as a parameter of this name."""
    return _TRUST(command)


def engine_options(command: Command) -> Command:
    """Add --engine, --precision, --threads, --strict, --trust and --no-verify (`verify`) to a command."""
    for option in (_VERIFY, _TRUST, _STRICT, _THREADS, _PRECISION, _ENGINE):
        command = option(command)
    return command


def _allow_pixels(_context: click.Context, _option: click.Parameter, pixels: int | None) -> None:
    """Set the limit for this process, which is the command's own: ours and Pillow's, which would refuse before ours."""
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
    help="Largest image that is read, in pixels; by default ONNXZOO_MAX_PIXELS or 89478485.",
)
"""--max-pixels, which takes effect by itself."""


@contextlib.contextmanager
def loaded_model(model: str, *, quiet: bool, **options: Any) -> Iterator[tuple[Model, Line]]:
    """Load a model, show that and what follows on the line of progress, and close the model at the end.

    `options`: as `onnxzoo.load` takes them, and raises for them.
    """
    from ..loading import load

    with progress(f"loading {model}", "images", quiet=quiet) as line, load(model, **options) as loaded:
        yield loaded, line


def batch_size_option(command: Command) -> Command:
    """Add --batch-size, None without it."""
    return click.option("--batch-size", type=Whole(1), help="Images per run of the engine; by default 8.")(command)
