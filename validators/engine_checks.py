"""The checks of one engine on one ONNX file: each batch size with each reference, and the order in a batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..comparison.compare import Comparison, compare, failed
from ..comparison.tolerances import Tolerance, tolerance_of
from ..engines import AUTO
from ..engines.protocol import CachedEngine, Engine
from ..errors import EngineError, EngineUnavailableError, InputError, ValidationError
from ..precisions import FP32
from ..results import Array, EngineInfo
from .inputs import Inputs
from .references import Reference
from .running import open_engine, outputs_at

ORDER, LOADING, PARAMETERS = "order", "loading", "parameters"
"""The subjects of checks that do not compare with a reference's outputs (see `Check`)."""

ORDER_SEED = 11

Outputs = Mapping[str, Array] | Comparison
"""The outputs of a model, or a failed comparison that says why there are none."""


@dataclass(frozen=True, slots=True)
class Check:
    """One engine at one batch size compared with one reference; true if it passed.

    `reference`: `conformance` (recorded in the artifact), `paddle` (run now, from a checkpoint) or `against` (another
    artifact in the same engine). Other values are `order`: the images are shuffled in the batches, and the reference is
    the engine's own runs of single images (in low precision the unshuffled batches, as rounding differs between batch
    sizes); `loading`: the engine rejected the model, nothing ran; `parameters`: without an engine, the parameters in
    the ONNX file are compared with the checkpoint's, or in low precision with those of the fp32 file. `samples`: number
    of inputs, or of parameters. `tolerance`: the applied tolerance. `note`: further information. `requested`: the
    requested engine with its device (`openvino:GPU`), or the choice of `auto`.
    """

    engine: EngineInfo
    batch_size: int
    reference: str
    samples: int
    comparison: Comparison
    precision: str = FP32
    tolerance: Tolerance = dataclasses.field(default_factory=lambda: tolerance_of(FP32))
    note: str = ""
    requested: str = ""

    def __post_init__(self) -> None:
        if self.requested in ("", AUTO):
            object.__setattr__(self, "requested", self.engine.name)

    def __bool__(self) -> bool:
        return bool(self.comparison)


@dataclass(frozen=True, slots=True)
class Target:
    """The target of checks: an ONNX file with weights in `precision`, in the engine `name`.

    `build`: whether to use an engine that takes minutes to build.
    """

    name: str
    model_file: Path
    precision: str
    build: bool

    def open(self, batch_size: int) -> Engine:
        """The engine for batches of this size; raises as `open_engine` does."""
        return open_engine(self.name, self.model_file, self.precision, batch_size, build=self.build)


class Sizes:
    """A model in an engine, run at each batch size as if it were the only one.

    An engine that compiles for certain batch sizes would combine them for others, so it is opened once for each size.
    `rejected`: why the engine does not accept more than one image at a time; "" if it does.
    """

    def __init__(self, target: Target, largest: int) -> None:
        """Raises EngineUnavailableError and InputError if the engine is not available, EngineError if it rejects the
        model.
        """
        self._target = target
        self.rejected = ""
        try:
            self._engine, self._size = target.open(largest), largest
        except EngineError as error:
            self.rejected = str(error)
            # Engines that compile for a batch size reject a fixed batch here; check whether the model runs at all.
            self._engine, self._size = target.open(1), 1
        # A TensorRT engine is for a range of sizes and takes minutes to build, so one is enough.
        self._compiles_each = isinstance(self._engine, CachedEngine) and self._engine.max_batch is None

    @property
    def info(self) -> EngineInfo:
        """The info of the engine that ran last."""
        return self._engine.info

    def run(self, images: Array, size: int) -> Outputs:
        """The outputs for images [K, 3, S, S] in batches of exactly `size`."""
        if self._compiles_each and size != self._size and not (self.rejected and size > 1):
            self._engine.close()
            try:
                self._engine, self._size = self._target.open(size), size
            except (EngineError, EngineUnavailableError) as error:
                return failed(f"at batch size {size}: {error}")
        return outputs_at(self._engine, images, size, self.rejected)

    def close(self) -> None:
        """Free the model."""
        self._engine.close()


