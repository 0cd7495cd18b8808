"""Copies of the models that ship, to be altered: real graphs with recorded Paddle outputs, without needing Paddle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from onnxzoo.artifact.folder import CONFORMANCE_FILE, INPUT_NAME
from onnxzoo.files import sha256_of
from onnxzoo.hub import SHIPPED_DIR

PVT, SWIN = "pvt_v2_nano_fashion", "swinv2_nano_fashion"
MODEL = "onnx/model.onnx"


def copy_shipped(folder: Path, name: str = PVT) -> Path:
    """A copy of a model that ships, which may be written to; as it was exported, without the records made since."""
    shutil.copytree(SHIPPED_DIR / name, folder, copy_function=shutil.copyfile)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    exported = {key: value for key, value in config.items() if key not in ("validations", "evaluations")}
    (folder / "config.json").write_text(json.dumps(exported, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return folder


def announce(folder: Path, *names: str, **values: Any) -> None:
    """Make config.json agree with these files as they are now, as a careless tool would."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    for name in names:
        file = folder / name
        entry = {"sha256": sha256_of(file), "bytes": file.stat().st_size, **values}
        config["files"][name] = {**config["files"].get(name, {}), **entry}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def configure(folder: Path, **values: Any) -> None:
    """Replace top-level keys of config.json."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **values}), encoding="utf-8")


def alter(folder: Path, change: Callable[[Any], None]) -> None:
    """Put the ONNX model through `change` and make config.json agree."""
    model = onnx.load(folder / MODEL)
    change(model)
    onnx.save(model, folder / MODEL)
    announce(folder, MODEL)


def scale_initializer(shape: list[int], factor: float) -> Callable[[Any], None]:
    """A change that multiplies all values of the first initializer of this shape."""

    def change(model: Any) -> None:
        tensor = next(tensor for tensor in model.graph.initializer if list(tensor.dims) == shape)
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) * factor, tensor.name))

    return change


def bake_batch(model: Any) -> None:
    """A change that fixes the batch size to 1."""
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1


def old_input(folder: Path) -> Path:
    """Call the ONNX input, and the recorded inputs where there are some, as onnxzoo did at first; the same folder."""

    def change(model: Any) -> None:
        for node in model.graph.node:
            node.input[:] = ["image" if name == INPUT_NAME else name for name in node.input]
        model.graph.input[0].name = "image"

    alter(folder, change)
    vectors = folder / CONFORMANCE_FILE
    if vectors.is_file():
        with np.load(vectors) as recorded:
            arrays = {"image" if name == INPUT_NAME else name: recorded[name] for name in recorded.files}
        np.savez_compressed(vectors, **arrays)
        announce(folder, CONFORMANCE_FILE)
    return folder


def rename_producer(model: Any) -> None:
    """A change of the file that changes no number, as another revision of the exporter makes."""
    model.producer_version = "another"
