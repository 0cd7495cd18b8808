"""Runs candidates and measures the noise of their outputs on two sets of images, and their loss of accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ..artifact.folder import OUTPUT_NAMES, Artifact
from ..artifact.vectors import Vectors, read_vectors
from ..comparison.figures import snr_db
from ..engines import create_engine
from ..engines.running import run_batches
from ..results import Array, EngineInfo
from ..validators.running import open_engine
from .noise import Noise, power

ENGINE = "onnxruntime"
"""The engine of the search, which is installed with its quantiser. Other engines measure only the result."""
BATCH_SIZE = 8
LOGITS = OUTPUT_NAMES[0]


class Bench:
    """Compares candidates of one artifact with its fp32 file, on held-out images, and with the recorded outputs."""

    def __init__(self, artifact: Artifact, held_out: Array) -> None:
        """Run the fp32 file once. `held_out`: float32 [N, 3, S, S]. Raises ArtifactError, EngineError."""
        self.held_out = held_out
        self.vectors: Vectors = read_vectors(artifact)
        self._fp32_file = artifact.model_file("fp32")
        self._expected: dict[str, Mapping[str, Array]] = {}

    def noise(self, file: Path, precision: str) -> Noise:
        """The noise of a candidate in ENGINE: on the held-out images, then on the recorded inputs."""
        held_out, recorded, _, _ = self.ratios(file, precision, ENGINE)
        return power(held_out), power(recorded)

    def ratios(self, file: Path, precision: str, engine: str) -> tuple[float, float, Array, EngineInfo]:
        """Two signal-to-noise ratios in dB: of the logits of held-out images to the fp32 file's in the same engine, and
        of the noisier output for recorded inputs to the reference's. Also returns these logits and the engine's info.

        Raises EngineUnavailableError, InputError and EngineError as `open_engine` and the engine's `run` do.
        """
        running = open_engine(engine, file, precision, BATCH_SIZE)
        try:
            logits = run_batches(running, self.held_out, BATCH_SIZE)[LOGITS]
            outputs = run_batches(running, self.vectors.images, BATCH_SIZE)
            info = running.info
        finally:
            running.close()
        recorded = min(ratio(self.vectors.outputs[name], outputs[name]) for name in OUTPUT_NAMES)
        return ratio(self._fp32(engine)[LOGITS], logits), recorded, logits, info

    def expected(self) -> Array:
        """The logits of the fp32 file in ENGINE for the held-out images."""
        return self._fp32(ENGINE)[LOGITS]

    def _fp32(self, engine: str) -> Mapping[str, Array]:
        if engine not in self._expected:
            running = create_engine(engine, self._fp32_file)
            try:
                self._expected[engine] = run_batches(running, self.held_out, BATCH_SIZE)
            finally:
                running.close()
        return self._expected[engine]


def ratio(expected: Array, actual: Array) -> float:
    """The signal-to-noise ratio in dB (see `comparison.figures.snr_db`); minus infinity for non-finite outputs."""
    wanted, got = expected.astype(np.float64), actual.astype(np.float64)
    return snr_db(wanted, np.abs(got - wanted)) if np.isfinite(got).all() else float("-inf")
