"""Runs Paddle Inference as a contender of a timing (see onnxzoo/bench/children/paddle_predictor.py).

python paddle_serve.py FAMILY PROGRAM.json PROGRAM.pdiparams IMAGE.npy OUT.npy THREADS
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from onnxzoo.bench.children.paddle_predictor import create_predictor, infer
from onnxzoo.bench.children.serve import serve


def main(family: str, program: str, parameters: str, image_file: str, out: str, threads: str) -> None:
    """Load and serve."""

    def load() -> Callable[[], Any]:
        predictor = create_predictor(family, program, parameters, int(threads))
        image = np.load(image_file)
        return lambda: infer(predictor, image)

    serve(load, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
