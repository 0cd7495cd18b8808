"""Classes of your own from a few images each, by scikit-learn on the features of a model that ships.

    python examples/scikit_learn.py [FOLDER] [--model NAME] [--per-class N]

FOLDER has a folder of images for each class. It prints the accuracy on the images that were not used, and a table of
what was taken for what. No training of the model itself, no framework: the model gives features, scikit-learn does the
rest. Needs scikit-learn.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, confusion_matrix
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import onnxzoo

SAMPLES = Path(__file__).parent.parent / "tests" / "data" / "fashion_mnist_sample"
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


class Embedding(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Images to the features of a model before its last layer, float32 [N, features].

    `model`: its name or folder. Images are all that `onnxzoo.Model.embed` takes: paths, arrays, Pillow's images. The
    model is opened on first use, and not when the pipeline is copied or pickled.
    """

    def __init__(self, model: str = "swinv2_nano_fashion") -> None:
        self.model = model

    def fit(self, images: Sequence[Any], labels: object = None) -> Self:  # noqa: ARG002 - scikit-learn's signature
        """Learn nothing: the model is trained."""
        return self

    def transform(self, images: Sequence[Any]) -> np.ndarray:
        """The features of the images."""
        if not hasattr(self, "_loaded"):
            self._loaded = onnxzoo.load(self.model)
        return np.asarray(self._loaded.embed(list(images)))

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.model}

    def __sklearn_is_fitted__(self) -> bool:
        return True


def classifier(model: str) -> Pipeline:
    """From images to classes."""
    return make_pipeline(Embedding(model), StandardScaler(), LogisticRegression(max_iter=1000))


def labelled(folder: Path) -> tuple[list[str], list[str]]:
    """The images of a folder with a folder for each class, and their classes."""
    images = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    if not images:
        raise SystemExit(f"{folder} has no folders with images; give one that has a folder for each class")
    return [str(path) for path in images], [path.parent.name for path in images]


def main(arguments: Sequence[str] | None = None) -> float:
    """Fit, measure, print; returns the accuracy."""
    parser = argparse.ArgumentParser(description="Classes of your own, by scikit-learn on a model's features.")
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLES, metavar="FOLDER")
    parser.add_argument("--model", default="swinv2_nano_fashion", metavar="NAME")
    parser.add_argument("--per-class", type=int, default=10, metavar="N", help="images of each class to learn from")
    options = parser.parse_args(arguments)
    images, classes = labelled(options.folder)
    names = sorted(set(classes))
    if options.per_class < 1 or options.per_class * len(names) > len(images) - len(names):
        parser.error(f"--per-class must be at least 1, and leave images of {len(images)} to measure with")
    learned, held, known, expected = train_test_split(
        images, classes, train_size=options.per_class * len(names), stratify=classes, random_state=0
    )
    found = classifier(options.model).fit(learned, known).predict(held)
    accuracy = float(accuracy_score(expected, found))
    print(
        f"{accuracy:.1%} of {len(held)} images, from {len(learned)} ({options.per_class} for each of {len(names)} "
        "classes)"
    )
    width = max(map(len, names))
    for name, row in zip(names, confusion_matrix(expected, found, labels=names), strict=True):
        print(f"{name:<{width}}", *(f"{count:>4}" for count in row))
    return accuracy


if __name__ == "__main__":
    main()
