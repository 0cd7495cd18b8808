"""What quantisations are tried on: the colour classifier, which is quick, and images to calibrate with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from artifacts import announce
from tiny import SIZE, tiny_outputs, write_artifact

from onnxzoo.artifact.folder import INPUT_NAME, Artifact
from onnxzoo.data.layouts import open_dataset
from onnxzoo.quantization.images import Images, own_images

FASHION = Path(__file__).parent / "data" / "fashion_mnist_sample"


def write_colours(folder: Path) -> Path:
    """Write the artifact of the colour classifier, with recorded outputs, into `folder`."""
    write_artifact(folder)
    random = np.random.RandomState(3)
    images = random.uniform(-2, 2.4, (4, 3, 1, 1)) + random.uniform(-0.1, 0.1, (4, 3, SIZE, SIZE))
    images = images.astype(np.float32)
    arrays = {INPUT_NAME: images, "names": np.array(["a", "b", "c", "d"]), **tiny_outputs(images)}
    np.savez_compressed(folder / "conformance.npz", **arrays)
    announce(folder, "conformance.npz")
    return folder


def plain_images(artifact: Artifact) -> Images:
    """Pictures of one colour each, 24 for the ranges and 12 held out."""
    colours = np.random.RandomState(4).randint(0, 256, (36, 1, 1, 3)).astype(np.uint8)
    return own_images(list(np.broadcast_to(colours, (36, 40, 40, 3))), artifact.preprocess, 24)


def fashion_images(artifact: Artifact) -> Images:
    """Some of the sample, 24 for the ranges and 12 held out."""
    sample = open_dataset(FASHION, "val")
    return own_images([sample.image(index) for index in range(0, len(sample), 7)], artifact.preprocess, 24)
