"""Make tests/data/fashion_mnist_sample: 50 test images of every Fashion-MNIST class, as PNG files.

    apt-get install dataset-fashion-mnist
    python tests/data/make_fashion_sample.py [/usr/share/datasets/fashion-mnist]

Every 20th image of a class is taken. Nothing is drawn at random, so another run gives the same pixels, and the sample
is as hard as the whole (the first 50 of every class are easier, by 4 percentage points for both our models).
Class folders have '_' where the class name has a space or a slash, which a folder's name cannot have; a file's name is
the image's index in the test set of 10,000.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from onnxzoo.data.layouts import open_dataset

# https://github.com/zalandoresearch/fashion-mnist#labels, by class id.
CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
IMAGES_PER_CLASS = 50
SOURCE = Path("/usr/share/datasets/fashion-mnist")
TARGET = Path(__file__).resolve().parent / "fashion_mnist_sample"


def main() -> None:
    """Write the sample beside this file."""
    test = open_dataset(Path(sys.argv[1]) if len(sys.argv) > 1 else SOURCE, "val")
    for class_id, name in enumerate(CLASSES):
        folder = TARGET / name.replace(" ", "_").replace("/", "_")
        folder.mkdir(parents=True, exist_ok=True)
        members = np.flatnonzero(test.labels == class_id)
        for index in members[:: len(members) // IMAGES_PER_CLASS]:
            pixels = test.image(int(index))
            # Grey, as the images are: the three channels are equal.
            Image.fromarray(pixels[:, :, 0]).save(folder / f"{index:04}.png", optimize=True)


if __name__ == "__main__":
    main()
