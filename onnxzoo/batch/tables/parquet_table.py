"""Parquet, by pyarrow (the extra `batch`). The description of the run is in the file's metadata, under `onnxzoo`."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ...errors import MissingDependencyError, raise_if_interrupted
from ..rows import DESCRIPTION_KEY, Column, Row, Schema
from .table_format import TABLE, decoded

if TYPE_CHECKING:
    import pyarrow as pa

GROUP_ROWS = 2**16
"""Rows of a row group, which readers take at a time; fewer if they take GROUP_BYTES."""

GROUP_BYTES = 16 * 2**20


class ParquetTable:
    """A Parquet file; its parts are Parquet files, too."""

    files = (TABLE,)

    def require(self) -> None:
        """Import pyarrow. Raises MissingDependencyError."""
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise_if_interrupted(error)
            raise MissingDependencyError(
                f"Parquet files need pyarrow, which cannot be imported ({error}); pip install 'onnxzoo[batch]', or "
                "write .csv or .jsonl, or .npy for embeddings"
            ) from error

    def part(self, schema: Schema, rows: Sequence[Row]) -> bytes:
        """A Parquet file of some rows."""
        import pyarrow.parquet as pq

        content = io.BytesIO()
        pq.write_table(arrow_table(schema, rows), content, use_dictionary=_repeated(schema))
        return content.getvalue()

    def join(
        self, schema: Schema, description: Mapping[str, Any], parts: Iterable[bytes], files: Mapping[str, IO[bytes]]
    ) -> None:
        """Write the rows of the parts in larger groups."""
        import pyarrow.parquet as pq

        kinds = arrow_schema(schema, description)
        with pq.ParquetWriter(files[TABLE], kinds, use_dictionary=_repeated(schema)) as writer:
            for group in _groups(parts):
                writer.write_table(group, row_group_size=group.num_rows)

    def description(self, path: Path) -> Mapping[str, Any] | None:
        """The description in the file's metadata."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            found = (pq.read_schema(path).metadata or {}).get(DESCRIPTION_KEY.encode())
        except (pa.ArrowException, OSError):
            return None
        return None if found is None else decoded(found)


FORMAT = ParquetTable()


def arrow_schema(schema: Schema, description: Mapping[str, Any] | None = None) -> pa.Schema:
    """The columns in Arrow's types, with the description of the run as metadata if there is one."""
    import pyarrow as pa

    metadata = None if description is None else {DESCRIPTION_KEY: json.dumps(description)}
    fields = [pa.field(column.name, _arrow_type(column), column.name != "path") for column in schema.columns]
    return pa.schema(fields, metadata=metadata)


def arrow_table(schema: Schema, rows: Sequence[Row]) -> pa.Table:
    """Some rows as an Arrow table."""
    import pyarrow as pa

    kinds = arrow_schema(schema)
    columns = [pa.array([row[place] for row in rows], type=field.type) for place, field in enumerate(kinds)]
    return pa.Table.from_arrays(columns, schema=kinds)


def _repeated(schema: Schema) -> list[str]:
    """The columns whose values repeat; for others a dictionary only takes memory."""
    return [column.name for column in schema.columns if column.name.startswith(("class_id_", "label_"))]


def _arrow_type(column: Column) -> pa.DataType:
    import pyarrow as pa

    if column.kind == "vector":
        return pa.list_(pa.float32(), column.width)
    kinds: dict[str, pa.DataType] = {"text": pa.string(), "int32": pa.int32(), "float32": pa.float32()}
    return kinds[column.kind]


def _groups(parts: Iterable[bytes]) -> Iterator[pa.Table]:
    """The tables of parts, joined to about the size of a row group."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    waiting: list[pa.Table] = []
    for part in parts:
        # On this thread: each thread of Arrow's pool would keep memory of its own.
        waiting.append(pq.ParquetFile(pa.BufferReader(part)).read(use_threads=False))
        if sum(table.num_rows for table in waiting) >= GROUP_ROWS or sum(map(_bytes, waiting)) >= GROUP_BYTES:
            yield pa.concat_tables(waiting)
            waiting.clear()
    if waiting:
        yield pa.concat_tables(waiting)


def _bytes(table: pa.Table) -> int:
    return int(table.nbytes)
