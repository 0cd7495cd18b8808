"""optimum's ORTModelForImageClassification runs an artifact, with transformers' image processor.

    python optimum_logits.py ARTIFACT IMAGES.json OUT.npz

IMAGES: a list of paths. OUT: `logits`, float32 [N, classes], and `described`, JSON. It needs optimum-onnx, which needs
PyTorch, and not onnxzoo.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import PIL.Image
from optimum.onnxruntime import ORTModelForImageClassification
from transformers import AutoImageProcessor


def main(artifact: str, images: str, out: str) -> None:
    """Classify each image by itself."""
    model = ORTModelForImageClassification.from_pretrained(artifact, subfolder="onnx", file_name="model.onnx")
    processor = AutoImageProcessor.from_pretrained(artifact, use_fast=False)
    logits = []
    for path in json.loads(Path(images).read_text(encoding="utf-8")):
        with PIL.Image.open(path) as image:
            logits.append(model(**processor(image.convert("RGB"), return_tensors="pt")).logits[0].numpy())
    names = ("optimum-onnx", "transformers", "onnxruntime")
    described = {
        "versions": ", ".join(f"{name} {version(name)}" for name in names),
        "id2label": {str(number): name for number, name in model.config.id2label.items()},
    }
    np.savez(out, logits=np.stack(logits), described=json.dumps(described))


if __name__ == "__main__":
    main(*sys.argv[1:])
