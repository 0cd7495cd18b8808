"""`onnxzoo predict`: classifies images."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol

import click

from ..data.walk import NoImages, Skipped, find_images
from ..errors import ImageError, InputError
from .completion import model_names
from .engine_options import batch_size_option, engine_options, loaded_model, max_pixels_option
from .output import report, say, write_json
from .parameters import Whole
from .progress import quiet_option

STANDARD_INPUT = "-"

if TYPE_CHECKING:
    from ..engines.options import Hint
    from ..image_reading import ImageInput
    from ..model import Model
    from ..stream import Result


@click.command("predict", short_help="Classify images.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--top-k", default=5, show_default=True, type=Whole(1), help="Classes to show per image.")
@engine_options
@batch_size_option
@max_pixels_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(
    ctx: click.Context,
    model: str,
    images: tuple[str, ...],
    top_k: int,
    engine: str,
    precision: str,
    threads: int | None,
    strict: bool,
    trust: str,
    verify: bool,
    batch_size: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Classify images: files, folders (including subfolders) or quoted patterns such as 'photos/**/*.jpg'.

    '-' is an image on standard input.

    An image that cannot be read is reported on stderr; the others are classified and the exit code is 1.
    """
    from ..engines.options import EngineOptions

    size = EngineOptions(precision, threads, batch_size, strict).largest_batch
    skipped = Skipped()
    found = find_images(images, skipped)
    # The first batch is collected before anything is loaded, to find out whether there are any images.
    ahead = list(islice(found, size))
    count = sum(isinstance(item, str) for item in ahead)
    while not count and (item := next(found, None)) is not None:
        ahead.append(item)
        count = int(isinstance(item, str))
    if not count:
        # No image at all is wrong usage, reported before a model is loaded.
        raise InputError("; ".join([*map(str, ahead), *([str(skipped)] if skipped else [])]))

    failed = False
    hint: Hint = "throughput" if count == size > 1 else "latency"
    with loaded_model(
        model,
        quiet=quiet,
        engine=engine,
        precision=precision,
        threads=threads,
        batch_size=batch_size,
        hint=hint,
        strict=strict,
        trust=trust,
        verify=verify,
    ) as (loaded, line):
        line.begin("predicting")
        writer = JsonWriter(loaded) if as_json else TextWriter()
        names: deque[str] = deque()
        for result in loaded.stream(_images(chain(ahead, found), names), top_k=top_k):
            name = names.popleft()
            if result.error is not None:
                failed = True
                report(f"standard input: {result.error}" if name == STANDARD_INPUT else str(result.error))
            writer.write(name, result)
            line.advance(result.index + 1)
        writer.end()
    if skipped:
        say(f"onnxzoo: {skipped}", err=True)
    if failed:
        ctx.exit(1)


class Writer(Protocol):
    """Prints results one by one."""

    def write(self, image: str, result: Result) -> None:
        """Print the result of one image."""

    def end(self) -> None:
        """Print the end of the output."""


class TextWriter:
    """For people: one line for the image, followed by its classes."""

    def write(self, image: str, result: Result) -> None:
        """Print one image's classes; errors were printed to stderr."""
        if result.prediction is not None:
            say(image)
            say(*(f"  {best.score:.4f}  {best.class_id:>4}  {best.label}" for best in result.prediction.top))

    def end(self) -> None:
        """Print nothing, as the text needs no end."""


class JsonWriter:
    """For programs: one document, written image by image, so that memory does not limit the number of images."""

    def __init__(self, model: Model) -> None:
        head = {"model": model.name, "engine": dataclasses.asdict(model.engine)}
        write_json(json.dumps(head, indent=2)[:-2] + ',\n  "results": [\n')
        # The last result is held until the next one, so that all output ends with a newline and progress does not
        # overwrite it.
        self._waiting = ""

    def write(self, image: str, result: Result) -> None:
        """Append one result."""
        entry: dict[str, Any] = {"image": image}
        if result.prediction is None:
            entry["error"] = str(result.error)
        else:
            entry |= result.prediction.to_dict()
        if self._waiting:
            write_json(f"{self._waiting},\n")
        self._waiting = f"    {json.dumps(entry)}"

    def end(self) -> None:
        """Close the document."""
        write_json(f"{self._waiting}\n  ]\n}}\n")


def _images(items: Iterable[str | NoImages], names: deque[str]) -> Iterator[ImageInput | ImageError]:
    """The images that the arguments name, or an error for an argument without any; appends their names to `names`."""
    for item in items:
        names.append(item if isinstance(item, str) else item.argument)
        if isinstance(item, NoImages):
            yield ImageError(str(item))
            continue
        try:
            image = _image(item)
        except ImageError as error:
            yield error
        else:
            yield image


def _image(argument: str) -> ImageInput:
    """The image that an argument names: a path, or for `-` the bytes of standard input, which can be read only once."""
    if argument != STANDARD_INPUT:
        return argument
    from ..image_reading import settled

    if sys.stdin is None:
        raise ImageError("standard input is closed; pipe an image into it")
    return settled(sys.stdin.buffer)