def check_engine(
    target: Target,
    inputs: Inputs,
    batch_sizes: Sequence[int],
    references: Sequence[tuple[Reference, Tolerance]],
) -> Iterator[Check]:
    """The checks of one engine, with the tolerance for each reference; a model that it rejects is a failed check.

    Raises EngineUnavailableError and InputError, before the first check, if the engine is not available.
    """
    try:
        model = Sizes(target, max(batch_sizes))
    except EngineError as error:
        info = EngineInfo(target.name, "-", "-", "-", "requested")
        tolerance = tolerance_of(target.precision)
        yield Check(info, 0, LOADING, 0, failed(str(error)), target.precision, tolerance, "", target.name)
        return
    try:
        yield from _checks(model, target, inputs, batch_sizes, references)
    finally:
        model.close()


def _checks(
    model: Sizes,
    target: Target,
    inputs: Inputs,
    batch_sizes: Sequence[int],
    references: Sequence[tuple[Reference, Tolerance]],
) -> Iterator[Check]:
    largest = max(batch_sizes)
    ordered = largest > 1 and len(inputs) > 1
    order = np.random.RandomState(ORDER_SEED).permutation(len(inputs)).astype(np.intp)
    outputs: dict[int, Outputs] = {}
    infos: dict[int, EngineInfo] = {}
    # Start with the largest size, which is open: its compiled model is also used for the order, and then released.
    shuffled: Outputs = {}
    for size in sorted({*batch_sizes, *([1] if ordered and target.precision == FP32 else [])}, reverse=True):
        outputs[size] = model.run(inputs.images, size)
        infos[size] = model.info
        if size == largest and ordered:
            shuffled = model.run(inputs.images[order], size)
    expected = {reference.name: _expected(reference, target.name, inputs.images) for reference, _ in references}
    for size in batch_sizes:
        for reference, tolerance in references:
            count = len(inputs) if reference.covers is None else reference.covers
            comparison = _compare(expected[reference.name], outputs[size], count, tolerance, inputs.names)
            comparison = _exact(comparison, infos[size], target.precision)
            yield Check(
                infos[size], size, reference.name, count, comparison, target.precision, tolerance, "", target.name
            )
    if ordered:
        comparison = _compare_order(outputs[1 if target.precision == FP32 else largest], shuffled, order, inputs)
        # The order must not matter beyond fp32's tolerance, in any precision.
        exact = tolerance_of(FP32)
        yield Check(infos[largest], largest, ORDER, len(inputs), comparison, target.precision, exact, "", target.name)


def _expected(reference: Reference, engine: str, images: Array) -> Outputs:
    """The reference's outputs; if it cannot run, only its own checks fail with the reason."""
    try:
        return reference.outputs(engine, images)
    except (EngineError, EngineUnavailableError, InputError) as error:
        return failed(f"the reference {reference.name!r} failed: {error}")


def _compare(expected: Outputs, outputs: Outputs, count: int, tolerance: Tolerance, names: Sequence[str]) -> Comparison:
    if isinstance(outputs, Comparison):
        return outputs
    if isinstance(expected, Comparison):
        return expected
    first = {name: values[:count] for name, values in outputs.items()}
    return compare(expected, first, tolerance, names=names[:count])


def _compare_order(expected: Outputs, shuffled: Outputs, order: npt.NDArray[np.intp], inputs: Inputs) -> Comparison:
    """Compare each row of a batch with the outputs of its image alone, which other rows must not influence."""
    if isinstance(expected, Comparison):
        return expected
    if isinstance(shuffled, Comparison):
        return shuffled
    if any(len(values) != len(order) for values in (*expected.values(), *shuffled.values())):
        return failed("the outputs do not have a row for every image of the batch")
    back = np.argsort(order)
    try:
        in_order = {name: values[back] for name, values in shuffled.items()}
        return compare(expected, in_order, tolerance_of(FP32), names=inputs.names)
    except ValidationError as error:
        return failed(f"the runs that the order is compared with cannot serve as a reference: {error}")


def _exact(comparison: Comparison, info: EngineInfo, precision: str) -> Comparison:
    """Fail an fp32 check if the engine reports a lower precision, even if the outputs agree."""
    if precision != FP32 or info.precision == FP32:
        return comparison
    problem = f"{info.name} computes in {info.precision}, expected fp32; set its precision to fp32"
    return dataclasses.replace(comparison, problems=(problem, *comparison.problems))
