"""transformers' own classes read an artifact: the pixels of its image processor, and what its config says.

    python transformers_pixels.py ARTIFACT IMAGES.json OUT.npz

IMAGES: a list of paths. OUT: `pixels`, float32 [N, 3, S, S], and `described`, JSON. It needs transformers and Pillow,
but neither PyTorch nor onnxzoo.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import PIL.Image
import transformers
from transformers import AutoConfig, AutoImageProcessor


def main(artifact: str, images: str, out: str) -> None:
    """Preprocess each image by itself, as most programs do."""
    processor = AutoImageProcessor.from_pretrained(artifact)
    config = AutoConfig.from_pretrained(artifact)
    pixels = []
    for path in json.loads(Path(images).read_text(encoding="utf-8")):
        with PIL.Image.open(path) as image:
            pixels.append(processor(image, return_tensors="np")["pixel_values"][0])
    described = {
        "versions": f"transformers {transformers.__version__}",
        "processor": type(processor).__name__,
        "config": type(config).__name__,
        "id2label": {str(number): name for number, name in config.id2label.items()},
    }
    np.savez(out, pixels=np.stack(pixels), described=json.dumps(described))


if __name__ == "__main__":
    main(*sys.argv[1:])
