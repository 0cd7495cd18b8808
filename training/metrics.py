"""Metrics as JSON lines: one object a line, `kind` `step` or `epoch`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .writing import append_line, written

METRICS_FILE = "metrics.jsonl"


def append_record(file: Path, record: Mapping[str, Any]) -> None:
    """Add one line. Raises TrainingError when it cannot be written."""
    append_line(file, json.dumps(record, allow_nan=False))


def read_records(file: Path) -> list[dict[str, Any]]:
    """All whole lines; a last line that a kill cut short is left out. No file gives []."""
    if not file.exists():
        return []
    records = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records


def keep_until(file: Path, step: int, epochs: int) -> None:
    """Drop what was recorded after `step` and after `epochs`, both counted over the whole training.

    What is trained anew after a kill is recorded anew. Raises TrainingError when the file cannot be written.
    """
    records = read_records(file)
    kept = [r for r in records if r["step"] <= step and (r["kind"] != "epoch" or r["epoch"] <= epochs)]
    if file.exists():
        with written(file) as stream:
            stream.write("".join(json.dumps(record, allow_nan=False) + "\n" for record in kept).encode())
