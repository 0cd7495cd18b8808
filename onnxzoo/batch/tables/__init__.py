"""Formats of tables, by the suffix of the file: one module each, behind the interface in `table_format`.

This module is light, so that the command line can name the formats in its help.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import InputError

if TYPE_CHECKING:
    from ..rows import Task
    from .table_format import TableFormat


@dataclass(frozen=True, slots=True)
class Listed:
    """A format: the module of this package whose FORMAT it is, and the tasks whose results it can hold."""

    module: str
    tasks: tuple[Task, ...]


FORMATS: Mapping[str, Listed] = {
    ".csv": Listed("csv_table", ("predict",)),
    ".jsonl": Listed("jsonl_table", ("predict",)),
    ".parquet": Listed("parquet_table", ("predict", "embed")),
    ".npy": Listed("npy_table", ("embed",)),
}


def suffixes_for(task: Task) -> tuple[str, ...]:
    """The suffixes of the formats that can hold the results of a task."""
    return tuple(suffix for suffix, one in FORMATS.items() if task in one.tasks)


def format_of(path: Path, task: Task) -> TableFormat:
    """The format that the suffix of a file names, ready to be used.

    Raises InputError for a suffix that is not of a format for this task, MissingDependencyError for a format whose
    library is not installed.
    """
    listed = FORMATS.get(path.suffix.lower())
    if listed is None or task not in listed.tasks:
        raise InputError(
            f"the format of {path.name!r} is not known for {task}: expected a name that ends with "
            f"{', '.join(suffixes_for(task))}"
        )
    found: TableFormat = import_module(f".{listed.module}", __name__).FORMAT
    found.require()
    return found
