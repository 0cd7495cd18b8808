"""NumPy's format for embeddings: float32 [images, features] in the order of the source.

The row of an image that cannot be read is NaN. `.rows.jsonl` beside the array has a line per row, `{"path", "error"}`;
`.meta.json` the description of the run.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np

from ..rows import Row, Schema
from .jsonl_table import json_lines
from .table_format import DESCRIPTION, TABLE, described_beside, encoded

ROWS = ".rows.jsonl"


class NpyTable:
    """An array, and beside it the paths and errors of its rows. A part is an array, then the lines of its rows."""

    files = (ROWS, DESCRIPTION, TABLE)

    def require(self) -> None:
        """Nothing is needed."""

    def part(self, schema: Schema, rows: Sequence[Row]) -> bytes:
        """The vectors of some rows, then their paths and errors."""
        vectors = np.full((len(rows), schema.width), np.nan, dtype="<f4")
        for place, (_, vector, _) in enumerate(rows):
            if vector is not None:
                vectors[place] = vector
        content = io.BytesIO()
        np.save(content, vectors)
        content.write(json_lines(("path", "error"), [(path, error) for path, _, error in rows]))
        return content.getvalue()

    def join(
        self, schema: Schema, description: Mapping[str, Any], parts: Iterable[bytes], files: Mapping[str, IO[bytes]]
    ) -> None:
        """Write the array, its rows and its description; the header needs `rows` of the description."""
        files[DESCRIPTION].write(encoded(description))
        header = {"descr": "<f4", "fortran_order": False, "shape": (description["rows"], schema.width)}
        np.lib.format.write_array_header_1_0(files[TABLE], header)
        for part in parts:
            content = io.BytesIO(part)
            files[TABLE].write(np.load(content, allow_pickle=False).tobytes())
            files[ROWS].write(content.read())

    def description(self, path: Path) -> Mapping[str, Any] | None:
        """The description beside the array."""
        return described_beside(path)


FORMAT = NpyTable()
