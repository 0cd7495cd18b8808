"""Printing the results of images, as text or as one JSON document."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from .output import report, say, write_json

if TYPE_CHECKING:
    from ..batch.entry import Entry
    from ..model import Model
    from ..stream import Result
    from .progress import Line


def print_results(results: Iterable[tuple[Entry, Result]], writers: Sequence[Writer], line: Line) -> int:
    """Give results to the writers as they come, and report images that cannot be read; returns how many these are."""
    from ..batch.local import STANDARD_INPUT

    errors = 0
    for entry, result in results:
        if result.error is not None:
            errors += 1
            report(f"standard input: {result.error}" if entry.path == STANDARD_INPUT else str(result.error))
        for writer in writers:
            writer.write(entry.path, result)
        line.advance(result.index + 1, errors=errors)
    for writer in writers:
        writer.end()
    return errors


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
        from ..batch.rows import unicode_path

        if result.prediction is not None:
            say(unicode_path(image))
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
        """Append one result: its embedding if it has one, otherwise its classes."""
        from ..batch.rows import unicode_path

        entry: dict[str, Any] = {"image": unicode_path(image)}
        if result.prediction is None:
            entry["error"] = str(result.error)
        elif result.embedding is not None:
            entry["embedding"] = result.embedding.tolist()
        else:
            entry |= result.prediction.to_dict()
        if self._waiting:
            write_json(f"{self._waiting},\n")
        self._waiting = f"    {json.dumps(entry)}"

    def end(self) -> None:
        """Close the document."""
        write_json(f"{self._waiting}\n  ]\n}}\n")
