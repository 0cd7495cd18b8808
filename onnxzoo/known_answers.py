"""The known-answer test of an engine: runs recorded inputs and compares the outputs with the recorded ones."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np

from .artifact.folder import OUTPUT_NAMES
from .artifact.vectors import Vectors
from .comparison.compare import Comparison, compare, failed
from .comparison.tolerances import Tolerance, tolerance_of
from .engines.protocol import Engine
from .engines.running import run_batches
from .errors import InputError, WrongResultsError, one_line
from .precisions import FP32
from .results import Array, EngineInfo
from .verdicts import Verdict

CPU = "CPU"
FEW = 2
"""Number of vectors in fp32 on a CPU, where each takes tens of milliseconds and every single value is checked."""


def run_known_answers(engine: Engine, vectors: Vectors, tolerance: Tolerance, largest_batch: int) -> Verdict:
    """Run the first input alone, and all at once as far as the engine supports it, and compare the outputs.

    `largest_batch`: the largest batch that the user expects. Raises WrongResultsError with the figures if the outputs
    differ, and EngineError if the engine fails.
    """
    info = engine.info
    count = FEW if info.device == CPU and tolerance == tolerance_of(FP32) else len(vectors.images)
    images = vectors.images[:count]
    expected = {
        name: values[:count] for name, values in vectors.outputs.items() if name in (OUTPUT_NAMES[0], *engine.outputs)
    }
    together = min(max(len(images), 2), engine.max_batch or largest_batch)
    one = _outputs(engine, images[:1], 1) if together > 1 else None
    sizes = {together: _outputs(engine, images, together)}
    if one is not None:
        # The permitted noise depends on the variation of the outputs between inputs, so the single image is compared
        # together with the others.
        sizes[1] = _first_from(one, sizes[together])
    comparisons = [_compared(expected, outputs, tolerance, vectors.names) for outputs in sizes.values()]
    for size, comparison in zip(sizes, comparisons, strict=True):
        if not comparison:
            raise WrongResultsError(_complaint(info, comparison, tolerance, size, len(images)))
    worst = max(comparison.max_abs for comparison in comparisons)
    top1 = round(min(comparison.top1_agreement for comparison in comparisons) * len(images))
    date = datetime.now(UTC).isoformat(timespec="seconds")
    return Verdict(date, len(images), tuple(sorted(sizes)), worst, top1)


def _outputs(engine: Engine, images: Array, batch_size: int) -> dict[str, Array] | Comparison:
    try:
        found = run_batches(engine, images, batch_size)
    except (ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        return failed(f"the outputs differ in name or shape from batch to batch ({one_line(error)})")
    # As in `Model`, outputs of a foreign graph may have another floating-point type.
    return {name: np.asarray(value, np.float32) if value.dtype.kind == "f" else value for name, value in found.items()}


def _first_from(
    alone: dict[str, Array] | Comparison, batch: dict[str, Array] | Comparison
) -> dict[str, Array] | Comparison:
    """The outputs of a batch, with the first row replaced by that of the image's own run."""
    if isinstance(alone, Comparison) or isinstance(batch, Comparison):
        return alone
    if alone.keys() != batch.keys() or any(alone[name].shape[1:] != batch[name].shape[1:] for name in alone):
        return failed("the outputs of one image and of several differ in name or shape")
    return {name: np.concatenate([alone[name][:1], batch[name][1:]]) for name in alone}


def _compared(
    expected: Mapping[str, Array],
    outputs: dict[str, Array] | Comparison,
    tolerance: Tolerance,
    names: tuple[str, ...],
) -> Comparison:
    if isinstance(outputs, Comparison):
        return outputs
    return compare(
        expected, {name: values for name, values in outputs.items() if name in expected}, tolerance, names=names
    )


def _complaint(info: EngineInfo, comparison: Comparison, tolerance: Tolerance, size: int, count: int) -> str:
    if np.isfinite(comparison.max_abs):
        agreeing = round(comparison.top1_agreement * count)
        figures = (
            f"the largest difference to the recorded outputs is {comparison.max_abs:.3g} (tolerance "
            f"{tolerance.value:g}) and {agreeing} of {count} best classes agree"
        )
        if comparison.worst_ratio <= 1:  # then the noise or the order of the classes is wrong
            figures += f": {comparison.problems[0]}"
    else:
        figures = comparison.problems[0]
    return (
        f"{info.name} {info.version} gives wrong results on {info.device} in {info.precision}: at batch size {size}, "
        f"{figures}; use another engine or device, or update its driver and library (verify=False, --no-verify, "
        "skips this check)"
    )
