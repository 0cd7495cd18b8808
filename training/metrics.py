"""Metrics as JSON lines: one object per line, with `kind` `step` or `epoch`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import TrainingError
from ..strict_json import parse_json
from .writing import append_line, written

METRICS_FILE = "metrics.jsonl"


def append_record(file: Path, record: Mapping[str, Any]) -> None:
    """Append one line. Raises TrainingError if it cannot be written."""
    append_line(file, json.dumps(record, allow_nan=False))


def read_records(file: Path) -> list[dict[str, Any]]:
    """All records up to the first invalid line, such as a last line truncated by a kill. [] if there is no file.

    Raises TrainingError if the file cannot be read.
    """
    if not file.exists():
        return []
    records = []
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError as error:
        raise TrainingError(f"{file} cannot be read: {error.strerror or error}") from None
    for line in lines[:-1]:
        try:
            record = parse_json(line)
        except ValueError:
            break
        match record:
            case {"kind": "epoch", "step": int(), "epoch": int()} | {"kind": "step", "step": int()}:
                records.append(record)
            case _:
                break
    return records


def keep_until(file: Path, step: int, epochs: int) -> None:
    """Remove records after `step` and after `epochs`, both counted over the whole training.

    Steps that are repeated after a kill are recorded again. Raises TrainingError if the file cannot be written.
    """
    records = read_records(file)
    kept = [r for r in records if r["step"] <= step and (r["kind"] != "epoch" or r["epoch"] <= epochs)]
    if file.exists():
        with written(file) as stream:
            stream.write("".join(json.dumps(record, allow_nan=False) + "\n" for record in kept).encode())
