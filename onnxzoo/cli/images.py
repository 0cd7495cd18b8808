"""Which images the arguments of a command stand for: files, folders and patterns."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Formats that Pillow reads without plug-ins and that photos come in.
IMAGE_SUFFIXES = frozenset(
    {
        ".avif",
        ".bmp",
        ".gif",
        ".jfif",
        ".jpe",
        ".jpeg",
        ".jpg",
        ".jp2",
        ".pgm",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    }
)


@dataclass(frozen=True, slots=True)
class NoImages:
    """An argument, a folder or a pattern, in which there is no image."""

    argument: str

    def __str__(self) -> str:
        kind = "the folder" if Path(self.argument).is_dir() else "the pattern"
        return f"{kind} {self.argument!r} has no image in it (looked for {' '.join(sorted(IMAGE_SUFFIXES))})"


def find_images(arguments: Iterable[str]) -> Iterator[str | NoImages]:
    """Paths of images, one by one, in the order of the arguments and sorted within a folder or pattern.

    A file counts whatever its name, and so does a path where nothing is: reading it says so. A folder stands
    for the images in it and its folders, by suffix. Anything else with `*`, `?` or `[...]` is a pattern, `**`
    meaning any depth, for files with an image suffix. Names with a leading dot count only when given in full.
    """
    for argument in arguments:
        if Path(argument).is_dir():
            found = _in_folder(argument)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            found = _by_pattern(argument)
        else:
            yield argument
            continue
        first = next(found, None)
        if first is None:
            yield NoImages(argument)
            continue
        yield first
        yield from found


def _in_folder(folder: str) -> Iterator[str]:
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and _is_image(name):
                yield os.path.join(parent, name)  # noqa: PTH118 - a Path would drop the user's leading './'


def _by_pattern(pattern: str) -> Iterator[str]:
    # Sorting needs them all at once: names only, some hundred bytes each.
    yield from sorted(path for path in glob.iglob(pattern, recursive=True) if _is_image(path) and Path(path).is_file())  # noqa: PTH207


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in IMAGE_SUFFIXES
