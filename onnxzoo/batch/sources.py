"""Where many images come from: the arguments of a command, or of a call in Python."""

from __future__ import annotations

import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ..data.walk import Skipped
from ..errors import ImageError, InputError, OnnxzooError
from ..network import without_login
from .archives import ArchiveImages, is_archive
from .entry import Entry
from .lists import LIST_SUFFIXES, ImageList
from .local import STANDARD_INPUT, LocalFile, LocalImages, StandardInputImage
from .parts import Fault, NoImagesError, Part
from .places import has_pattern, is_url, matches, place_of, require_access
from .rows import unicode_path
from .stored import LocalStored, RemoteStored
from .urls import RemoteFile, RemoteImages

__all__ = ["Source", "open_source"]


@dataclass(frozen=True, slots=True)
class _Survey:
    count: int | None
    sha256: str


class Source:
    """Images in an order that is the same every time, as entries, listed as they are needed.

    Iterating raises InputError, before the first entry, if there are no images at all. `skipped`: what the last
    iteration left out so far. `repeated`: how many of its entries name an image that an earlier one names.
    """

    def __init__(self, parts: Sequence[Part], given: dict[str, object], *, unique: bool) -> None:
        self.skipped = Skipped()
        self.repeated = 0
        self._first_repeated = ""
        self._parts, self._given, self._unique = parts, given, unique
        self._survey: _Survey | None = None

    def __iter__(self) -> Iterator[Entry]:
        skipped = self.skipped = Skipped()
        self._survey = None  # the images may have changed since
        entries = self._numbered(entry for part in self._parts for entry in part.entries(skipped))
        refusals: list[Entry] = []
        for entry in entries:
            if isinstance(entry.image, NoImagesError):
                refusals.append(entry)
                continue
            yield from refusals
            yield entry
            yield from entries
            return
        reasons = [str(entry.image) for entry in refusals]
        raise InputError("; ".join([*reasons, *([str(skipped)] if skipped else [])]))

    @property
    def notes(self) -> list[str]:
        """What a user should know about the last iteration, a line each: what was skipped, and what occurs again."""
        notes = [str(self.skipped)] if self.skipped else []
        if self.repeated:
            images = "1 image occurs" if self.repeated == 1 else f"{self.repeated:,} images occur"
            notes.append(f"{images} again; the path of each has a number: {self._first_repeated}")
        return notes

    def count(self) -> int | None:
        """The number of entries; None if that takes reading all of them, as in a `.tar.gz`."""
        return self._surveyed().count

    def identity(self) -> dict[str, object]:
        """What this source is, as JSON: the arguments, and a `sha256` of the names and sizes that it lists.

        Two sources with the same identity have the same entries in the same order, as far as can be told without
        reading the images.
        """
        survey = self._surveyed()
        return {**self._given, "images": survey.count, "sha256": survey.sha256}

    def _surveyed(self) -> _Survey:
        if self._survey is None:
            digest = hashlib.sha256()
            total: int | None = 0
            for part in self._parts:
                for text, count in part.survey():
                    digest.update(text.encode("utf-8", "surrogatepass") + b"\n")
                    total = None if total is None or count is None else total + count
            self._survey = _Survey(total, digest.hexdigest())
        return self._survey

    def _numbered(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        """The entries, with `#2` behind the second of the same path, `#3` behind the third, ..."""
        self.repeated = 0
        if not self._unique:
            yield from entries
            return
        seen: set[int] = set()
        last: dict[int, int] = {}  # of paths that occur more than once
        for entry in entries:
            # Tables have paths as Unicode, and names that differ in other bytes only must stay apart there.
            if (key := hash(unicode_path(entry.path))) not in seen:
                seen.add(key)
                yield entry
                continue
            number = last.get(key, 1) + 1
            while (numbered := hash(unicode_path(f"{entry.path}#{number}"))) in seen:
                number += 1
            seen.add(numbered)
            last[key] = number
            self.repeated += 1
            path = f"{entry.path}#{number}"
            if self.repeated == 1:
                self._first_repeated = path
            yield replace(entry, path=path)


def open_source(
    arguments: Sequence[str], *, lists: Sequence[str] = (), column: str | None = None, unique: bool = True
) -> Source:
    """The images that `arguments` name, then those of `lists`.

    An argument is a file, a folder, a pattern, an archive (`.zip`, `.tar`, `.tar.gz`, ..., also by a pattern), a list
    (`.txt`, `.csv`, `.tsv`), or `-` for an image on standard input. Archives in folders are not opened. A list in
    `lists` may have any name; `-` is standard input. `column`: the column of paths of a list, by heading, or by number
    from 1. `unique`: an image that is named again is an entry again, and its path gets a number: `a.jpg#2`.

    Raises InputError for a list that cannot be read, MissingDependencyError for a URL whose package is missing, and
    DownloadError for one that cannot be reached or is refused; the last also when the images are listed.
    """
    parts = [part for argument in arguments for part in _parts(argument, column)]
    parts += [ImageList(path, column, _named) for path in lists]
    if sum(isinstance(part, StandardInputImage) for part in parts) + (STANDARD_INPUT in lists) > 1:
        raise InputError("standard input was given more than once; it is one image (-) or one list (--list -)")
    if not parts:
        raise InputError("no images were given; expected files, folders, patterns or lists")
    given: dict[str, object] = {
        "arguments": [without_login(argument) for argument in arguments],
        "lists": [without_login(path) for path in lists],
        "column": column,
    }
    return Source(parts, given, unique=unique)


def _parts(argument: str, column: str | None) -> list[Part]:
    """The images of an argument; a pattern for archives is one part for each."""
    if argument == STANDARD_INPUT:
        return [StandardInputImage()]
    if is_url(argument) and not os.path.lexists(argument):
        return _parts_at(argument, column)
    if os.path.isdir(argument) or argument.endswith(("/", os.sep)):  # noqa: PTH112
        return [LocalImages(argument)]
    if glob.has_magic(argument) and not os.path.lexists(argument):
        if not is_archive(argument):
            return [LocalImages(argument)]
        found = sorted(glob.iglob(argument, recursive=True))  # noqa: PTH207
        archives: list[Part] = [ArchiveImages(LocalStored(path)) for path in found]
        return archives or [Fault(argument, NoImagesError(f"the pattern {argument!r} matches no archives"))]
    if argument.lower().endswith(LIST_SUFFIXES):
        return [ImageList(argument, column, _named)]
    return [_named(argument)]


def _parts_at(url: str, column: str | None) -> list[Part]:
    """The images of a URL."""
    if url.lower().endswith(LIST_SUFFIXES):
        return [ImageList(url, column, _named)]
    place = place_of(url)
    if not is_archive(url):
        return [RemoteImages(place)]
    if has_pattern(url):
        archives: list[Part] = [ArchiveImages(RemoteStored(found)) for found, _ in matches(place)]
        return archives or [Fault(place.name, NoImagesError(f"the pattern {place.name!r} matches no archives"))]
    require_access(place)
    return [ArchiveImages(RemoteStored(place))]


def _named(name: str) -> Part:
    """The images of a path or URL in a list, which is not a pattern: one, or those of an archive."""
    if is_url(name) and not os.path.lexists(name):
        try:
            place = place_of(name)
        except OnnxzooError as error:
            return Fault(without_login(name), ImageError(str(error)))
        return ArchiveImages(RemoteStored(place)) if is_archive(name) else RemoteFile(place)
    if is_archive(name) and not os.path.isdir(name):  # noqa: PTH112
        return ArchiveImages(LocalStored(name))
    return LocalFile(name)
