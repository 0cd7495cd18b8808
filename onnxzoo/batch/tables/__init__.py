"""Formats of tables, by the suffix of the file: one module each, behind the interface in `table_format`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...errors import InputError
from ..rows import Task
from .csv_table import CsvTable
from .jsonl_table import JsonlTable
from .npy_table import NpyTable
from .parquet_table import ParquetTable
from .table_format import TableFormat

FORMATS: Mapping[str, TableFormat] = {
    ".csv": CsvTable(),
    ".jsonl": JsonlTable(),
    ".parquet": ParquetTable(),
    ".npy": NpyTable(),
}


def suffixes_for(task: Task) -> tuple[str, ...]:
    """The suffixes of the formats that can hold the results of a task."""
    return tuple(suffix for suffix, one in FORMATS.items() if task in one.tasks)


def format_of(path: Path, task: Task) -> TableFormat:
    """The format that the suffix of a file names, ready to be used.

    Raises InputError for a suffix that is not of a format for this task, MissingDependencyError for a format whose
    library is not installed.
    """
    found = FORMATS.get(path.suffix.lower())
    if found is None or task not in found.tasks:
        raise InputError(
            f"the format of {path.name!r} is not known for {task}: expected a name that ends with "
            f"{', '.join(suffixes_for(task))}"
        )
    found.require()
    return found
