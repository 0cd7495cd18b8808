"""A contact sheet as a PNG, drawn by Pillow alone, with the font that it contains: the same on every machine."""

from __future__ import annotations

import functools
import io
import textwrap
import unicodedata
from typing import TYPE_CHECKING

from ..errors import MissingDependencyError
from ..results import Prediction
from ..text import escaped
from .sheet_parts import PICTURE_PIXELS, Cell, Sheet, bar_colour

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

COLUMNS = 4

# Pixels.
MARGIN, GAP, PADDING = 28, 14, 14
ANSWERS_WIDTH = 258
CELL_WIDTH = PADDING + PICTURE_PIXELS + PADDING + ANSWERS_WIDTH + PADDING
TITLE_HEIGHT, NOTE_HEIGHT, HEAD_GAP = 40, 22, 14
CAPTION, TRUTH = 24, 28
MODEL_ROW, MODEL_GAP = 20, 8
ROW, BAR_TOP, BAR_HEIGHT = 34, 20, 6
PERCENT_WIDTH = 58
ERROR_ROW, ERROR_LINES = 18, 9

PAGE, CELL, BORDER = "#eef1f4", "#ffffff", "#d5dbe1"
TEXT, QUIET, TRACK = "#1c2733", "#6b7885", "#edf0f3"
BAD, BAD_CELL = "#b3261e", "#fdeceb"

MEASURED = 300
"""Characters of a text that are measured at all; no line has room for more."""

ELLIPSIS = "…"


def png_sheet(sheet: Sheet) -> bytes:
    """The sheet as the bytes of a PNG.

    Characters that the font lacks (it covers Latin without most accents) are drawn without their accents or as boxes;
    an HTML sheet shows all.
    """
    import PIL.Image
    import PIL.ImageDraw

    columns = max(1, min(COLUMNS, len(sheet.cells)))
    rows = [sheet.cells[start : start + columns] for start in range(0, len(sheet.cells), columns)]
    named = sheet.compares_models
    heights = [max(_height(cell, named=named) for cell in row) for row in rows]
    width = 2 * MARGIN + columns * CELL_WIDTH + (columns - 1) * GAP
    top = MARGIN + TITLE_HEIGHT + len(sheet.notes) * NOTE_HEIGHT + HEAD_GAP
    page = PIL.Image.new("RGB", (width, top + sum(heights) + len(rows) * GAP - GAP + MARGIN), PAGE)
    draw = PIL.ImageDraw.Draw(page)
    room = width - 2 * MARGIN
    _write(draw, (MARGIN, MARGIN), sheet.title, 26, TEXT, room)
    for number, note in enumerate(sheet.notes):
        _write(draw, (MARGIN, MARGIN + TITLE_HEIGHT + number * NOTE_HEIGHT), note, 15, QUIET, room)
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            left = MARGIN + column * (CELL_WIDTH + GAP)
            box = (left, top, left + CELL_WIDTH - 1, top + height - 1)
            colours = (BAD_CELL, BAD) if cell.error else (CELL, BORDER)
            draw.rounded_rectangle(box, radius=8, fill=colours[0], outline=colours[1])
            _draw_cell(draw, left + PADDING, top + PADDING, cell, named=named)
            if cell.picture is not None:
                page.paste(cell.picture, (left + PADDING, top + PADDING + _caption_height(cell)))
        top += height + GAP
    stream = io.BytesIO()
    page.save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _caption_height(cell: Cell) -> int:
    return CAPTION + (TRUTH if cell.truth else 0)


def _height(cell: Cell, *, named: bool) -> int:
    answers = sum((MODEL_ROW if named else 0) + len(best.top) * ROW for _, best in cell.answers)
    answers += max(0, len(cell.answers) - 1) * MODEL_GAP
    return PADDING + _caption_height(cell) + max(PICTURE_PIXELS, answers) + PADDING


