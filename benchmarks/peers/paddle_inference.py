"""Classifies one image as PaddleClas does, by Paddle Inference on the exported static program.

    python paddle_inference.py SPEC.json PROGRAM.json PROGRAM.pdiparams IMAGE

prints the five best class ids as JSON on its last line. The number of threads is given in the spec.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from onnxzoo.bench.children.paddle_predictor import create_predictor, infer
from onnxzoo.bench.children.pillow_preprocess import preprocess


def main(spec_file: str, program: str, parameters: str, image: str) -> None:
    """Load, run once, print."""
    spec = json.loads(Path(spec_file).read_text(encoding="utf-8"))
    predictor = create_predictor(spec["family"], program, parameters, spec["threads"])
    logits = infer(predictor, preprocess(image, spec["preprocess"]))
    print(json.dumps(np.argsort(-logits[0])[:5].tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
