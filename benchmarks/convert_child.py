"""A converted model, or the artifact that it was made from, as a contender of a timing (see convert.py).

    python -P benchmarks/convert_child.py FORMAT FOLDER PRECISION VECTORS.npz OUT.npy THREADS

FORMAT: one of `onnxzoo convert`, with FOLDER a folder that it wrote; or `onnxruntime` or `openvino`, with the artifact.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from onnxzoo.artifact.folder import INPUT_NAME
from onnxzoo.bench.children.serve import serve
from onnxzoo.conversion.target import Job
from onnxzoo.conversion.targets import TARGETS
from onnxzoo.results import Array


def loaded(name: str, folder: str, precision: str, side: int, threads: int) -> Callable[[Array], Array]:
    """The function from images to logits."""
    if name in TARGETS:
        run = TARGETS[name].open(Job("", str(Path(folder).resolve()), precision, side, threads))
        return lambda images: run(images)["logits"]
    from onnxzoo import load

    model = load(folder, engine=name, precision=precision, threads=threads, batch_size=1, verify=False)
    return model.logits


def main(name: str, folder: str, precision: str, vectors: str, out: str, threads: str) -> None:
    """Serve the first recorded input."""
    with np.load(vectors) as found:
        image = np.ascontiguousarray(found[INPUT_NAME][:1])

    def start() -> Callable[[], Array]:
        run = loaded(name, folder, precision, image.shape[-1], int(threads))
        return lambda: run(image)

    serve(start, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
