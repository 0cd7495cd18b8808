"""What a quantisation does at the moment, for whoever shows it."""

from __future__ import annotations

from typing import Protocol


class Step(Protocol):
    """Called when a step begins, and again with the same title as it goes on."""

    def __call__(self, title: str, total: int | None = None, done: int = 0) -> None:
        """`done` of `total` are done; `total` is None if the number is unknown."""


def silent(title: str, total: int | None = None, done: int = 0) -> None:
    """Show nothing."""
