"""Progress of a long command: one line on stderr that is updated.

It is not shown if stderr is not a terminal, or with --quiet. Output printed by `output` meanwhile goes above the line.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import click

from ..terminal import bar_size
from ..text import escaped

Command = TypeVar("Command", bound=Callable[..., Any])

TICK_S = 0.5
"""Seconds between two updates of the line while nothing is counted."""


def quiet_option(command: Command) -> Command:
    """Add -q/--quiet to a command, as the parameter `quiet`: only warnings and errors, no progress, no notes."""

    def silence(_context: click.Context, _option: click.Parameter, quiet: bool) -> bool:
        if quiet:
            logging.getLogger("onnxzoo").setLevel(logging.WARNING)
        return quiet

    return click.option("-q", "--quiet", is_flag=True, callback=silence, help="Show no progress.")(command)


class Line:
    """The progress line: the current task, its time, how much of it is done, how fast, and what is left."""

    def __init__(self, bar: Any = None) -> None:
        """`bar`: tqdm's; if it is None, nothing is shown."""
        self._bar = bar
        self._title = ""

    def begin(self, title: str, total: int | None = None, done: int = 0) -> None:
        """Show a new task; with `total`, `advance` counts up to it. `done`: by an earlier run, not counted as speed."""
        self._title = title
        if self._bar is not None:
            self._bar.reset()
            self._bar.total = total
            self._bar.initial = self._bar.n = self._bar.last_print_n = done
            self._bar.set_postfix_str("", refresh=False)
            self._bar.set_description_str(escaped(title))

    def step(self, title: str, total: int | None = None, done: int = 0) -> None:
        """Show the count of a task, which begins if it has another title than the last."""
        if title != self._title:
            self.begin(title, total)
        self.advance(done, total)

    def advance(self, done: int, total: int | None = None, errors: int = 0) -> None:
        """Show the count, out of `total`, or of an unknown total if it is None, and how many of it are errors."""
        if self._bar is not None:
            self._bar.total = total
            if errors:
                self._bar.set_postfix_str(f"{errors:,} error{'s' if errors > 1 else ''}", refresh=False)
            self._bar.update(done - self._bar.n)


@contextlib.contextmanager
def progress(title: str, unit: str, *, quiet: bool) -> Iterator[Line]:
    """Show `title` and the elapsed time while the block runs; `unit`: the counted things, in the plural."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield Line()
        return
    from tqdm import tqdm  # type: ignore[import-untyped]

    ended = threading.Event()
    with tqdm(desc=escaped(title), unit=f" {unit}", file=sys.stderr, leave=False, **bar_size()) as bar:

        def tick() -> None:
            while not ended.wait(TICK_S):
                bar.refresh()

        ticking = threading.Thread(target=tick, name="onnxzoo-progress", daemon=True)
        ticking.start()
        try:
            yield Line(bar)
        finally:
            ended.set()
            ticking.join()
