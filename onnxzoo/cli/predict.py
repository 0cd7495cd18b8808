"""`onnxzoo predict`: classifies images."""

from __future__ import annotations

import dataclasses
import json
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from .completion import model_names
from .engine_options import batch_size_option, engine_options, loaded_model, max_pixels_option
from .output import report, say, write_json
from .parameters import OUTPUT_FILE, Whole
from .progress import quiet_option
from .source_options import source_options

if TYPE_CHECKING:
    from ..batch.entry import Entry
    from ..engines.options import Hint
    from ..errors import ImageError
    from ..image_reading import ImageInput
    from ..model import Model
    from ..stream import Result


@click.command("predict", short_help="Classify images.")
@click.argument("model", metavar="NAME|DIR", shell_complete=model_names)
@source_options
@click.option("--top-k", default=5, show_default=True, type=Whole(1), help="Classes to show per image.")
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
    model: str,
    images: tuple[str, ...],
    lists: tuple[str, ...],
    column: str | None,
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
    sheet: Path | None,
) -> None:
    """Classify images: files, folders (including subfolders), quoted patterns such as 'photos/**/*.jpg', archives
    (.zip, .tar, .tar.gz), or lists (.txt with a path in every line, .csv or .tsv with a column of paths).

    '-' is an image on standard input.

    An image that cannot be read is reported on stderr; the others are classified and the exit code is 1.
    """
    from ..batch.local import STANDARD_INPUT
    from ..batch.sources import open_source
    from ..engines.options import EngineOptions
    from ..errors import ImageError

    if sheet is not None:
        from ..batch.sheet import SheetWriter, refuse_sheet

        refuse_sheet(sheet)
    size = EngineOptions(precision, threads, batch_size, strict).largest_batch
    source = open_source(images, lists=lists, column=column, unique=False)
    entries = iter(source)
    # The first batch is listed before anything is loaded: no image at all is wrong usage.
    ahead = list(islice(entries, size))
    count = sum(not isinstance(entry.image, ImageError) for entry in ahead)

    errors = 0
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
        writers: list[Writer] = [JsonWriter(loaded) if as_json else TextWriter()]
        if sheet is not None:
            writers.append(SheetWriter(sheet, loaded))
        names: deque[str] = deque()
        for result in loaded.stream(_images(chain(ahead, entries), names), top_k=top_k):
            name = names.popleft()
            if result.error is not None:
                errors += 1
                report(f"standard input: {result.error}" if name == STANDARD_INPUT else str(result.error))
            for writer in writers:
                writer.write(name, result)
            line.advance(result.index + 1, errors=errors)
        for writer in writers:
            writer.end()
    if source.skipped:
        say(f"onnxzoo: {source.skipped}", err=True)
    if errors:
        ctx.exit(1)


class Writer(Protocol):
    """Prints results one by one, or writes what is made of them."""

    def write(self, image: str, result: Result) -> None:
        """Take the result of one image."""

    def end(self) -> None:
        """Finish the output."""


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
            entry["top"] = [dataclasses.asdict(best) for best in result.prediction.top]
        if self._waiting:
            write_json(f"{self._waiting},\n")
        self._waiting = f"    {json.dumps(entry)}"

    def end(self) -> None:
        """Close the document."""
        write_json(f"{self._waiting}\n  ]\n}}\n")


def _images(entries: Iterable[Entry], names: deque[str]) -> Iterator[ImageInput | ImageError]:
    """The images of the entries; appends their names to `names`."""
    for entry in entries:
        names.append(entry.path)
        yield entry.image
