"""An engine of onnxzoo as a contender (see children/serve.py).

    python -P -m onnxzoo.bench.engine_child JOB.json OUT.npy THREADS

The job, one JSON object:

    artifact       a model's folder; or graph: any ONNX file with one input, whose first output counts
    engine, precision, batch_size, trust
    file_precision   of the graph
    vectors        .npz with the inputs that are run once, under INPUT_NAME; the first batch of them is what is timed
    report         where what came out goes, see children/conformance.py
    images         paths, for timing from image files to classes; and preprocess, as in config.json
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import OnnxzooError
from ..signals import end_with_parent
from .children.conformance import Outputs, start
from .children.images import from_images, turns
from .children.serve import serve


def main(job_file: str, out: str, threads: str) -> None:
    """Load the model and serve."""
    end_with_parent()
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    report = Path(job["report"])
    load = _model if "artifact" in job else _graph
    try:
        serve(lambda: load(job, int(threads)), out)
    except OnnxzooError as error:
        problem = {"error": type(error).__name__, "message": str(error)}
        report.with_suffix(".json").write_text(json.dumps(problem), encoding="utf-8")
        raise


def _model(job: dict[str, Any], threads: int) -> Callable[[], Any]:
    loaded: list[Any] = []

    def create() -> Callable[[np.ndarray[Any, Any]], Outputs]:
        from ..loading import load  # its imports are a part of loading

        model = load(
            job["artifact"], engine=job["engine"], precision=job["precision"], batch_size=job["batch_size"],
            threads=threads, trust=job["trust"],
        )  # fmt: skip
        loaded.append(model)
        return lambda images: {"logits": model.logits(images)}

    def describe() -> dict[str, Any]:
        return {"info": dataclasses.asdict(loaded[0].engine)}

    infer = start(create, Path(job["vectors"]), job["batch_size"], Path(job["report"]), describe)
    if not job["images"]:
        return infer
    batches = turns(job["images"], job["batch_size"])
    return lambda: [one.score for one in loaded[0].predict(next(batches))]


def _graph(job: dict[str, Any], threads: int) -> Callable[[], Any]:
    opened: list[Any] = []

    def create() -> Callable[[np.ndarray[Any, Any]], Outputs]:
        from ..engines import EngineOptions, create_engine
        from ..engines.protocol import ModelFile

        # Weights of int8 graphs that are measured here use 7 bits.
        file = ModelFile(Path(job["graph"]), precision=job["file_precision"], weights_bits=7)
        options = EngineOptions(job["precision"], threads, job["batch_size"])
        engine = create_engine(job["engine"], file, options)
        opened.append(engine)
        given, first = next(iter(engine.inputs)), next(iter(engine.outputs))
        return lambda images: {"logits": engine.run({given: images})[first]}

    def describe() -> dict[str, Any]:
        return {"info": dataclasses.asdict(opened[0].info)}

    infer = start(create, Path(job["vectors"]), job["batch_size"], Path(job["report"]), describe)
    if not job["images"]:
        return infer

    def run(images: np.ndarray[Any, Any]) -> Any:
        return next(iter(opened[0].run({next(iter(opened[0].inputs)): images}).values()))

    return from_images(run, job)


if __name__ == "__main__":
    main(*sys.argv[1:])
