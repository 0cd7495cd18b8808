"""Runs a model in an engine for validations: in the precision of its file, in batches of exactly one size."""

from __future__ import annotations

from pathlib import Path

from ..comparison.compare import Comparison, failed
from ..engines import EngineOptions, create_engine
from ..engines.protocol import Engine, ModelFile
from ..engines.running import run_batches
from ..errors import EngineError, InputError
from ..precisions import FP32
from ..results import Array


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
