"""Proof on first use: before an engine runs a model on this machine for the first time, it has to give the recorded
outputs of the artifact's conformance vectors.

A device can compute something else without an error: Swin Transformers on one NPU agreed with the CPU on 0 of 500
images. The verdict is kept (`onnxzoo.verdicts`) until the model, the recorded outputs, the library, the device, its
driver or the precision is another, so that later loads neither run nor read anything for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import numpy as np

from .artifact.folder import CONFORMANCE_FILE, Artifact
from .artifact.vectors import Vectors
from .comparison.compare import Comparison, compare, failed
from .comparison.tolerances import Tolerance, coarser, tolerance_of
from .engines.options import EngineOptions
from .engines.protocol import Engine, LibraryEngine, ModelFile
from .engines.running import run_batches
from .errors import HubError, InputError, ModelNotFoundError, WrongResultsError, one_line
from .files import CACHE_VARIABLE, KeyValue
from .interface import LOGITS, check_interface
from .precisions import BF16, FP32, PRECISIONS
from .results import Array, EngineInfo, Verification
from .verdicts import MODEL, Key, Verdict, keep_verdict, kept_verdict

CPU = "CPU"
FEW = 2
"""In fp32 on a CPU so many vectors are run, as each takes tens of milliseconds; every single value has to be right."""

REFERENCE = Verification(None, "not needed: the engine is the reference itself")
SKIPPED = Verification(False, "skipped: verify=False")
NO_VECTORS = Verification(False, "not possible: the artifact has no conformance vectors")

logger = logging.getLogger(__name__)


class FirstUse:
    """Verifies engines that have opened a model of one artifact: call it with each; `verification` is of the last."""

    def __init__(
        self, artifact: Artifact, vectors: Callable[[], Vectors], options: EngineOptions, *, verify: bool = True
    ) -> None:
        """`vectors`: reads the conformance vectors; it may raise ModelNotFoundError or HubError where they are not
        here, and is called only when they are needed. `options`: those of the engines. `verify`: False skips it all.
        """
        self._artifact = artifact
        self._vectors = vectors
        self._largest_batch = options.largest_batch
        self.verification = NO_VECTORS if verify else SKIPPED

    def __call__(self, engine: LibraryEngine, file: ModelFile) -> None:
        """Have the engine give the recorded outputs, unless it did before.

        Where they are not on this machine, `verification` says so. Raises ArtifactError when the engine's inputs or
        outputs are not the artifact's or the vectors are damaged, WrongResultsError with the figures when it gives
        other outputs, and EngineError when it fails.
        """
        announced = self._artifact.files.get(CONFORMANCE_FILE)
        if announced is None or self.verification == SKIPPED:
            return
        check_interface(self._artifact, engine)
        tolerance = tolerance_in(engine.info.precision, file.precision)
        key = _key(engine, file, announced.sha256, tolerance)
        verdict = _kept(key)
        when, unkept = "before", ""
        if verdict is None:
            try:
                vectors = self._vectors()
            except (ModelNotFoundError, HubError) as error:
                logger.warning("the results of %s are not verified: %s", engine.info.name, error)
                self.verification = Verification(False, f"not possible: {one_line(error)}")
                return
            verdict, when = _verified(engine, vectors, tolerance, self._largest_batch), "now"
            unkept = _keep(key, verdict)
        self.verification = Verification(True, _figures(verdict, when) + unkept)


def tolerance_in(arithmetic: str, file_precision: str) -> Tolerance:
    """The tolerance of results computed in `arithmetic`, as EngineInfo names it, from a file in `file_precision`.

    Arithmetic that is not a precision, such as TF32 or a provider's choice, is allowed what bf16 is, the coarsest in
    floating point.
    """
    computed = arithmetic if arithmetic in PRECISIONS else BF16
    return tolerance_of(coarser(computed, file_precision))


def _key(engine: LibraryEngine, file: ModelFile, conformance_sha256: str, tolerance: Tolerance) -> dict[str, KeyValue]:
    return {
        **engine.cache_key,
        "engine": engine.info.name,
        "computes_in": engine.info.precision,
        MODEL: file.digest(),
        "conformance_sha256": conformance_sha256,
        "tolerance": tolerance.value,
        "snr_db": tolerance.snr_db,
    }


def _verified(engine: Engine, vectors: Vectors, tolerance: Tolerance, largest_batch: int) -> Verdict:
    """Run the vectors, the first alone and all at once, as far as the engine takes that. Raises as FirstUse does."""
    info = engine.info
    count = FEW if info.device == CPU and tolerance == tolerance_of(FP32) else len(vectors.images)
    images = vectors.images[:count]
    expected = {name: values[:count] for name, values in vectors.outputs.items() if name in (LOGITS, *engine.outputs)}
    together = min(max(len(images), 2), engine.max_batch or largest_batch)
    one = _outputs(engine, images[:1], 1) if together > 1 else None
    sizes = {together: _outputs(engine, images, together)}
    if one is not None:
        # What noise is allowed depends on how the outputs of all inputs differ: one image is compared among the others.
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
    # As `Model` takes them: of a graph of somebody else's in another floating-point type.
    return {name: np.asarray(value, np.float32) if value.dtype.kind == "f" else value for name, value in found.items()}


def _first_from(
    alone: dict[str, Array] | Comparison, batch: dict[str, Array] | Comparison
) -> dict[str, Array] | Comparison:
    """The outputs of a batch, with the first row from a run of that image alone."""
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
        if comparison.worst_ratio <= 1:  # then it is the noise, or the order of the classes
            figures += f": {comparison.problems[0]}"
    else:
        figures = comparison.problems[0]
    return (
        f"{info.name} {info.version} gives wrong results on {info.device} in {info.precision}: at batch size {size}, "
        f"{figures}; use another engine or device, or update its driver and library (verify=False, --no-verify, "
        "skips this check)"
    )


def _figures(verdict: Verdict, when: str) -> str:
    sizes = " and ".join(map(str, verdict.batch_sizes))
    return (
        f"verified {when} ({verdict.date}) with {verdict.vectors} recorded inputs at batch size {sizes}: largest "
        f"difference {verdict.max_abs:.2g}, {verdict.top1} of {verdict.vectors} best classes agree"
    )


def _kept(key: Key) -> Verdict | None:
    try:
        return kept_verdict(key)
    except InputError:  # there is no cache folder
        return None


def _keep(key: Key, verdict: Verdict) -> str:
    """Keep a verdict; returns what there is to say where it cannot be kept, which costs every load and nothing else."""
    try:
        keep_verdict(key, verdict)
    except (OSError, InputError) as error:
        logger.info("the verdict cannot be kept: %s", one_line(error))
        return f"; it cannot be kept ({one_line(error)}), set {CACHE_VARIABLE} to a folder of yours"
    return ""
