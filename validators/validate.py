"""Validating an artifact: every engine, several batch sizes, against recorded or live outputs of the reference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..artifact import INPUT_NAME, Artifact
from ..engines import ENGINES, create_engine
from ..engines.protocol import Engine
from ..errors import EngineError, EngineUnavailableError, InputError
from ..registry import find
from ..results import EngineInfo
from . import DEFAULT_TOLERANCE
from .compare import Comparison, compare, failed
from .vectors import Vectors, read_vectors

BATCH_SIZES = (1, 2, 3)
"""One, two and an odd size: a batch that is baked into the graph shows at one of them."""

NOISE_SAMPLES = 3
NOISE_SEED = 7


@dataclass(frozen=True, slots=True)
class Check:
    """One engine at one batch size against one reference; true when it passed.

    `reference`: `conformance` (recorded in the artifact) or `paddle` (run now, from a checkpoint).
    """

    engine: EngineInfo
    batch_size: int
    reference: str
    samples: int
    comparison: Comparison

    def __bool__(self) -> bool:
        return bool(self.comparison)


def validate(
    artifact: Artifact,
    *,
    engines: Sequence[str] | None = None,
    weights: Path | None = None,
    tolerance: float = DEFAULT_TOLERANCE,
    batch_sizes: Sequence[int] = BATCH_SIZES,
) -> Iterator[Check]:
    """Check `artifact` and yield one `Check` per reference, engine and batch size as it is done.

    `engines`: by default every one that is installed. The artifact's files are verified and its conformance vectors
    compared always; with `weights` (the checkpoint) the Paddle reference also runs here and now, on those inputs and
    on fresh noise. Raises EngineUnavailableError, ArtifactError, CheckpointError or ValidationError when a
    check cannot be carried out.
    """
    artifact.verify()
    recorded = read_vectors(artifact)
    references = {"conformance": recorded}
    if weights is not None:
        references["paddle"] = live_vectors(artifact, weights, recorded)
    for engine in _engines(artifact, engines):
        try:
            for reference, vectors in references.items():
                for batch_size in batch_sizes:
                    comparison = _compare_run(engine, vectors, batch_size, tolerance)
                    yield Check(engine.info, batch_size, reference, len(vectors.names), comparison)
        finally:
            engine.close()


def _engines(artifact: Artifact, names: Sequence[str] | None) -> Iterator[Engine]:
    """The model in each of these engines, one after the other; by default in all that are installed."""
    model_file = artifact.model_file()
    if names is not None:
        yield from (create_engine(name, model_file) for name in names)
        return
    unavailable = []
    for name in ENGINES:
        try:
            engine = create_engine(name, model_file)
        except EngineUnavailableError as error:
            unavailable.append(str(error))
            continue
        yield engine
    if len(unavailable) == len(ENGINES):
        raise EngineUnavailableError(f"no engine can be used here: {'; '.join(unavailable)}")


def live_vectors(artifact: Artifact, weights: Path, recorded: Vectors) -> Vectors:
    """The recorded inputs and fresh noise with the outputs that the Paddle reference gives now.

    Raises CheckpointError when the checkpoint cannot be read or is not the artifact's model.
    """
    from ..reference.build import spec_of
    from ..reference.checkpoint import read_checkpoint
    from ..reference.engine import PaddleEngine

    checkpoint = read_checkpoint(weights, find(artifact.name))
    reference = PaddleEngine(spec_of(artifact, checkpoint), checkpoint.state)
    noise = np.random.RandomState(NOISE_SEED).standard_normal((NOISE_SAMPLES, *recorded.images.shape[1:]))
    images = np.concatenate([recorded.images, noise.astype(np.float32)])
    names = (*recorded.names, *(f"fresh noise {i}" for i in range(NOISE_SAMPLES)))
    return Vectors(names, images, reference.run_each(images))


def _compare_run(engine: Engine, vectors: Vectors, batch_size: int, tolerance: float) -> Comparison:
    try:
        outputs = _run(engine, vectors.images, batch_size)
    except (EngineError, InputError) as error:
        # A model that cannot be run, or not at this batch size, is a failed check, not an aborted validation.
        return failed(str(error))
    return compare(vectors.outputs, outputs, tolerance)


def _run(engine: Engine, images: npt.NDArray[np.float32], batch_size: int) -> dict[str, npt.NDArray[np.float32]]:
    # The last batch is filled up with the first images, so that every run has the batch size under test.
    count = len(images)
    rows = np.resize(np.arange(count), -(-count // batch_size) * batch_size)
    parts = [engine.run({INPUT_NAME: images[rows[i : i + batch_size]]}) for i in range(0, len(rows), batch_size)]
    return {name: np.concatenate([part[name] for part in parts])[:count] for name in parts[0]}
