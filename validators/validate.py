"""Validating an artifact: every engine, several batch sizes, against recorded or live outputs of the reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..artifact import CONFORMANCE_FILE, Artifact
from ..engines import AUTO, ENGINES, engine_class
from ..engines.protocol import Engine
from ..errors import EngineError, EngineUnavailableError, InputError, ValidationError
from ..image import ImageInput
from ..results import Array, EngineInfo
from .compare import Comparison, compare, failed
from .inputs import IMAGE_SAMPLES, NOISE_SAMPLES, NOISE_SEED, Inputs, image_inputs, joined, noise_inputs, plain_inputs
from .parameters import check_parameters
from .references import CONFORMANCE, LivePaddle, OtherArtifact, Recorded, Reference
from .running import open_engine, outputs_at
from .tolerances import Tolerance, coarser, tolerance_of
from .vectors import read_vectors

BATCH_SIZES = (1, 2, 3)
"""One, two and an odd size: a batch that is baked into the graph shows at one of them."""

ORDER, LOADING, PARAMETERS = "order", "loading", "parameters"
"""What a check is about when it compares with no reference's outputs (see `Check`)."""

ORDER_SEED = 11


@dataclass(frozen=True, slots=True)
class Check:
    """One engine at one batch size against one reference; true when it passed.

    `reference`: `conformance` (recorded in the artifact), `paddle` (run now, from a checkpoint) or `against` (another
    artifact in the same engine). Or `order`: the engine's own runs of single images are the reference, and the batches
    hold the images in another order; `loading`: the engine rejected the model, nothing ran; `parameters`: those in the
    ONNX file are compared with the checkpoint's, in no engine. `samples`: number of inputs. `tolerance`: what had to
    be met.
    """

    engine: EngineInfo
    batch_size: int
    reference: str
    samples: int
    comparison: Comparison
    precision: str = "fp32"
    tolerance: Tolerance = dataclasses.field(default_factory=lambda: tolerance_of("fp32"))

    def __bool__(self) -> bool:
        return bool(self.comparison)


