"""Types of options that commands share: existing paths, and numbers in a range, with plain messages.

In every command a given path that does not exist is wrong usage, exit code 2. Only a model that is not on this machine,
given by name or by folder, counts as missing, exit code 3.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import click

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE_OR_FOLDER = click.Path(exists=True, path_type=Path)
OUTPUT = click.Path(path_type=Path)
"""A file or folder to be created."""
OUTPUT_FILE = click.Path(dir_okay=False, path_type=Path)


class Whole(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A whole number from `least` to `most`, inclusive; without an upper bound if `most` is None."""

    name = "integer"

    def __init__(self, least: int, most: int | None = None) -> None:
        self._least, self._most = least, most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number in a text."""
        try:
            number = int(value)
        except ValueError:  # raised also for thousands of digits
            number = self._least - 1
        if number < self._least or (self._most is not None and number > self._most):
            bound = "" if self._most is None else f" to {self._most}"
            self.fail(f"expected a whole number from {self._least}{bound}, got {value!r}", param, ctx)
        return number


class Number(click.ParamType):  # type: ignore[type-arg]
    """A number of at least `least`, or more than that if `above` is set; the command checks for NaN and infinity."""

    name = "number"

    def __init__(self, least: float, *, above: bool = False) -> None:
        self._least, self._above = least, above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number in a text."""
        try:
            number = float(value)
        except ValueError:
            number = -math.inf
        if number < self._least or (self._above and number == self._least):
            kind = "greater than" if self._above else "of at least"
            self.fail(f"expected a number {kind} {self._least:g}, got {value!r}", param, ctx)
        return number
