"""What a contact sheet consists of, whatever draws it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..results import ClassScore, Prediction
from ..web_page import BEST_BAR, OTHER_BAR

if TYPE_CHECKING:
    import PIL.Image

PICTURE_PIXELS = 168
"""Longest side of a picture on a sheet."""

RIGHT_BAR, WRONG_BAR = "#2e8b57", "#cf3f3f"
"""Colours of the bars of the true class, and of another one that is best, where the truth is known."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One image of a sheet.

    `picture`: mode RGB, at most PICTURE_PIXELS a side; None if it cannot be shown. `answers`: the best classes by
    each model, with the model's name. `truth`: the label of its true class, empty if unknown. `error`: why it could
    not be read, empty if it could.
    """

    name: str
    picture: PIL.Image.Image | None
    answers: tuple[tuple[str, Prediction], ...]
    truth: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A title, lines of notes, and the cells."""

    title: str
    notes: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def compares_models(self) -> bool:
        """Whether a cell has answers of more than one model, so that each needs its name."""
        return any(len(cell.answers) > 1 for cell in self.cells)


def bar_colour(rank: int, one: ClassScore, truth: str) -> str:
    """The colour of the bar of a class at `rank`, from 0."""
    if truth and one.label == truth:
        return RIGHT_BAR
    if rank:
        return OTHER_BAR
    return WRONG_BAR if truth else BEST_BAR
