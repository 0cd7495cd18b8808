"""Reading tables back: every format as the same rows, values as their columns say."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

ESCAPED_STARTS = ("'", "=", "+", "-", "@", "\t", "\r")


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table as dicts; scores as float32, absent values as None."""
    return [{name: _value(name, value) for name, value in row.items()} for row in _RAW[path.suffix](path)]


def read_description(path: Path) -> dict[str, Any]:
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"onnxzoo"])
        return found
    return dict(json.loads(path.with_name(path.name + ".meta.json").read_text("ascii")))


def _value(name: str, value: Any) -> Any:
    return np.float32(value) if name.startswith("score_") and value is not None else value


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, strict=True):
            yield {name: _from_text(name, value) for name, value in row.items()}


def _from_text(name: str, value: str) -> Any:
    if not value and name != "path":
        return None
    if name.startswith("class_id_"):
        return int(value)
    if name.startswith("score_"):
        return float(value)
    return value[1:] if value.startswith("'") and value[1:].startswith(ESCAPED_STARTS) else value


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    # Not splitlines, which takes U+2028 for the end of a line.
    for line in path.read_text("utf-8").split("\n")[:-1]:
        yield json.loads(line)


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for row in pq.read_table(path).to_pylist():
        if row.get("embedding") is not None:
            row["embedding"] = np.array(row["embedding"], np.float32)
        yield row


def _npy(path: Path) -> Iterator[dict[str, Any]]:
    lines = [json.loads(line) for line in path.with_name(path.name + ".rows.jsonl").read_text("utf-8").split("\n")[:-1]]
    for vector, line in zip(np.load(path), lines, strict=True):
        yield {
            "path": line["path"],
            "embedding": None if np.isnan(vector).all() else vector,
            "error": line["error"],
        }


_RAW = {".csv": _csv, ".jsonl": _jsonl, ".parquet": _parquet, ".npy": _npy}
