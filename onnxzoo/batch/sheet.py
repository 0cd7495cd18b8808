"""Contact sheets: pictures with the classes that models give them, for people to look at.

A run gives each of its results to a `SheetWriter`, whose `Sample` keeps a few; `write_sheet` draws them as PNG or HTML.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import ImageError, InputError
from ..files import atomic_write, refuse_unwritable, writing
from ..image_reading import ImageInput, load_rgb
from ..results import Prediction
from ..stream import Result
from ..web_page import fitted_picture
from .sheet_html import html_sheet
from .sheet_parts import PICTURE_PIXELS, Cell, Sheet
from .sheet_png import png_sheet

if TYPE_CHECKING:
    import PIL.Image

    from ..model import Model

logger = logging.getLogger(__name__)

TOP_K = 3
"""Classes shown for an image."""

MAX_IMAGES = 60
"""Images of a sheet: 15 rows of 4, as many as can be looked at."""

MAX_ERRORS = 15
"""Images of a full sheet that could not be read, so that errors are seen, but not errors alone."""

FORMATS: dict[str, Callable[[Sheet], bytes]] = {".png": png_sheet, ".html": html_sheet, ".htm": html_sheet}


def refuse_sheet(path: Path) -> None:
    """Raise InputError before a run if a sheet could not be written to `path`; nothing is created."""
    _format(path)
    refuse_unwritable("the contact sheet", path)


def write_sheet(path: Path, sheet: Sheet) -> None:
    """Write the sheet atomically, as PNG or HTML by the suffix of `path`; its folder is created if necessary.

    Raises InputError for another suffix, or if it cannot be written.
    """
    content = _format(path)(sheet)
    what = f"the contact sheet {path}"
    with writing(what, InputError, "make room, or name another file"), atomic_write(path) as file:
        file.write(content)


def _format(path: Path) -> Callable[[Sheet], bytes]:
    found = FORMATS.get(path.suffix.lower())
    if found is None:
        raise InputError(f"a contact sheet is a .png or .html file, got {path.name!r}; give it one of these suffixes")
    return found


class SheetWriter:
    """The contact sheet of a run: takes its results one by one, and is written when it ends."""

    def __init__(self, path: Path, model: Model) -> None:
        """`path`: where the sheet is written, .png or .html (see `refuse_sheet`). `model`: whose results these are."""
        self._path = path
        self._model = model
        self._sample = Sample()

    def write(self, image: str, result: Result) -> None:
        """Take the result of the image of this name."""
        self._sample.add(image, result, self._model.name)

    def end(self) -> None:
        """Draw and write the sheet. Raises as `write_sheet`."""
        info = self._model.engine
        engine = f"{info.name} {info.version}, {info.device}, {info.precision}"
        write_sheet(self._path, self._sample.sheet(self._model.name, engine))
        logger.info("contact sheet: %s", self._path)


@dataclass(frozen=True, slots=True)
class _Kept:
    """A cell with its place in the run."""

    index: int
    cell: Cell


class Sample:
    """A sample of the results of a run of any length, in bounded memory: at most `size` good ones and `size` errors.

    Each image has the same chance, decided by a hash of its name, so that the same run always shows the same images.
    """

    def __init__(self, size: int = MAX_IMAGES) -> None:
        self._size = size
        self._good = _Smallest(size)
        self._bad = _Smallest(size)

    def add(self, name: str, result: Result, model: str) -> None:
        """Take account of the result of the image `name`, given by `model`; the image is read again if it is kept."""
        kept = self._bad if result.prediction is None else self._good
        kept.offer(name, result.index, lambda: cell_of(name, result, model))

    def sheet(self, title: str, *notes: str) -> Sheet:
        """The sheet of what was kept, in the order of the run; it says how many there were."""
        good, bad = self._good, self._bad
        errors = min(bad.count, max(MAX_ERRORS, self._size - good.count))
        shown = good.smallest(self._size - errors) + bad.smallest(errors)
        cells = tuple(kept.cell for kept in sorted(shown, key=lambda kept: kept.index))
        total = good.count + bad.count
        counts = f"all {total:,} images"
        if len(cells) < total:
            counts = f"{len(cells):,} of {total:,} images, a random sample"
        failed = f"{bad.count:,} cannot be read" + (f", {errors:,} of them shown" if errors < bad.count else "")
        return Sheet(title, ("; ".join([counts, *([failed] if bad.count else [])]), *notes), cells)


class _Smallest:
    """The cells whose names have the smallest hashes, at most `size`; `count`: how many were offered."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self._size = size
        # A heap with the largest hash first.
        self._heap: list[tuple[int, int, _Kept]] = []

    def offer(self, name: str, index: int, make: Callable[[], Cell]) -> None:
        """Keep this cell, which `make` makes, if it is among the smallest so far."""
        self.count += 1
        digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        rank = (-int.from_bytes(digest), -index)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, (*rank, _Kept(index, make())))
        elif rank > self._heap[0][:2]:
            heapq.heapreplace(self._heap, (*rank, _Kept(index, make())))

    def smallest(self, count: int) -> list[_Kept]:
        return [kept for _, _, kept in heapq.nlargest(count, self._heap, key=lambda entry: entry[:2])]


def cell_of(name: str, result: Result, model: str) -> Cell:
    """The cell of one result, with its picture if the image can still be read."""
    if result.prediction is None:
        return Cell(name, None, (), error=str(result.error))
    best = Prediction(result.prediction.top[:TOP_K])
    return Cell(name, _picture(result.image), ((model, best),))


def _picture(image: ImageInput | ImageError) -> PIL.Image.Image | None:
    if isinstance(image, ImageError):
        return None
    try:
        return fitted_picture(load_rgb(image), PICTURE_PIXELS)
    except ImageError:  # a file that has gone since, or a stream that was read to its end
        return None
