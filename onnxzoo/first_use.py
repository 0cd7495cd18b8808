"""Verification on first use: before an engine runs a model on this machine for the first time, its outputs are compared
with those recorded in the artifact's conformance vectors.

A device can compute wrong results without an error: Swin Transformers on one NPU agreed with the CPU on 0 of 500
images. The verdict is kept (`onnxzoo.verdicts`) until the model, the recorded outputs, the library, the device, its
driver or the precision changes, so that later loads neither run nor read anything for it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from .artifact.folder import CONFORMANCE_FILE, Artifact
from .comparison.tolerances import Tolerance, coarser, tolerance_of
from .engines import is_remote
from .engines.options import EngineOptions
from .engines.protocol import LibraryEngine, ModelFile
from .errors import HubError, InputError, ModelNotFoundError, one_line
from .files import CACHE_VARIABLE, KeyValue
from .interface import check_interface
from .precisions import BF16, PRECISIONS
from .results import Verification
from .verdicts import COMPUTES_IN, ENGINE, LIBRARY, MODEL, RUNS_ON, Key, Verdict, keep_verdict, kept_verdict

if TYPE_CHECKING:
    from .artifact.vectors import Vectors

REFERENCE = Verification(None, "not needed: the engine is the reference itself")
SKIPPED = Verification(False, "skipped: verify=False")
NO_VECTORS = Verification(False, "not possible: the artifact has no conformance vectors")

logger = logging.getLogger(__name__)


class FirstUse:
    """Verifies engines that have opened a model of one artifact: call it with each.

    `verification`: the last result. `sha256`: of the last file, "" before.
    """

    def __init__(
        self, artifact: Artifact, vectors: Callable[[], Vectors], options: EngineOptions, *, verify: bool = True
    ) -> None:
        """`vectors`: reads the conformance vectors, and is called only if they are needed; it may raise
        ModelNotFoundError or HubError if they are not here. `options`: the engines' options. `verify`: False skips all
        of this.
        """
        self._artifact = artifact
        self._vectors = vectors
        self._largest_batch = options.largest_batch
        self.verification = NO_VECTORS if verify else SKIPPED
        self.sha256 = ""

    def __call__(self, engine: LibraryEngine, file: ModelFile) -> None:
        """Compare the engine's outputs with the recorded ones, unless this was done before.

        If they are not on this machine, `verification` says so. Raises ArtifactError if the engine's inputs or outputs
        differ from the artifact's or the vectors are damaged, WrongResultsError with the figures if the outputs differ,
        and EngineError if the engine fails.
        """
        self.sha256 = file.digest()
        announced = self._artifact.files.get(CONFORMANCE_FILE)
        if announced is None or self.verification == SKIPPED:
            return
        check_interface(self._artifact, engine)
        tolerance = tolerance_in(engine.info.precision, file.precision)
        key = _key(engine, file, announced.sha256, tolerance)
        lasting = not is_remote(engine.info.name)  # a server may run another file the next time
        verdict = _kept(key) if lasting else None
        when, unkept = "before", ""
        if verdict is None:
            try:
                vectors = self._vectors()
            except (ModelNotFoundError, HubError) as error:
                logger.warning("the results of %s are not verified: %s", engine.info.name, error)
                self.verification = Verification(False, f"not possible: {one_line(error)}")
                return
            from .known_answers import run_known_answers  # most loads do not need its imports

            verdict, when = run_known_answers(engine, vectors, tolerance, self._largest_batch), "now"
            unkept = _keep(key, verdict) if lasting else ""
        self.verification = Verification(True, _figures(verdict, when) + unkept)


def tolerance_in(arithmetic: str, file_precision: str) -> Tolerance:
    """The tolerance of results computed in `arithmetic`, as EngineInfo names it, from a file in `file_precision`.

    Arithmetic that is not a precision, such as TF32 or a provider's choice, has the tolerance of bf16, the coarsest
    floating-point precision.
    """
    computed = arithmetic if arithmetic in PRECISIONS else BF16
    return tolerance_of(coarser(computed, file_precision))


def _key(engine: LibraryEngine, file: ModelFile, conformance_sha256: str, tolerance: Tolerance) -> dict[str, KeyValue]:
    return {
        **engine.cache_key,
        ENGINE: engine.info.name,
        LIBRARY: engine.info.version,
        RUNS_ON: engine.info.device,  # one of two identical GPUs may be faulty
        COMPUTES_IN: engine.info.precision,
        MODEL: file.digest(),
        "conformance_sha256": conformance_sha256,
        "tolerance": tolerance.value,
        "snr_db": tolerance.snr_db,
    }


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
    """Save a verdict; returns a note if it cannot be saved, in which case every load repeats the verification."""
    try:
        keep_verdict(key, verdict)
    except (OSError, InputError) as error:
        logger.info("the verdict cannot be kept: %s", one_line(error))
        return f"; it cannot be kept ({one_line(error)}), set {CACHE_VARIABLE} to a folder of yours"
    return ""