def _draw_cell(draw: ImageDraw, x: int, y: int, cell: Cell, *, named: bool) -> None:
    """Draw all of a cell except its picture, from the corner (x, y)."""
    room = CELL_WIDTH - 2 * PADDING
    if cell.truth:
        _write(draw, (x, y), cell.truth, 19, TEXT, room)
        y += TRUTH
    # The end of a path says more than its beginning.
    _write(draw, (x, y), cell.name, 13, QUIET, room, keep_end=True)
    y += CAPTION
    if cell.picture is None:
        box = (x, y, x + PICTURE_PIXELS - 1, y + PICTURE_PIXELS - 1)
        draw.rectangle(box, fill=CELL if cell.error else TRACK)
        middle = (x + PICTURE_PIXELS // 2, y + PICTURE_PIXELS // 2)
        words = "not readable" if cell.error else "no longer readable"
        draw.text(middle, words, font=_font(14), fill=BAD if cell.error else QUIET, anchor="mm")
    x += PICTURE_PIXELS + PADDING
    for line in _wrapped(cell.error):
        _write(draw, (x, y), line, 14, BAD, ANSWERS_WIDTH)
        y += ERROR_ROW
    for model, best in cell.answers:
        if named:
            _write(draw, (x, y), model, 13, QUIET, ANSWERS_WIDTH)
            y += MODEL_ROW
        y = _draw_bars(draw, x, y, best, cell.truth) + MODEL_GAP


def _draw_bars(draw: ImageDraw, x: int, y: int, best: Prediction, truth: str) -> int:
    """Draw the classes of one model from the corner (x, y); returns where they end."""
    for rank, one in enumerate(best.top):
        _write(draw, (x, y), one.label, 15, TEXT, ANSWERS_WIDTH - PERCENT_WIDTH)
        draw.text((x + ANSWERS_WIDTH, y), f"{one.score:.1%}", font=_font(15), fill=TEXT, anchor="ra")
        top = y + BAR_TOP
        draw.rectangle((x, top, x + ANSWERS_WIDTH - 1, top + BAR_HEIGHT - 1), fill=TRACK)
        if length := round(one.score * ANSWERS_WIDTH):
            colour = bar_colour(rank, one, truth)
            draw.rectangle((x, top, x + length - 1, top + BAR_HEIGHT - 1), fill=colour)
        y += ROW
    return y


def _write(
    draw: ImageDraw, place: tuple[int, int], text: str, size: int, colour: str, room: int, *, keep_end: bool = False
) -> None:
    draw.text(place, fitted(text, size, room, keep_end=keep_end), font=_font(size), fill=colour)


def fitted(text: str, size: int, room: int, *, keep_end: bool = False) -> str:
    """The text as it can be drawn, in one line of at most `room` pixels; what is left out becomes an ellipsis."""
    text = escaped(text)
    cut = len(text) > MEASURED
    text = "".join(map(_drawable, text[-MEASURED:] if keep_end else text[:MEASURED]))
    if not cut and _font(size).getlength(text) <= room:
        return text
    while text and _font(size).getlength(text + ELLIPSIS) > room:
        text = text[1:] if keep_end else text[:-1]
    return ELLIPSIS + text.lstrip() if keep_end else text.rstrip() + ELLIPSIS


def _wrapped(error: str) -> list[str]:
    """A message in lines; the last of too many says that there is more."""
    # Measured in the widest usual letters, so that no line is cut.
    columns = int(ANSWERS_WIDTH // _font(14).getlength("n"))
    lines = textwrap.wrap(escaped(error), columns)
    return lines if len(lines) <= ERROR_LINES else [*lines[: ERROR_LINES - 1], lines[ERROR_LINES - 1] + f" {ELLIPSIS}"]


@functools.cache
def _font(size: int) -> FreeTypeFont:
    import PIL.ImageFont

    font = PIL.ImageFont.load_default(size=size)
    if not isinstance(font, PIL.ImageFont.FreeTypeFont):
        raise MissingDependencyError(
            "a PNG sheet needs a Pillow with FreeType, and this one has none: pip install --force-reinstall pillow, "
            "or name an .html file"
        )
    return font


@functools.cache
def _drawable(character: str) -> str:
    """The character, or if the font lacks it, the letter without its accent if the font has that."""
    if _is_in_font(character):
        return character
    plain = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    return plain if plain and all(map(_is_in_font, plain)) else character


def _is_in_font(character: str) -> bool:
    font = _font(14)
    # A lacking glyph is drawn as that of a code point that no font has.
    return character.isspace() or bytes(font.getmask(character)) != bytes(font.getmask("\U0010ffff"))
