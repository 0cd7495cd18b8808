"""Writes files so that a failure keeps the earlier file and raises an error with advice."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from ..errors import TrainingError
from ..files import atomic_write, sweep


@contextlib.contextmanager
def written(file: Path) -> Iterator[IO[bytes]]:
    """Replace `file` when the block succeeds (`atomic_write`). Raises TrainingError if it cannot be written."""
    with _explained(file), atomic_write(file) as stream:
        yield stream


def append_line(file: Path, line: str) -> None:
    """Append one line to a text file. Raises TrainingError if it cannot be written."""
    with _explained(file), file.open("a", encoding="utf-8") as stream:
        stream.write(line + "\n")


def remove_unfinished(files: Iterable[Path]) -> None:
    """Remove the temporary files that a killed process left next to these files (see `atomic_write`)."""
    for file in files:
        sweep(file)


@contextlib.contextmanager
def _explained(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{file} cannot be written: {error.strerror or error}; what was saved before is intact; "
            "free space or fix the permissions, and continue with --resume"
        ) from error
