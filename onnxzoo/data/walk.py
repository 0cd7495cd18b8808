"""Find the images that a command's arguments refer to: files, folders and patterns."""

from __future__ import annotations

import glob
import itertools
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

IMAGE_SUFFIXES = frozenset(
    {
        *(".avif", ".avifs", ".bmp", ".dib", ".gif", ".heic", ".heif", ".hif", ".ico", ".j2c", ".j2k", ".jfif", ".jp2"),
        *(".jpc", ".jpe", ".jpeg", ".jpf", ".jpg", ".jpx", ".pbm", ".pcx", ".pgm", ".png", ".pnm", ".ppm", ".psd"),
        *(".qoi", ".tga", ".tif", ".tiff", ".webp"),
    }
)
"""Image formats that Pillow reads, HEIC with the plug-in pillow-heif; reading an unsupported one raises an error."""

SYSTEM_NAMES = frozenset(
    {"__macosx", "thumbs.db", "desktop.ini", "$recycle.bin", "system volume information", "@eadir"}
)
"""Names of system files and folders, in lower case; names that begin with a dot are hidden as well."""

SHOWN_SUFFIXES = 3

HIDDEN, SPECIAL, LINKED_FOLDER, OTHER = "hidden", "not a regular file", "links to folders", "not an image"
SINGULARS = {LINKED_FOLDER: "link to a folder"}


@dataclass(slots=True)
class Skipped:
    """Counts of skipped names by reason, with the first of each; false if there are none."""

    counts: Counter[str] = field(default_factory=Counter)
    suffixes: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)

    def add(self, path: str, reason: str) -> None:
        """Count one name."""
        self.counts[reason] += 1
        self.first.setdefault(reason, path)
        if reason == OTHER:
            self.suffixes[Path(path).suffix.lower() or "no suffix"] += 1

    def __bool__(self) -> bool:
        return bool(self.counts)

    def __str__(self) -> str:
        """One line: `skipped 12 files: 9 not an image (.txt, .json), 2 hidden, 1 not a regular file (a/b.png)`."""
        parts = []
        for reason, count in self.counts.most_common():
            examples = self.first[reason]
            if reason == OTHER:
                examples = ", ".join(suffix for suffix, _ in self.suffixes.most_common(SHOWN_SUFFIXES))
            parts.append(f"{count} {SINGULARS.get(reason, reason) if count == 1 else reason} ({examples})")
        total = sum(self.counts.values())
        return f"skipped {total} file{'s' if total > 1 else ''}: {', '.join(parts)}"


@dataclass(frozen=True, slots=True)
class NoImages:
    """An argument, a folder or a pattern, without any images; or a folder that `refusal` says why cannot be read."""

    argument: str
    refusal: str = ""

    def __str__(self) -> str:
        if self.refusal:
            return f"the folder {self.argument!r} cannot be read: {self.refusal}; check its permissions"
        kind = "the folder" if _is_folder(self.argument) else "the pattern"
        return f"{kind} {self.argument!r} contains no images (looked for {' '.join(sorted(IMAGE_SUFFIXES))})"


def find_images(arguments: Iterable[str], skipped: Skipped | None = None) -> Iterator[str | NoImages]:
    """Paths of images, one by one, in the order of the arguments and sorted within a folder or pattern.

    A file is yielded whatever its name and kind, and so is a path that does not exist; reading it reports that. A
    folder yields the images in it and its subfolders (see `images_in`). Anything else with `*`, `?` or `[...]` is a
    pattern, where `**` is any depth, for regular files with an image suffix; names with a leading dot match only if the
    pattern has the dot too. Skipped names are counted in `skipped`. A folder that may not be read is yielded as a
    NoImages with a `refusal`, wherever it is.
    """
    skipped = Skipped() if skipped is None else skipped
    found: Iterator[str | NoImages]
    for argument in arguments:
        if _is_folder(argument):
            found = _in_folder(argument, skipped)
        elif glob.has_magic(argument) and not os.path.lexists(argument):
            found = _by_pattern(argument, skipped)
        else:
            yield argument
            continue
        first = next(found, None)
        if first is None:
            yield NoImages(argument)
            continue
        yield first
        yield from found


def images_in(
    folder: str | os.PathLike[str], skipped: Skipped, refused: Callable[[OSError], None] | None = None
) -> Iterator[str]:
    """The images in a folder and its folders, by suffix, sorted by folder and name.

    Hidden names, those of SYSTEM_NAMES and everything in such folders are skipped, and so are pipes, devices, sockets
    and links to folders. A broken link is yielded; reading it reports that. `refused` is called with the error for each
    folder that cannot be listed; without it the error is raised.
    """

    def raised(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=refused or raised):
        seen = []
        for name in sorted(folders):
            path = os.path.join(parent, name)  # noqa: PTH118 - a Path would drop the user's leading './'
            if is_hidden(name):
                skipped.add(path, HIDDEN)
            elif os.path.islink(path):  # noqa: PTH114
                skipped.add(path, LINKED_FOLDER)
            else:
                seen.append(name)
        folders[:] = seen
        for name in sorted(names):
            path = os.path.join(parent, name)  # noqa: PTH118
            if is_hidden(name):
                skipped.add(path, HIDDEN)
            elif _is_taken(path, skipped):
                yield path


def is_hidden(name: str) -> bool:
    """Whether operating systems and tools hide this name."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def has_image_suffix(path: str, skipped: Skipped) -> bool:
    """Whether a path or URL has the suffix of an image; counts it as skipped if not."""
    if Path(path).suffix.lower() in IMAGE_SUFFIXES:
        return True
    skipped.add(path, OTHER)
    return False


def _is_folder(path: str) -> bool:
    # Path.is_dir would raise an error for a path in a folder that may not be searched.
    return os.path.isdir(path)  # noqa: PTH112


def _in_folder(folder: str, skipped: Skipped) -> Iterator[str | NoImages]:
    refused: list[NoImages] = []

    def refuse(error: OSError) -> None:
        refused.append(NoImages(os.fsdecode(error.filename or folder), error.strerror or str(error)))

    for path in images_in(folder, skipped, refuse):
        yield from refused
        refused.clear()
        yield path
    yield from refused


def _by_pattern(pattern: str, skipped: Skipped) -> Iterator[str | NoImages]:
    # Sorting needs all names at once, about a hundred bytes each.
    matches = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207
    yield from (path for path in matches if not _is_folder(path) and _is_taken(path, skipped))
    if not matches:
        # A pattern that matches nothing in a folder that cannot be listed; glob does not say so.
        fixed = list(itertools.takewhile(lambda part: not glob.has_magic(part), Path(pattern).parts))
        folder = os.path.join("", *fixed) or os.curdir  # noqa: PTH118
        try:
            os.scandir(folder).close()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            yield NoImages(folder, error.strerror or str(error))


def _is_taken(path: str, skipped: Skipped) -> bool:
    if not has_image_suffix(path, skipped):
        return False
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116
    except OSError:
        return True
    if not regular:
        skipped.add(path, SPECIAL)
    return regular
