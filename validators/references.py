"""References for an engine's outputs: recorded outputs, a reference that runs now, another artifact."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ..artifact.folder import CONFORMANCE_FILE, Artifact
from ..artifact.vectors import Vectors
from ..engines import AUTO, is_remote
from ..engines.running import run_batches
from ..errors import InputError
from ..precisions import FP32
from ..registry import find
from ..results import Array
from .layer_errors import onnx_layers
from .probe_points import LayerSource
from .running import open_engine

if TYPE_CHECKING:
    from ..reference.exact.engine import ExactEngine
    from ..reference.paddle.engine import PaddleEngine

CONFORMANCE, PADDLE, EXACT, AGAINST = "conformance", "paddle", "exact", "against"

LIVE = (PADDLE, EXACT)
"""The references that run a checkpoint: the textbook model in Paddle, or in NumPy and float64."""


class Reference(Protocol):
    """A source of expected outputs.

    `name`: CONFORMANCE, PADDLE, EXACT or AGAINST. `precision`: of its arithmetic. `covers`: the number of first inputs
    that it is used for, None for all. `origin`: its file, with its `sha256`. `remark`: a note about it, or "".
    """

    name: str
    precision: str
    covers: int | None
    origin: Mapping[str, str]
    remark: str

    def outputs(self, engine: str, images: Array) -> Mapping[str, Array]:
        """The outputs by name for images float32 [K, 3, S, S], each run alone; `engine`: the engine to compare."""
        ...

    def layers(self, engine: str) -> LayerSource | None:
        """The source of the values of its layers, or None."""
        ...


class Recorded:
    """The conformance vectors of the artifact, recorded when it was made, for the recorded inputs only."""

    name, precision, remark = CONFORMANCE, FP32, ""

    def __init__(self, artifact: Artifact, vectors: Vectors) -> None:
        self.origin: Mapping[str, str] = {"path": CONFORMANCE_FILE, "sha256": artifact.files[CONFORMANCE_FILE].sha256}
        self.covers: int | None = len(vectors.names)
        self._outputs = vectors.outputs

    def outputs(self, engine: str, images: Array) -> Mapping[str, Array]:  # noqa: ARG002 - the same for all
        """The recorded outputs, for the recorded images."""
        return self._outputs

    def layers(self, engine: str) -> LayerSource | None:  # noqa: ARG002
        """None, as only outputs were recorded."""
        return None


def live_by_default(artifact: Artifact) -> str:
    """The default reference of LIVE for running a checkpoint.

    It is EXACT for artifacts that were assembled without Paddle, and if Paddle is not installed; otherwise PADDLE.
    """
    return EXACT if artifact.assembled or importlib.util.find_spec("paddle") is None else PADDLE


class LiveModel:
    """The textbook model with the weights of a checkpoint, run on this machine."""

    precision = FP32

    def __init__(self, artifact: Artifact, weights: Path, name: str = PADDLE) -> None:
        """`name`: of LIVE.

        Raises CheckpointError if the checkpoint cannot be read or is not the artifact's model, InputError for another
        name, MissingDependencyError for PADDLE if Paddle is not installed.
        """
        from ..weights.checkpoint import read_checkpoint, spec_of

        if name not in LIVE:
            raise InputError(f"the reference must be {' or '.join(LIVE)}, got {name!r}")
        self.name = name
        checkpoint = read_checkpoint(weights, find(artifact.name))
        self.covers: int | None = None
        self.origin: Mapping[str, str] = {"path": str(weights), "sha256": checkpoint.sha256}
        own = artifact.source.get("sha256")
        self.remark = (
            f"{weights} (sha256 {checkpoint.sha256}) is not the checkpoint that the artifact says it was exported from "
            f"(sha256 {own})"
            if isinstance(own, str) and own != checkpoint.sha256
            else ""
        )
        self.state = checkpoint.state
        spec = spec_of(artifact, checkpoint)
        with checkpoint.named():
            self._engine = _live_engine(name).open(spec, checkpoint.state)
        self.epsilons = self._engine.epsilons
        self._last: tuple[Array, Mapping[str, Array]] | None = None

    def outputs(self, engine: str, images: Array) -> Mapping[str, Array]:  # noqa: ARG002 - the same for all
        """The model's outputs for each image alone; computed once for the same array."""
        if self._last is None or self._last[0] is not images:
            self._last = images, self._engine.run_each(images)
        return self._last[1]

    def layers(self, engine: str) -> LayerSource | None:  # noqa: ARG002
        """The model itself."""
        return self._engine


def _live_engine(name: str) -> type[PaddleEngine | ExactEngine]:
    if name == EXACT:
        from ..reference.exact.engine import ExactEngine

        return ExactEngine
    from ..reference.paddle.engine import PaddleEngine

    return PaddleEngine


class OtherArtifact:
    """Another artifact, or another precision of the same one, run on the same inputs by the same engine."""

    name, remark = AGAINST, ""

    def __init__(self, artifact: Artifact, other: Artifact, precision: str) -> None:
        """Raises InputError if the outputs of the two are not comparable, or `other` lacks the precision."""
        for what, mine, theirs in (
            ("classes", artifact.num_classes, other.num_classes),
            ("pixels a side", artifact.image_size, other.image_size),
            ("features", artifact.architecture.num_features, other.architecture.num_features),
        ):
            if mine != theirs:
                raise InputError(
                    f"{artifact.folder} has {mine} {what}, {other.folder} has {theirs}: they cannot be compared; "
                    "give an artifact of the same model"
                )
        self.precision = precision
        self.covers: int | None = None
        self._artifact = other
        self._model_file = other.model_file(precision)
        announced = other.announced_model(precision)
        self.origin: Mapping[str, str] = {
            "path": str(self._model_file),
            "precision": precision,
            "sha256": announced.sha256 if announced is not None else "",
        }

    def outputs(self, engine: str, images: Array) -> Mapping[str, Array]:
        """The other artifact's outputs in this engine for each image alone. Raises EngineError if it cannot run.

        A server runs only its own file, so that the other artifact then runs here, in the best engine that works.
        """
        running = open_engine(AUTO if is_remote(engine) else engine, self._model_file, self.precision)
        try:
            return run_batches(running, images, 1)
        finally:
            running.close()

    def layers(self, engine: str) -> LayerSource | None:
        """The other artifact's layers in this engine."""
        return onnx_layers(self._artifact, engine, self.precision)
