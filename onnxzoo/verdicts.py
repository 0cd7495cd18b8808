"""Verdicts on this machine's engines that reproduced a model's recorded outputs, kept in the cache folder.

    <cache>/verdicts/<model>/<key>.json

The file is named by a hash of its key, which contains everything that the verdict depends on: the ONNX file, the
recorded outputs, the library, the device, its driver, the precision and the tolerance. Only positive verdicts are kept.
A wrong engine is tested again, as its driver may have changed. Files with another format are ignored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import files
from .errors import InputError, one_line
from .files import COMPILED_DIGITS, KeyValue, atomic_write, key_digest
from .strict_json import parse_json

FOLDER = "verdicts"
MODEL = "model_sha256"
"""The part of a key that identifies the ONNX file."""
ENGINE, LIBRARY, RUNS_ON, COMPUTES_IN = "engine", "library_version", "runs_on", "computes_in"
"""The parts that identify the engine: name, version, device and precision of its EngineInfo."""
MAX_BYTES = 2**16

Key = Mapping[str, KeyValue]


@dataclass(frozen=True, slots=True)
class Verdict:
    """An engine reproduced the recorded outputs. `date`: UTC, ISO 8601. `vectors`: number of inputs.

    `batch_sizes`: the batch sizes used. `max_abs`: the largest difference from the recorded outputs. `top1`: number of
    inputs with the same best class.
    """

    date: str
    vectors: int
    batch_sizes: tuple[int, ...]
    max_abs: float
    top1: int


def verdicts_dir() -> Path:
    """The folder of verdicts (not created here). Raises InputError if there is no cache folder."""
    return files.cache_dir() / FOLDER


def kept_verdict(key: Key) -> Verdict | None:
    """The verdict under this key; None if there is none, or it cannot be read. Raises InputError as above."""
    path = _path(key)
    try:
        return _read(path, key)[1] if path.is_file() else None
    except (OSError, ValueError):
        return None


def keep_verdict(key: Key, verdict: Verdict) -> None:
    """Write a verdict atomically. Raises OSError if it cannot be written, InputError as above."""
    with atomic_write(_path(key)) as file:
        file.write(json.dumps({"key": dict(key), **dataclasses.asdict(verdict)}, indent=2).encode())


def verdicts_on(model_sha256: str) -> list[tuple[Key, Verdict]]:
    """The verdicts on engines that ran this ONNX file, with their keys, the oldest first; without damaged files."""
    found = []
    with contextlib.suppress(OSError, InputError):
        for path in (verdicts_dir() / model_sha256[:COMPILED_DIGITS]).glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                key, verdict = _read(path, None)
                if key.get(MODEL) == model_sha256:
                    found.append((key, verdict))
    return sorted(found, key=lambda one: one[1].date)


def verdict_fault(path: Path) -> str | None:
    """What is wrong with a verdict's file; None if it is valid."""
    try:
        _read(path, None)
    except (OSError, ValueError) as error:
        return one_line(error)
    return None


def _path(key: Key) -> Path:
    return verdicts_dir() / str(key[MODEL])[:COMPILED_DIGITS] / f"{key_digest(key)}.json"


def _read(path: Path, key: Key | None) -> tuple[Key, Verdict]:
    """The key and verdict of a file with this key, or that of its name. Raises ValueError for another format."""
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"it has more than {MAX_BYTES} bytes")
    content = parse_json(data)
    if not isinstance(content, dict) or not isinstance(content.get("key"), dict):
        raise ValueError("it is not a verdict: expected an object with a key")
    found = content.pop("key")
    if found != dict(key) if key is not None else f"{key_digest(found)}.json" != path.name:
        raise ValueError("its key is not the one that the file is named by")
    return found, _verdict(content)


def _verdict(content: dict[str, Any]) -> Verdict:
    names = {field.name for field in dataclasses.fields(Verdict)}
    if content.keys() != names:
        raise ValueError(f"it has the fields {', '.join(content)}, expected {', '.join(sorted(names))}")
    sizes, max_abs = content["batch_sizes"], content["max_abs"]
    whole = [content["vectors"], content["top1"], *(sizes if isinstance(sizes, list) else [None])]
    if not all(type(one) is int and one >= 0 for one in whole) or not isinstance(content["date"], str):
        raise ValueError("its date must be a text, and its counts whole numbers")
    if type(max_abs) is not float or not 0 <= max_abs < math.inf:
        raise ValueError(f"its largest difference must be a number from 0, got {max_abs!r}")
    return Verdict(content["date"], content["vectors"], tuple(sizes), max_abs, content["top1"])
