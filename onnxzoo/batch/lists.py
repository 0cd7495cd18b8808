"""Lists of images: text with a path in every line, tables with a column of paths, and such text on standard input."""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..data.encoding import MAX_TEXT_BYTES, read_text, text_of
from ..data.walk import Skipped
from ..errors import ImageError, InputError, OnnxzooError
from ..network import without_login
from ..text import beginning
from .entry import Entry
from .local import STANDARD_INPUT
from .parts import NoImagesError, Part
from .places import Place, absent, is_url, place_of, read_part, refusal

TABLE_SUFFIXES = (".csv", ".tsv")
LIST_SUFFIXES = (".txt", *TABLE_SUFFIXES)

PATH_COLUMNS = ("path", "image", "file", "filename", "filepath", "file_name", "file_path", "image_path", "url")
"""Headings of the column that is taken if none is named, in lower case, the better one first."""

DELIMITERS = ",;\t"

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")


class ImageList:
    """The images that a list names, in its order; a line is a path, a URL or an archive, never a pattern.

    In a `.csv` or `.tsv` file the first line has the headings, unless `column` is a number, from 1. In other lists a
    line is a path; with a column, which is then a number, it is cut at white space. Blank lines are ignored. Relative
    paths start from the folder of the list, on standard input from the current folder. On standard input, paths may be
    separated by NUL instead of lines.
    """

    def __init__(self, path: str, column: str | None, part_of: Callable[[str], Part]) -> None:
        """`part_of`: the images of one path or URL.

        Raises InputError if the list cannot be read or has no such column. Standard input is read at the first need.
        """
        self._path, self._column, self._part_of = path, column, part_of
        self._name = "the list on standard input" if path == STANDARD_INPUT else f"the list {path!r}"
        self._place = place_of(path) if is_url(path) else None
        if self._place is not None:
            self._name = f"the list {self._place.name!r}"
        self._folder = "" if path == STANDARD_INPUT else os.path.dirname(path)  # noqa: PTH120
        self._kept: list[str] | None = None
        if path != STANDARD_INPUT:
            self._require_column(next(self._images(), None))

    def entries(self, skipped: Skipped) -> Iterator[Entry]:
        """The images of its lines, and an error for a line without one. Raises InputError as the constructor."""
        empty = True
        for image in self._images():
            empty = False
            if isinstance(image, Entry):
                yield image
            else:
                yield from self._part_of(image).entries(skipped)
        if empty:
            yield Entry(
                without_login(self._path), NoImagesError(f"{self._name} names no images; expected a path in every line")
            )

    def survey(self) -> Iterator[tuple[str, int | None]]:
        """What is known of its images."""
        for image in self._images():
            if isinstance(image, Entry):
                yield image.path, 1
            else:
                yield from self._part_of(image).survey()

    def _images(self) -> Iterator[str | Entry]:
        """The path in each line, relative to the current folder, or an entry with the fault of the line."""
        lines = self._lines()
        table = self._path.lower().endswith(TABLE_SUFFIXES)
        for number, name in self._cells(lines) if table else self._words(lines):
            if isinstance(name, ImageError):
                yield Entry(f"{without_login(self._path)}:{number}", name)
            else:
                yield name if "://" in name else os.path.join(self._folder, name)  # noqa: PTH118

    def _lines(self) -> list[str]:
        if self._path != STANDARD_INPUT:
            try:
                text = read_text(Path(self._path)) if self._place is None else text_of(self._content(self._place))
            except (OSError, ValueError) as error:
                if isinstance(error, OnnxzooError):
                    raise
                reason = getattr(error, "strerror", None) or error
                expected = "expected text, a path in every line"
                raise InputError(f"{self._name} cannot be read: {reason}; {expected}") from None
            return _lines_of(text)
        if self._kept is None:
            if sys.stdin is None:
                raise InputError("standard input is closed; pipe a list of images into it, a path in every line")
            # File names are bytes; those that are not UTF-8 are kept as Python keeps them.
            text = sys.stdin.buffer.read().decode("utf-8-sig", "surrogateescape")
            self._kept = text.split("\0") if "\0" in text else _lines_of(text)
        return self._kept

    def _content(self, place: Place) -> bytes:
        try:
            return read_part(place, 0, MAX_TEXT_BYTES + 1)
        except FileNotFoundError:
            raise InputError(f"the list {absent(place)}") from None
        except Exception as error:
            raise refusal(place.name, error) from error

    def _words(self, lines: Sequence[str]) -> Iterator[tuple[int, str | ImageError]]:
        place = None if self._column is None else self._place_by_number(self._column)
        for number, line in enumerate(lines, start=1):
            words = line.split() if place is not None else [line.strip()]
            if words and words[0]:
                yield number, self._cell(words, place or 0, number)

    def _cells(self, lines: Sequence[str]) -> Iterator[tuple[int, str | ImageError]]:
        heading = next((line for line in lines if line.strip()), "")
        rows = csv.reader(lines, delimiter=max(DELIMITERS, key=heading.count))
        if self._column is not None and _is_number(self._column):
            place = self._place_by_number(self._column)
        else:
            place = self._place_by_heading(self._headings(rows))
        while True:
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield rows.line_num, ImageError(f"{self._name}, line {rows.line_num}: {error}; correct the line")
                continue
            if row is None:
                return
            if any(map(str.strip, row)):
                yield rows.line_num, self._cell(row, place, rows.line_num)

    def _headings(self, rows: Iterator[list[str]]) -> list[str]:
        try:
            return next((row for row in rows if row), [])
        except csv.Error as error:
            raise InputError(f"{self._name} has no line of headings: {error}; correct it, or save it again") from None

    def _cell(self, row: Sequence[str], place: int, number: int) -> str | ImageError:
        name = row[place].strip() if place < len(row) else ""
        if name:
            return name
        return ImageError(
            f"{self._name}, line {number} has nothing in column {place + 1}; expected the path of an image there"
        )

    def _place_by_heading(self, headings: Sequence[str]) -> int:
        """The place of the column of paths, from 0."""
        names = [heading.strip() for heading in headings]
        if self._column is not None:
            if self._column in names:
                return names.index(self._column)
            expected = f"column {self._column!r}"
        else:
            lower = [name.lower() for name in names]
            found = next((lower.index(name) for name in PATH_COLUMNS if name in lower), None)
            if found is not None:
                return found
            expected = "column named 'path'"
        known = beginning(", ".join(map(repr, names))) or "none"
        raise InputError(
            f"{self._name} has no {expected}, its headings are {known}; name the column with the paths: --column NAME, "
            "or its number from 1 if there are no headings"
        )

    def _place_by_number(self, column: str) -> int:
        if not _is_number(column):
            raise InputError(
                f"{self._name} has no headings, so its column must be a number from 1, got {column!r}; if it has, "
                "let its name end with .csv or .tsv"
            )
        return int(column) - 1

    def _require_column(self, first: str | Entry | None) -> None:
        """Raise InputError if the first line seems to be a path and a label, as in PaddleClas's lists."""
        if self._column is None and isinstance(first, str) and not os.path.lexists(first):
            path, _, label = first.rpartition("\t" if "\t" in first else " ")
            if path and label.isdigit() and os.path.lexists(path):
                raise InputError(f"{self._name} has labels beside its paths; say which column to take: --column 1")


def _lines_of(text: str) -> list[str]:
    """The lines of a text from any system, with their ends, which are part of a table's cell if it is quoted.

    str.splitlines would also cut at characters that are parts of names.
    """
    return _LINE.findall(text)


def _is_number(column: str) -> bool:
    return column.isascii() and column.isdigit() and 0 < len(column) < 7 and int(column) > 0
