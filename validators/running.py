"""Runs a model in an engine for validations: in the precision of its file, in batches of exactly one size."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..artifact.folder import INPUT_NAME
from ..engines import EngineOptions, create_engine
from ..engines.protocol import Engine, ModelFile
from ..errors import EngineError, InputError
from ..precisions import FP32
from ..results import Array
from .compare import Comparison, failed


def open_engine(
    name: str,
    model_file: Path,
    precision: str = FP32,
    batch_size: int = 1,
    *,
    cache: Path | None = None,
    build: bool = True,
) -> Engine:
    """The ONNX file, whose weights are in `precision`, in the engine of this name, for batches of up to `batch_size`.

    `cache`, `build`: the folder of compiled models, and whether to compile one if that takes minutes (see
    EngineOptions). Raises as `create_engine` does: InputError if the engine does not compute in `precision`.
    """
    options = EngineOptions(precision, batch_size=batch_size, cache=cache, build=build)
    return create_engine(name, ModelFile(model_file, precision=precision), options)


def run_batches(engine: Engine, images: Array, batch_size: int) -> dict[str, Array]:
    """The outputs for images [K, 3, S, S], run in batches of exactly this size; the first images fill up the last.

    Raises EngineError, InputError as `engine.run` does.
    """
    count = len(images)
    rows = np.resize(np.arange(count), -(-count // batch_size) * batch_size)
    parts = [engine.run({INPUT_NAME: images[rows[i : i + batch_size]]}) for i in range(0, len(rows), batch_size)]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}


def outputs_at(engine: Engine, images: Array, batch_size: int, rejected: str = "") -> dict[str, Array] | Comparison:
    """The result of `run_batches`, or a failed comparison if the model does not run at this batch size.

    `rejected`: why the engine accepts only one image at a time; "" if it accepts more.
    """
    if rejected and batch_size > 1:
        return failed(f"at batch size {batch_size}: {rejected}")
    try:
        return run_batches(engine, images, batch_size)
    except (EngineError, InputError) as error:
        return failed(f"at batch size {batch_size}: {error}")
    except (ValueError, KeyError) as error:
        return failed(f"at batch size {batch_size} the outputs differ in name or shape from batch to batch: {error}")
