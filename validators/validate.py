"""Validates an artifact on every engine at several batch sizes, against recorded or live outputs of the reference."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ..artifact.folder import CONFORMANCE_FILE, Artifact
from ..artifact.vectors import read_vectors
from ..comparison.compare import failed
from ..comparison.tolerances import Tolerance, coarser, tolerance_of
from ..engines import AUTO, ENGINES, engine_class, is_remote
from ..errors import EngineUnavailableError, ImageError, InputError, MissingDependencyError, ValidationError
from ..image import ImageInput
from ..official import weights_of
from ..precisions import FP32
from ..results import EngineInfo
from .bisect import Bisection
from .engine_checks import PARAMETERS, Check, Target, check_engine
from .inputs import IMAGE_SAMPLES, NOISE_SAMPLES, NOISE_SEED, Inputs, image_inputs, joined, noise_inputs, plain_inputs
from .low_precision import check_low_precision
from .parameters import ParameterCheck, check_parameters
from .preprocess import PreprocessCheck
from .references import AGAINST, CONFORMANCE, LiveModel, OtherArtifact, Recorded, Reference, live_by_default
from .result import Compared, PreprocessResult, ValidationResult

BATCH_SIZES = (1, 2, 3)
"""One, two and an odd size, so that a batch size fixed in the graph is detected."""

FILE_ITSELF = EngineInfo("-", "-", "-", "-", "the ONNX file itself")
ONE_FILE = "a server runs one file, which is expected in fp32; name another precision with --precision"
SAME_FILE = "it is the same ONNX file, and a model always agrees with itself"


class Validation:
    """One validation, prepared by its constructor and executed by `run`.

    `inputs`: the inputs of the engines, the recorded ones first. `references`: by name. `seed`: of the noise among the
    inputs, None without noise. `tolerances` and `model_files`: the tolerance and the ONNX file, by precision.
    `unavailable`: what was not checked (`openvino in fp16`), and why. `checks`: the checks so far. `finished`: whether
    these are all. `build`: whether to use engines that take minutes to build, which is the case if engines are named.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        engines: Sequence[str] | None = None,
        weights: Path | None = None,
        reference: str | None = None,
        against: Artifact | None = None,
        against_precision: str = FP32,
        precisions: Sequence[str] | None = None,
        tolerance: float | None = None,
        batch_sizes: Sequence[int] = BATCH_SIZES,
        images: Sequence[ImageInput] | None = None,
        samples: int | None = None,
        seed: int | None = None,
        unreadable: Callable[[ImageError], None] | None = None,
    ) -> None:
        """Verify the files, read the recorded vectors, make the other inputs and run the live reference.

        `engines`: by default all that work here and do not take minutes to build; named engines must work. `weights`:
        checkpoint for the reference that runs now; `reference`: `paddle` or `exact` (by default `live_by_default`);
        with `reference` alone the checkpoint is `onnxzoo.official.weights_of` the artifact. `against`,
        `against_precision`: another artifact. With either, the inputs are also fresh noise (`seed`), plain images and
        `images`; `samples`: number of noise images, and maximum number of `images`; `unreadable` is called for one that
        cannot be read, which is skipped. `precisions`: by default all of the artifact. `tolerance`: replaces the
        default `value`, for precisions other than fp32 only if they are named.

        Raises ArtifactError, CheckpointError, ImageError and MissingDependencyError for unsuitable files and missing
        packages, InputError for an invalid combination, EngineUnavailableError for an engine that this version does
        not have, ValidationError if there is no model or the other artifact is the same.
        """
        if weights is None and reference is not None:
            weights = weights_of(artifact)
        if weights is None and against is None:
            options = {"images": images, "samples": samples, "seed": seed}
            if given := [name for name, value in options.items() if value is not None]:
                raise InputError(
                    f"{' and '.join(given)}: there is nothing to compare such inputs with, as the artifact holds "
                    "outputs for its own inputs only; name the checkpoint (--weights) or another artifact (--against)"
                )
        if not batch_sizes or min(batch_sizes) < 1:
            raise InputError(f"batch sizes must be whole numbers from 1, got {list(batch_sizes)}")
        self.artifact = artifact
        self._engines = None if engines is None else tuple(dict.fromkeys(engines))
        self.build = engines is not None
        self._batch_sizes = tuple(dict.fromkeys(batch_sizes))
        self._named = precisions is not None
        chosen = precisions or artifact.precisions
        self._explicit = {p for p in chosen if tolerance is not None and (self._named or p == FP32)}
        self.tolerances = {p: tolerance_of(p, tolerance if p in self._explicit else None) for p in chosen}
        self._itself: frozenset[str] = frozenset()
        # Each file is read and hashed only once; files that are read below are verified there.
        read = dict.fromkeys((*self.tolerances, *({FP32} & set(artifact.precisions))))
        models = {precision: artifact.model_file(precision) for precision in read}
        for path, file in artifact.files.items():
            if path != CONFORMANCE_FILE and file.precision not in models:
                artifact.verified(path)
        self.model_files = {precision: models[precision] for precision in self.tolerances}
        self._exact_file = models.get(FP32)
        if not self.model_files:
            raise ValidationError(f"{artifact.folder} has no ONNX file to validate")
        for name in self._engines or ():
            if name != AUTO:
                engine_class(name)  # so that an unknown one is reported before the others run
        self.references: dict[str, Reference] = {}
        self.seed: int | None = None
        parts: list[Inputs] = []
        if CONFORMANCE_FILE in artifact.files or (weights is None and against is None):
            vectors = read_vectors(artifact)
            parts.append(Inputs(vectors.names, vectors.images))
            self.references[CONFORMANCE] = Recorded(artifact, vectors)
        if weights is not None:
            self._add(LiveModel(artifact, weights, reference or live_by_default(artifact)))
        if against is not None:
            self._itself = self._same_files(against, against_precision)
            self._add(OtherArtifact(artifact, against, against_precision))
        if weights is not None or against is not None:
            count = NOISE_SAMPLES if samples is None else samples
            self.seed = NOISE_SEED if seed is None else seed
            parts.append(noise_inputs(artifact.image_size, count, self.seed))
            parts.append(plain_inputs(artifact.preprocess))
            if images is not None:
                most = IMAGE_SAMPLES if samples is None else samples
                parts.append(image_inputs(images, artifact.preprocess, most, unreadable))
        self.inputs = joined(*parts)
        self.unavailable: dict[str, str] = {}
        self.checks: list[Check] = []
        self.finished = False

    def __bool__(self) -> bool:
        """Whether it finished and all checks passed; False without any checks."""
        return self.finished and bool(self.checks) and all(self.checks)

    def run(self) -> Iterator[Check]:
        """Run the checks, one engine and precision after the other, and yield each when it is done.

        Raises EngineUnavailableError or InputError if a requested engine works here in none of the precisions, or not
        in a requested one, or if no engine works; ValidationError if a reference has nothing to compare with.
        """
        self.finished = False
        self.checks.clear()
        self.unavailable.clear()
        self.unavailable |= {f"{AGAINST} in {precision}": SAME_FILE for precision in self._itself}
        for check in self._run():
            self.checks.append(check)
            yield check
        self.finished = True

    def result(
        self, *, bisections: Sequence[Bisection] = (), preprocess: Sequence[PreprocessCheck] | None = None
    ) -> ValidationResult:
        """The result so far as a value; `bisections` and `preprocess`: further results to include."""
        return ValidationResult(
            artifact=self.artifact,
            tolerances=dict(self.tolerances),
            references={name: Compared(dict(one.origin), one.remark) for name, one in self.references.items()},
            inputs=self.inputs,
            seed=self.seed,
            checks=tuple(self.checks),
            unavailable=dict(self.unavailable),
            finished=self.finished,
            bisections=tuple(bisections),
            preprocess=None if preprocess is None else PreprocessResult(tuple(preprocess)),
        )

    def _run(self) -> Iterator[Check]:
        for reference in self.references.values():
            if isinstance(reference, LiveModel) and FP32 in self.model_files:
                yield from self._check_parameters(reference)
        yield from self._check_low_precisions()
        reasons: list[str] = []
        checked = False
        for name in ENGINES if self._engines is None else self._engines:
            missing: list[EngineUnavailableError | InputError] = []
            files = self._files_for(name)
            self.unavailable |= {f"{name} in {one}": ONE_FILE for one in self.model_files if one not in files}
            for precision, model_file in files.items():
                target = Target(name, model_file, precision, build=self.build)
                try:
                    yield from check_engine(target, self.inputs, self._batch_sizes, self._references(precision))
                    checked = True
                except (EngineUnavailableError, InputError) as error:
                    missing.append(error)
                    self.unavailable[f"{name} in {precision}"] = str(error)
            if missing and self._engines is not None and (self._named or len(missing) == len(files)):
                raise missing[0]
            reasons += map(str, missing)
        if not checked:
            raise EngineUnavailableError(f"no engine can be used here: {'; '.join(dict.fromkeys(reasons))}")

    def _files_for(self, engine: str) -> dict[str, Path]:
        """The ONNX files to check on an engine, by precision: all, or for a server one, unless precisions are named."""
        if self._named or not is_remote(engine):
            return self.model_files
        served = FP32 if FP32 in self.model_files else next(iter(self.model_files))
        return {served: self.model_files[served]}

    def _references(self, precision: str) -> list[tuple[Reference, Tolerance]]:
        """The references for the ONNX file of this precision, with their tolerances."""
        return [
            (reference, self._tolerance(precision, reference))
            for reference in self.references.values()
            if not (reference.name == AGAINST and precision in self._itself)
        ]

    def _tolerance(self, precision: str, reference: Reference) -> Tolerance:
        """The tolerance of the coarser precision of file and reference; an explicit `value` is kept."""
        worse = coarser(precision, reference.precision)
        if worse == precision or precision in self._explicit:
            return self.tolerances[precision]
        return tolerance_of(worse)

    def _check_parameters(self, reference: LiveModel) -> Iterator[Check]:
        try:
            found = check_parameters(
                self.model_files[FP32], reference.state, self.artifact.architecture, reference.epsilons
            )
        except MissingDependencyError as error:
            self.unavailable[f"{PARAMETERS} in {FP32}"] = str(error)
        else:
            yield _parameter_check(found, FP32)

    def _check_low_precisions(self) -> Iterator[Check]:
        """Compare the constants of low-precision files with the fp32 file's, which is itself compared with Paddle."""
        for precision, file in self.model_files.items():
            if precision != FP32 and self._exact_file is not None:
                try:
                    yield _parameter_check(check_low_precision(file, self._exact_file), precision)
                except MissingDependencyError as error:
                    self.unavailable[f"{PARAMETERS} in {precision}"] = str(error)
            elif precision != FP32:
                self.unavailable[f"{PARAMETERS} in {precision}"] = "there is no fp32 file to compare its constants with"

    def _same_files(self, against: Artifact, precision: str) -> frozenset[str]:
        """The precisions whose ONNX file is the same as the other's. Raises ValidationError if all are."""
        other = against.announced_model(precision)
        mine = {name: self.artifact.announced_model(name) for name in self.model_files}
        same = {
            name
            for name, file in mine.items()
            if file is not None and other is not None and file.sha256 == other.sha256
        }
        if len(same) == len(self.model_files):
            raise ValidationError(
                f"{against.folder} has the same {precision} ONNX file as {self.artifact.folder}: a model always agrees "
                "with itself; give another revision or precision (--against-precision)"
            )
        return frozenset(same)

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
    """Check `artifact` and yield each `Check` when it is done: `Validation` in one call.

    Per engine there is a check for each batch size and reference, and one of the order within a batch; with `weights`
    also one of the parameters. Raises as `Validation` and its `run` do.
    """
    yield from Validation(
        artifact, engines=engines, weights=weights, tolerance=tolerance, batch_sizes=batch_sizes
    ).run()


def _parameter_check(found: ParameterCheck, precision: str) -> Check:
    count = found.equal + len(found.elsewhere)
    # A comparison without problems passes, even without figures.
    comparison = failed(*found.problems)
    return Check(FILE_ITSELF, 0, PARAMETERS, count, comparison, precision, tolerance_of(precision), found.summary)