class Validation:
    """One validation: prepared when it is made, carried out by `run`.

    `inputs`: what the engines are run on, the recorded ones first. `references`: what they are compared with, by
    name. `tolerances` and `model_files`: what has to be met, and the ONNX file, by precision. `unavailable`: why an
    engine was not checked, by its name. `checks`: those done so far.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        engines: Sequence[str] | None = None,
        weights: Path | None = None,
        against: Artifact | None = None,
        against_precision: str = "fp32",
        precisions: Sequence[str] | None = None,
        tolerance: float | None = None,
        batch_sizes: Sequence[int] = BATCH_SIZES,
        images: Sequence[ImageInput] | None = None,
        samples: int | None = None,
        seed: int | None = None,
    ) -> None:
        """Verify the files, read the recorded vectors, make the other inputs and run the live reference.

        `engines`: by default every one that works here; named ones must. `weights`: checkpoint for the live Paddle
        model. `against`, `against_precision`: another artifact. With either, the inputs are also fresh noise (`seed`),
        plain images and `images`; `samples`: number of noise images, and of `images` at most. `precisions`: by default
        all that the artifact has. `tolerance`: instead of the default `value`; of precisions other than fp32 only
        where they are named.

        Raises ArtifactError, CheckpointError, ImageError and MissingDependencyError for files and packages that are
        not as needed, InputError for a combination that makes no sense, EngineUnavailableError for an engine that this
        version does not have, ValidationError where there is no model or the other artifact is the same.
        """
        if weights is None and against is None:
            options = {"images": images, "samples": samples, "seed": seed}
            if given := [name for name, value in options.items() if value is not None]:
                raise InputError(
                    f"{' and '.join(given)}: there is nothing to compare such inputs with, as the artifact carries "
                    "outputs for its own inputs only; name the checkpoint (--weights) or another artifact (--against)"
                )
        if not batch_sizes or min(batch_sizes) < 1:
            raise InputError(f"batch sizes must be whole numbers from 1, got {list(batch_sizes)}")
        self.artifact = artifact
        self._engines = None if engines is None else tuple(dict.fromkeys(engines))
        self._batch_sizes = tuple(dict.fromkeys(batch_sizes))
        self.tolerances = {
            precision: tolerance_of(precision, tolerance if precisions is not None or precision == "fp32" else None)
            for precision in precisions or artifact.precisions
        }
        # Each file is read and hashed once: those that are read below are verified there.
        for path, file in artifact.files.items():
            if path != CONFORMANCE_FILE and file.precision not in self.tolerances:
                artifact.verified(path)
        self.model_files = {precision: artifact.model_file(precision) for precision in self.tolerances}
        if not self.model_files:
            raise ValidationError(f"{artifact.folder} has no ONNX file to validate")
        for name in self._engines or ():
            if name != AUTO:
                engine_class(name)  # an unknown one is said now, not after the others have run
        self.references: dict[str, Reference] = {}
        parts: list[Inputs] = []
        if CONFORMANCE_FILE in artifact.files or (weights is None and against is None):
            vectors = read_vectors(artifact)
            parts.append(Inputs(vectors.names, vectors.images))
            self.references[CONFORMANCE] = Recorded(vectors)
        if weights is not None:
            self._add(LivePaddle(artifact, weights))
        if against is not None:
            self._refuse_itself(against, against_precision)
            self._add(OtherArtifact(artifact, against, against_precision))
        if weights is not None or against is not None:
            count = NOISE_SAMPLES if samples is None else samples
            parts.append(noise_inputs(artifact.image_size, count, NOISE_SEED if seed is None else seed))
            parts.append(plain_inputs(artifact.preprocess))
            if images is not None:
                parts.append(image_inputs(images, artifact.preprocess, IMAGE_SAMPLES if samples is None else samples))
        self.inputs = joined(*parts)
        self.unavailable: dict[str, str] = {}
        self.checks: list[Check] = []

    def __bool__(self) -> bool:
        """Whether all checks passed, of which there must be some."""
        return bool(self.checks) and all(self.checks)

    def run(self) -> Iterator[Check]:
        """Carry the checks out, one precision and engine after the other, and yield each as it is done.

        Raises EngineUnavailableError when an engine that was asked for, or every one, cannot be used here;
        ValidationError when a reference gives nothing to compare with.
        """
        self.checks.clear()
        self.unavailable.clear()
        for check in self._run():
            self.checks.append(check)
            yield check

    def _run(self) -> Iterator[Check]:
        for reference in self.references.values():
            if isinstance(reference, LivePaddle) and "fp32" in self.model_files:
                yield from self._check_parameters(reference)
        names = tuple(ENGINES) if self._engines is None else self._engines
        checked = False
        for precision, model_file in self.model_files.items():
            for name in names:
                if name in self.unavailable:
                    continue
                try:
                    yield from self._check_on(name, model_file, precision)
                    checked = True
                except (EngineUnavailableError, InputError) as error:
                    if self._engines is not None:
                        raise
                    # An engine that lacks one precision may have the next.
                    missing = name if isinstance(error, EngineUnavailableError) else f"{name} in {precision}"
                    self.unavailable[missing] = str(error)
        if not checked:
            raise EngineUnavailableError(f"no engine can be used here: {'; '.join(self.unavailable.values())}")

    def _check_on(self, name: str, model_file: Path, precision: str) -> Iterator[Check]:
        """The checks of one engine; a model that it rejects has failed, and the other engines are of interest still."""
        rejected = ""
        try:
            engine = open_engine(name, model_file, precision, max(self._batch_sizes))
        except EngineError as error:
            rejected = str(error)
            try:
                # Engines that compile for a batch size reject a baked batch only now: does the model run at all?
                engine = open_engine(name, model_file, precision, 1)
            except EngineError as other:
                info = EngineInfo(name, "-", "-", "-", "requested")
                yield self._check(info, 0, LOADING, 0, failed(str(other)), precision)
                return
        try:
            yield from self._check_engine(engine, name, precision, rejected)
        finally:
            engine.close()

    def _check_engine(self, engine: Engine, name: str, precision: str, rejected: str) -> Iterator[Check]:
        """`rejected`: why the engine does not take more than one image at a time; "" when it does."""
        images = self.inputs.images
        expected: dict[str, Mapping[str, Array] | Comparison] = {}
        for reference in self.references.values():
            try:
                expected[reference.name] = reference.outputs(name, images)
            except EngineError as error:
                expected[reference.name] = failed(f"the reference {reference.name!r} failed: {error}")
        singles: dict[str, Array] | Comparison | None = None
        for size in self._batch_sizes:
            outputs = outputs_at(engine, images, size, rejected)
            if size == 1:
                singles = outputs
            for reference in self.references.values():
                count = len(self.inputs) if reference.covers is None else reference.covers
                tolerance = self._tolerance(precision, reference)
                comparison = self._compare(expected[reference.name], outputs, count, tolerance)
                comparison = _exact(comparison, engine.info, precision)
                yield self._check(engine.info, size, reference.name, count, comparison, precision, tolerance)
        size = max(self._batch_sizes)
        if size > 1 and len(self.inputs) > 1:
            if singles is None:
                singles = outputs_at(engine, images, 1)
            comparison = self._compare_order(engine, singles, size, precision, rejected)
            yield self._check(engine.info, size, ORDER, len(self.inputs), comparison, precision)

    def _compare(
        self,
        expected: Mapping[str, Array] | Comparison,
        outputs: Mapping[str, Array] | Comparison,
        count: int,
        tolerance: Tolerance,
    ) -> Comparison:
        if isinstance(outputs, Comparison):
            return outputs
        if isinstance(expected, Comparison):
            return expected
        first = {name: values[:count] for name, values in outputs.items()}
        return compare(expected, first, tolerance, names=self.inputs.names[:count])

    def _compare_order(
        self, engine: Engine, singles: Mapping[str, Array] | Comparison, size: int, precision: str, rejected: str
    ) -> Comparison:
        """Row i of a batch must be what image i alone gives, whatever the other rows are."""
        if isinstance(singles, Comparison):
            return singles
        order = np.random.RandomState(ORDER_SEED).permutation(len(self.inputs))
        outputs = outputs_at(engine, self.inputs.images[order], size, rejected)
        if isinstance(outputs, Comparison):
            return outputs
        back = np.argsort(order)
        if any(len(values) != len(order) for values in (*singles.values(), *outputs.values())):
            return failed("the outputs do not have a row for every image of the batch")
        try:
            in_order = {name: values[back] for name, values in outputs.items()}
            return compare(singles, in_order, self.tolerances[precision], names=self.inputs.names)
        except ValidationError as error:
            return failed(f"the runs of single images cannot serve as a reference: {error}")

    def _check_parameters(self, reference: LivePaddle) -> Iterator[Check]:
        found = check_parameters(
            self.model_files["fp32"], reference.state, self.artifact.architecture, reference.epsilons
        )
        info = EngineInfo("-", "-", "fp32", "-", "the ONNX file itself")
        comparison = failed(*found.problems)  # without problems it passes, also without figures
        if found.equal or found.problems:  # a file with names of its own has nothing to compare
            yield self._check(info, 0, PARAMETERS, found.equal, comparison, "fp32")

    def _check(
        self,
        info: EngineInfo,
        batch_size: int,
        reference: str,
        samples: int,
        comparison: Comparison,
        precision: str,
        tolerance: Tolerance | None = None,
    ) -> Check:
        return Check(
            info, batch_size, reference, samples, comparison, precision, tolerance or self.tolerances[precision]
        )

    def _tolerance(self, precision: str, reference: Reference) -> Tolerance:
        """That of the coarser precision, where the reference itself is of a low one; an explicit `value` stays."""
        mine = self.tolerances[precision]
        worse = coarser(precision, reference.precision)
        if worse == precision or mine.value != tolerance_of(precision).value:
            return mine
        return tolerance_of(worse)

    def _refuse_itself(self, against: Artifact, precision: str) -> None:
        other = {file.sha256 for file in against.files.values() if file.precision == precision}
        mine = {file.sha256 for file in self.artifact.files.values() if file.precision in self.model_files}
        if mine <= other:
            raise ValidationError(
                f"{against.folder} has the same {precision} ONNX file as {self.artifact.folder}: a model always agrees "
                "with itself; give another revision or precision (--against-precision)"
            )

    def _add(self, reference: Reference) -> None:
        self.references[reference.name] = reference


def validate(
    artifact: Artifact,
    *,
    engines: Sequence[str] | None = None,
    weights: Path | None = None,
    tolerance: float | None = None,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> Iterator[Check]:
    """Check `artifact` and yield one `Check` after the other as it is done: `Validation` in one call.

    Per engine, a check for every batch size and reference, and one of the order within a batch; with `weights`
    one of the parameters. Raises as `Validation` and its `run` do.
    """
    yield from Validation(
        artifact, engines=engines, weights=weights, tolerance=tolerance, batch_sizes=batch_sizes
    ).run()


def _exact(comparison: Comparison, info: EngineInfo, precision: str) -> Comparison:
    """fp32 means fp32: an engine that says that it computes in less has failed, whatever the numbers."""
    if precision != "fp32" or info.precision == "fp32":
        return comparison
    problem = f"{info.name} computes in {info.precision}, expected fp32; set its precision to fp32"
    return dataclasses.replace(comparison, problems=(problem, *comparison.problems))
