"""The part of official.py that runs in the base environment.

    python official_child.py first|again|validate NAME IMAGES.npy OUTPUTS.npz PHOTO

Prints facts as JSON on the last line.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from pathlib import Path

import numpy as np

HEAVY = ("paddle", "paddle2onnx", "onnx", "onnxsim", "onnxruntime", "torch")


def first(given: argparse.Namespace) -> dict[str, object]:
    """Assemble the model and time every step, then load and predict as a user."""
    import onnxzoo
    from onnxzoo.official import official_artifact
    from onnxzoo.registry import find

    began: list[float] = []
    official_artifact(find(given.name), progress=lambda *_: began.append(time.perf_counter()))
    began.append(time.perf_counter())
    with onnxzoo.load(given.name) as model:
        best = model.predict(given.photo)
        batch = np.load(given.images)
        each = [model.logits(image[None]) for image in batch]
        embedding = model.embed(given.photo)
        engine = model.engine.name
    peak = peak_mb()
    np.savez(given.outputs, logits=np.concatenate(each), embedding=embeddings(engine, given.name, batch))
    return {
        "importable": [one for one in HEAVY if importlib.util.find_spec(one) is not None],
        "steps": np.diff(began).tolist(),
        "label": best.label,
        "features": len(embedding),
        "engine": engine,
        "peak_mb": peak,
    }


def embeddings(engine: str, name: str, batch: np.ndarray) -> np.ndarray:
    """The second output for preprocessed images, which `Model` supports only for photos."""
    from onnxzoo.validators.running import open_engine

    from onnxzoo.engines.running import run_batches
    from onnxzoo.source import resolve

    return run_batches(open_engine(engine, resolve(name).artifact.model_file()), batch, 1)["embedding"]


def again(given: argparse.Namespace) -> dict[str, object]:
    """Load the existing model."""
    import onnxzoo

    start = time.perf_counter()
    with onnxzoo.load(given.name) as model:
        seconds = time.perf_counter() - start
        model.predict(given.photo)
    return {"seconds": seconds, "peak_mb": peak_mb()}


def validate(given: argparse.Namespace) -> dict[str, object]:
    """Validate by the recorded vectors, and by the exact reference with the model's weights."""
    from onnxzoo.validators.validate import Validation

    from onnxzoo.hub.official import cached_weights
    from onnxzoo.source import resolve

    start = time.perf_counter()
    artifact = resolve(given.name).artifact
    validation = Validation(artifact, weights=cached_weights(artifact), samples=1)
    checks = list(validation.run())
    failed = sum(not check for check in checks)
    references = sorted({check.reference for check in checks})
    return {"seconds": time.perf_counter() - start, "failed": failed, "checks": len(checks), "references": references}


def peak_mb() -> float:
    """The largest memory of this process; Linux."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for argument in ("kind", "name", "images", "outputs", "photo"):
        parser.add_argument(argument)
    arguments = parser.parse_args()
    print(json.dumps({"first": first, "again": again, "validate": validate}[arguments.kind](arguments)))
