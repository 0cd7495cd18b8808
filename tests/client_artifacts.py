"""Artifacts that are damaged in every way, which clients in other languages refuse as Python does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny import LABELS


def config_changed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / "config.json"
        config = json.loads(path.read_text(encoding="utf-8"))
        change(config)
        path.write_text(json.dumps(config), encoding="utf-8")

    return apply


def changed(**values: object) -> Callable[[Path], None]:
    """Values of the document; those of objects in it are given as `preprocess__std`."""

    def change(config: dict[str, Any]) -> None:
        for key, value in values.items():
            *path, last = key.split("__")
            inner = config
            for part in path:
                inner = inner[part]
            if value is None:
                del inner[last]
            else:
                inner[last] = value

    return config_changed(change)


def text(data: bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / "config.json").write_bytes(data) and None


def file_moved(path: str) -> Callable[[Path], None]:
    return config_changed(lambda config: config["files"].update({path: config["files"].pop("onnx/model.onnx")}))


def appended(folder: Path) -> None:
    with (folder / "onnx" / "model.onnx").open("ab") as file:
        file.write(b"\0")


def flipped(folder: Path) -> None:
    path = folder / "onnx" / "model.onnx"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def relabelled(folder: Path, **labels: str) -> None:
    changed(id2label=labels)(folder)


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config.json": (lambda folder: (folder / "config.json").unlink(), "is not an artifact: it has no config.json"),
    "model missing": (lambda folder: (folder / "onnx" / "model.onnx").unlink(), "is missing, though config.json"),
    "model longer": (appended, "bytes, expected"),
    "model altered": (flipped, "was altered: its sha256 is"),
    "newer schema": (changed(schema_version=2), "has schema version 2"),
    "schema as text": (changed(schema_version="1"), "schema_version must be 1"),
    "no schema": (changed(schema_version=None), "has no schema_version"),
    "a list": (text(b"[]"), "has no schema_version"),
    "empty": (text(b" "), "cannot be read"),
    "cut": (text(b'{"schema_version": 1'), "cannot be read"),
    "not UTF-8": (text(b'{"\xff": 1}'), "is not UTF-8"),
    "NaN": (text(b'{"schema_version": NaN}'), "cannot be read"),
    "a key twice": (text(b'{"schema_version": 1, "schema_version": 1}'), "occurs twice"),
    "nested deeply": (text(b"[" * 200_000), "nested more than 100 deep"),
    "half a surrogate pair": (text(b'{"schema_version": "\\ud800"}'), "surrogate"),
    "huge number": (text(b'{"schema_version": 1e999}'), "too large for a float64"),
    "many digits": (text(b'{"schema_version": ' + b"1" * 50 + b"}"), "50 digits"),
    "too large": (text(b" " * (2 * 2**20 + 1)), "has more than 2097152 bytes"),
    "no name": (changed(name=""), "name must be text of 1 to 1000 characters"),
    "std of 0": (changed(preprocess__std=[0.1, 0, 0.1]), "std must have 3 positive values"),
    "two means": (changed(preprocess__mean=[0.1, 0.2]), "mean must"),
    "mean as text": (changed(preprocess__mean=["a", "b", "c"]), "mean must be 3 numbers"),
    "crop above resize": (changed(preprocess__crop_size=37), "crop_size must be"),
    "resize too large": (changed(preprocess__resize_size=20000), "resize_size must be"),
    "true for a number": (changed(image_size=True), "image_size must be"),
    "float for a number": (changed(image_size=32.0), "image_size must be"),
    "another image size": (changed(image_size=64), "image_size must equal crop_size 32"),
    "filter": (changed(preprocess__interpolation="area"), "interpolation must be"),
    "no preprocessing": (changed(preprocess=None), "'preprocess' is missing"),
    "labels with a gap": (changed(id2label={"0": "a", "2": "b"}), "id2label must have the keys 0, 1, 2, ..."),
    "labels with zeros": (changed(id2label={"00": "a"}), "id2label must have the keys 0, 1, 2, ..."),
    "no labels": (changed(id2label={}), "id2label must have the keys 0, 1, 2, ..."),
    "label as number": (changed(id2label={"0": 1}), "must be text of 0 to 1000 characters"),
    "count of classes": (changed(num_classes=5), "num_classes must be 4"),
    "path outside": (file_moved("../model.onnx"), "leads outside the artifact's folder"),
    "absolute path": (file_moved("/model.onnx"), "leads outside the artifact's folder"),
    "path of Windows": (file_moved("..\\model.onnx"), "leads outside the artifact's folder"),
    "not ONNX": (file_moved("onnx/model.txt"), "must be an ONNX file, named *.onnx"),
    "hash": (changed(files={"onnx/model.onnx": {"sha256": "xyz", "bytes": 5, "precision": "fp32"}}), "64 lower-case"),
    "one label too many": (
        lambda folder: relabelled(folder, **{str(number): "x" for number in range(len(LABELS) + 1)}),
        f"{len(LABELS)}",
    ),
}  # fmt: skip
