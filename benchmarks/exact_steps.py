"""The parts of exact.py that run a model, each in its own process; all write the outputs for the same images.

python exact_steps.py exact NAME OUT.npz                  the exact reference, float64
python exact_steps.py paddle NAME OUT.npz                 the textbook Paddle model
python exact_steps.py images NAME IMAGES.npy              the images, for other scripts
python exact_steps.py ENGINE NAME OUT.npz ARTIFACT        an exported artifact in an engine

Prints facts as JSON on the last line.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from seeded_artifact import SEED

from onnxzoo.artifact.folder import INPUT_NAME, read_artifact
from onnxzoo.families import ModelSpec
from onnxzoo.reference.exact.engine import ExactEngine, exact_model
from onnxzoo.reference.paddle.build import build_model, parameter_shapes
from onnxzoo.reference.paddle.engine import PaddleEngine
from onnxzoo.registry import find, labels
from onnxzoo.weights.seeded import seeded_images, seeded_state

# Noise and plain colours alternate.
IMAGES, IMAGE_SEED = 2, 20
# At least two timed runs, and up to MOST_RUNS within this time.
MOST_RUNS, SECONDS = 8, 20


def exact(spec: ModelSpec, images: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Outputs in float64; seconds for one image, the state's bytes, and the peak of additional memory."""
    engine = ExactEngine.open(spec, seeded_state(exact_model(spec).shapes, SEED))
    before = resident_mib("VmRSS")
    reset_peak()
    seconds: list[float] = []
    while len(seconds) < 2 or (len(seconds) < MOST_RUNS and sum(seconds) < SECONDS):
        start = time.perf_counter()
        engine.run({INPUT_NAME: images[:1]})
        seconds.append(time.perf_counter() - start)
    outputs = engine.run_float64({INPUT_NAME: images})
    return outputs, {"seconds": seconds, "extra_mib": resident_mib("VmHWM") - before}


def paddle(spec: ModelSpec, images: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Outputs of the Paddle reference, image by image."""
    state = seeded_state(parameter_shapes(build_model(spec)), SEED)
    return PaddleEngine.open(spec, state).run_each(images), {}


def artifact(engine: str, folder: Path, images: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Outputs of the artifact's ONNX file in an engine, image by image."""
    from onnxzoo.validators.running import open_engine

    from onnxzoo.engines.running import run_batches

    return run_batches(open_engine(engine, read_artifact(folder).model_file()), images, 1), {}


def resident_mib(field: str) -> float:
    """VmRSS, the resident memory, or VmHWM, its peak since the last `reset_peak`; Linux."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


def reset_peak() -> None:
    """Reset VmHWM to the present memory."""
    Path("/proc/self/clear_refs").write_text("5")


def main(kind: str, name: str, out: str, *more: str) -> None:
    """Run, write, print."""
    entry = find(name)
    spec = ModelSpec(entry.architecture, entry.image_size, len(labels(entry.labels)))
    images = seeded_images(entry.image_size, IMAGES, IMAGE_SEED)
    if kind == "images":
        np.save(out, images)
        return
    if kind in ("exact", "paddle"):
        outputs, facts = (exact if kind == "exact" else paddle)(spec, images)
    else:
        outputs, facts = artifact(kind, Path(more[0]), images)
    np.savez(out, **outputs)
    print(json.dumps(facts))


if __name__ == "__main__":
    main(*sys.argv[1:])
