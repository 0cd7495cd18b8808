"""Images at URLs, in buckets and on the Hub: objects, folders and patterns."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ..data.walk import HIDDEN, SPECIAL, Skipped, has_image_suffix, is_hidden
from ..errors import ImageError
from ..image import LazyImage
from .entry import Entry
from .parts import NoImagesError
from .places import Place, absent, content_of, fixed_part, has_pattern, info_of, matches, read_part, refusal


class RemoteImages:
    """The images of an object, a folder or a pattern at a URL, in the order in which a local folder is read."""

    def __init__(self, place: Place) -> None:
        self._place = place
        # What an earlier source of this process listed may have changed.
        place.files.invalidate_cache()

    def entries(self, skipped: Skipped) -> Iterator[Entry]:
        """The images; an error for an object that does not exist, and for folders below that cannot be listed.

        Raises DownloadError if the URL itself cannot be listed.
        """
        for found in self._found(skipped):
            yield found if isinstance(found, Entry) else _entry(*found)

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """URLs with sizes and what the file system knows about the content."""
        for found in self._found(Skipped()):
            if isinstance(found, Entry):
                yield found.path, 1
            else:
                place, info = found
                yield f"{place.name}\0{content_of(info)}", 1

    def _found(self, skipped: Skipped) -> Iterator[tuple[Place, Mapping[str, Any]] | Entry]:
        place = self._place
        if has_pattern(place.url):
            yield from self._by_pattern(skipped)
            return
        try:
            info = info_of(place)
        except FileNotFoundError:
            kind = NoImagesError if place.url.endswith("/") else ImageError
            yield Entry(place.name, kind(absent(place)))
            return
        if info["type"] != "directory":
            yield place, info
            return
        empty = True
        for found in self._in_folder(place, skipped):
            empty = False
            yield found
        if empty:
            yield Entry(place.name, NoImagesError(f"the folder {place.name!r} contains no images"))

    def _in_folder(self, folder: Place, skipped: Skipped) -> Iterator[tuple[Place, Mapping[str, Any]] | Entry]:
        try:
            listed = sorted(folder.files.ls(folder.path, detail=True), key=lambda info: info["name"])
        except Exception as error:
            if folder is self._place:
                raise refusal(folder.name, error) from error
            yield Entry(folder.name, NoImagesError(str(refusal(folder.name, error))))
            return
        folders = []
        for info in listed:
            path = info["name"].rstrip("/")
            if path == folder.path.rstrip("/"):
                continue  # an object of no bytes that marks a folder
            place = folder.child(path, self._place)
            if is_hidden(posixpath.basename(path)):
                skipped.add(place.name, HIDDEN)
            elif info["type"] == "directory":
                folders.append(place)
            elif _is_taken(place, info, skipped):
                yield place, info
        for place in folders:
            yield from self._in_folder(place, skipped)

    def _by_pattern(self, skipped: Skipped) -> Iterator[tuple[Place, Mapping[str, Any]] | Entry]:
        empty = True
        for place, info in matches(self._place):
            if not any(map(is_hidden, place.path.removeprefix(fixed_part(self._place).path).split("/"))) and _is_taken(
                place, info, skipped
            ):
                empty = False
                yield place, info
        if empty:
            yield Entry(self._place.name, NoImagesError(f"the pattern {self._place.name!r} contains no images"))


class RemoteFile:
    """One object at a URL, of which nothing is known before it is read."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def entries(self, skipped: Skipped) -> Iterator[Entry]:  # noqa: ARG002 - nothing is skipped
        """The object, whether or not it exists; reading it reports that."""
        yield _entry(self._place, {})

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """Its URL."""
        yield self._place.name, 1


def _entry(place: Place, info: Mapping[str, Any]) -> Entry:
    size = info.get("size")
    read = _nothing if size == 0 else partial(_beginning, place)
    return Entry(place.name, LazyImage(place.name, read, size if isinstance(size, int) else None, remote=True))


def _beginning(place: Place, limit: int) -> bytes:
    try:
        return read_part(place, 0, limit)
    except FileNotFoundError:
        raise ImageError(absent(place)) from None


def _nothing(_limit: int) -> bytes:
    """An object without content, of which a server refuses any range."""
    return b""


def _is_taken(place: Place, info: Mapping[str, Any], skipped: Skipped) -> bool:
    if info["type"] == "directory":
        return False
    if info["type"] not in ("file", "link"):
        skipped.add(place.name, SPECIAL)
        return False
    return has_image_suffix(place.name, skipped)
