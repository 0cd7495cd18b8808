"""What a run of many images found: how many, which classes, and which errors."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

from ..errors import ImageError
from ..image import describe
from ..stream import Result
from ..text import beginning

SHOWN_CLASSES = 5
SHOWN_KINDS = 5

MAX_KINDS = 100
"""Kinds of errors that are told apart; some messages contain numbers, and memory must not grow with the run."""

OTHER_KIND = "other errors"


@dataclass(slots=True)
class Summary:
    """Counts of a run's results. `classes`: by the label of the best class. `errors`: by kind, see `kind_of`.

    `cpu_s`: CPU seconds of the workers of a cluster, without their start. `began`, `ended`: when the run began and its
    last result came, by the monotonic clock, in seconds.
    """

    classes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    first: dict[str, str] = field(default_factory=dict)
    embedded: int = 0
    cpu_s: float = 0.0
    began: float = field(default_factory=lambda: time.monotonic())
    ended: float = field(default_factory=lambda: time.monotonic())

    def add(self, name: str, result: Result) -> None:
        """Count the result of the image `name`."""
        self.ended = time.monotonic()
        if result.error is not None:
            self._count_errors(kind_of(result.error, result.image, name), 1, name)
        elif result.embedding is not None:
            self.embedded += 1
        elif result.prediction is not None:
            self.classes[result.prediction.label] += 1

    def merge(self, other: Summary) -> None:
        """Add the counts of another part of the run, which has just been done."""
        self.ended = time.monotonic()
        self.classes.update(other.classes)
        self.embedded += other.embedded
        self.cpu_s += other.cpu_s
        for kind, count in other.errors.items():
            self._count_errors(kind, count, other.first[kind])

    def _count_errors(self, kind: str, count: int, first: str) -> None:
        if kind not in self.errors and len(self.errors) >= MAX_KINDS:
            kind = OTHER_KIND
        self.errors[kind] += count
        self.first.setdefault(kind, first)

    @property
    def failed(self) -> int:
        """Images that could not be read."""
        return self.errors.total()

    @property
    def images(self) -> int:
        """Images of this run."""
        return self.classes.total() + self.embedded + self.failed

    def lines(self) -> list[str]:
        """The summary for people: images and speed, then classes and errors if there are any, the commonest first."""
        seconds = self.ended - self.began
        failed = f"; {self.failed:,} could not be read" if self.failed else ""
        speed = f" ({self.images / seconds:,.1f} images/s)" if self.images and seconds > 0 else ""
        lines = [f"{counted(self.images, 'image')} in {seconds:,.1f} s{speed}{failed}"]
        if self.classes:
            parts = [f"{beginning(label)} {count:,}" for label, count in self.classes.most_common(SHOWN_CLASSES)]
            lines.append(f"{counted(len(self.classes), 'class', 'classes')}: {_listed(parts, len(self.classes))}")
        if self.errors:
            parts = [
                f"'{kind}' {count:,} ({beginning(self.first[kind])})"
                for kind, count in self.errors.most_common(SHOWN_KINDS)
            ]
            lines.append(f"errors: {_listed(parts, len(self.errors))}")
        return lines


def kind_of(error: ImageError, image: object, name: str = "") -> str:
    """What is wrong with an image, without its name and details: `is damaged or incomplete`, `does not exist`.

    `name`: of the image in tables.
    """
    message = str(error)
    if not isinstance(image, ImageError):
        message = message.removeprefix(describe(image)).lstrip()
    elif name:
        message = " ".join(message.removeprefix(name).replace(f" {name} ", " ").split())
    # Messages say what happened, and after a colon or semicolon the details and the fix.
    return beginning(message.partition(";")[0].partition(": ")[0]) or OTHER_KIND


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun: `1 image`, `2 images`; `many`: the plural, if it is not made by an s."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _listed(parts: list[str], total: int) -> str:
    more = total - len(parts)
    return ", ".join([*parts, *([f"{more:,} more"] if more else [])])
