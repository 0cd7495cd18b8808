"""Writes a seeded image and the textbook Paddle model's logits for it, which every contender must reproduce.

python reference_logits.py NAME SEED IMAGE.npy LOGITS.npy
"""

from __future__ import annotations

import sys

import numpy as np
import paddle

from onnxzoo.families import ModelSpec
from onnxzoo.reference.paddle.build import build_model, load_state, parameter_shapes
from onnxzoo.registry import find, labels
from onnxzoo.weights.seeded import seeded_images, seeded_state

IMAGE_SEED = 3


def main(name: str, seed: str, image_file: str, logits_file: str) -> None:
    """Write float32 [1, 3, S, S] and float32 [1, classes]."""
    entry = find(name)
    model = build_model(ModelSpec(entry.architecture, entry.image_size, len(labels(entry.labels))))
    load_state(model, seeded_state(parameter_shapes(model), int(seed)))
    image = seeded_images(entry.image_size, 1, IMAGE_SEED)
    with paddle.no_grad():
        logits = model(paddle.to_tensor(image)).numpy()
    np.save(image_file, image)
    np.save(logits_file, logits)


if __name__ == "__main__":
    main(*sys.argv[1:])
