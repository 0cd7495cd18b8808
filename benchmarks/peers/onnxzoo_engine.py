"""Runs an engine of onnxzoo in exact fp32 as a contender of gpu.py (see onnxzoo/bench/children).

    python onnxzoo_engine.py ENGINE ARTIFACT BATCH CACHE REPORT OUT.npy THREADS

The engine's compiled models are kept in the folder CACHE for the next start.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from onnxzoo.artifact.folder import CONFORMANCE_FILE, INPUT_NAME, read_artifact
from onnxzoo.bench.children.conformance import Outputs, start
from onnxzoo.bench.children.serve import serve
from onnxzoo.engines import create_engine
from onnxzoo.engines.compiled_models import MANIFEST
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import CachedEngine, Engine, ModelFile
from onnxzoo.errors import EngineError


def main(name: str, folder: str, batch: str, cache: str, report: str, out: str, threads: str) -> None:
    """Load the model and serve."""
    artifact = read_artifact(Path(folder))
    engines: list[Engine] = []

    def create() -> Callable[[np.ndarray], Outputs]:
        options = EngineOptions(threads=int(threads), batch_size=int(batch), cache=Path(cache))
        model = artifact.model_file()
        announced = artifact.announced_model("fp32")
        engine = create_engine(name, ModelFile(model, announced.sha256 if announced else ""), options)
        engines.append(engine)
        return lambda images: engine.run({INPUT_NAME: images})

    def describe() -> Mapping[str, Any]:
        engine = engines[0]
        return {"info": dataclasses.asdict(engine.info), "max_batch": engine.max_batch, "kept": kept(engine)}

    def load() -> Callable[[], Any]:
        return start(create, artifact.verified(CONFORMANCE_FILE), int(batch), Path(report), describe)

    serve(load, out)


def kept(engine: Engine) -> dict[str, Any] | None:
    """The engine's compiled model for this batch size: bytes and seconds of building; None if it keeps nothing."""
    if not isinstance(engine, CachedEngine):
        return None
    try:
        built = engine.warm()[0]
    except EngineError:
        return None
    manifest = json.loads((built.folder / MANIFEST).read_text(encoding="utf-8"))
    return {
        "build_s": manifest["seconds"],
        "bytes": sum(file["bytes"] for file in manifest["files"].values()),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
