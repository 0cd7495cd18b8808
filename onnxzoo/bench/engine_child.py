"""An engine of onnxzoo as a contender.

    python -P -m onnxzoo.bench.engine_child JOB.json OUT.npy THREADS

The job (see children/job.py) also has `engine` and `precision`, and

    artifact, trust          a model's folder, and which graphs are accepted in it; or
    graph, file_precision    any ONNX file with one input, whose first output counts, and the precision of its weights
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OnnxzooError
from ..signals import end_with_parent
from .children.conformance import Run, start
from .children.images import turns
from .children.job import read_job, serve_job
from .children.serve import serve

if TYPE_CHECKING:
    from ..engines.protocol import Engine
    from ..model import Model


def main(job_file: str, out: str, threads: str) -> None:
    """Load the model and serve."""
    end_with_parent()
    job = read_job(job_file)
    try:
        (_serve_model if "artifact" in job else _serve_graph)(job, out, int(threads))
    except OnnxzooError as error:
        problem = {"error": type(error).__name__, "message": str(error)}
        Path(job["report"]).with_suffix(".json").write_text(json.dumps(problem), encoding="utf-8")
        raise


def _serve_model(job: dict[str, Any], out: str, threads: int) -> None:
    """A model as its users run it: from the folder to logits, or from image files to classes."""
    loaded: list[Model] = []

    def create() -> Run:
        from ..loading import load  # its imports are a part of loading

        model = load(
            job["artifact"], engine=job["engine"], precision=job["precision"], batch_size=job["batch_size"],
            threads=threads, trust=job["trust"],
            verify=False,  # the errors are measured, and a load is to take what it takes when it is not the first one
        )  # fmt: skip
        loaded.append(model)
        return lambda images: {"logits": model.logits(images)}

    def describe() -> dict[str, Any]:
        return {"info": dataclasses.asdict(loaded[0].engine)}

    def ready() -> Callable[[], Any]:
        infer = start(create, Path(job["vectors"]), job["batch_size"], Path(job["report"]), describe)
        if not job["images"]:
            return infer
        batches = turns(job["images"], job["batch_size"])
        return lambda: [one.score for one in loaded[0].predict(next(batches))]

    serve(ready, out)


def _serve_graph(job: dict[str, Any], out: str, threads: int) -> None:
    opened: list[Engine] = []

    def create() -> Run:
        from ..engines import EngineOptions, create_engine
        from ..engines.protocol import ModelFile

        # Weights of int8 graphs that are measured here use 7 bits.
        file = ModelFile(Path(job["graph"]), precision=job["file_precision"], weights_bits=7)
        engine = create_engine(job["engine"], file, EngineOptions(job["precision"], threads, job["batch_size"]))
        opened.append(engine)
        given, first = next(iter(engine.inputs)), next(iter(engine.outputs))
        return lambda images: {"logits": engine.run({given: images})[first]}

    serve_job(job, out, create, lambda: {"info": dataclasses.asdict(opened[0].info)})


if __name__ == "__main__":
    main(*sys.argv[1:])
