"""Checks the image pipeline with golden images and tensors, so that any changed pixel is noticed.

A change of Pillow, of its libraries or of our code changes every model's outputs a little, equally on every engine, so
no comparison of engines can detect it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import numpy as np

from .. import image
from ..artifact.folder import CONFORMANCE_FILE, Artifact
from ..artifact.vectors import read_vectors
from ..errors import ImageError
from ..registry import Preprocess, models
from ..results import Array

TOLERANCE = 1e-5
"""The error of float32 arithmetic on 256 levels is at most 1e-6. One level is 0.017 in the normalised image."""

LEVELS = 255.0


@dataclass(frozen=True, slots=True)
class PreprocessCheck:
    """One image through the preprocessing; true if the result is correct.

    `case`: the special property of the image. `max_abs`: largest difference, in normalised units. `moved`: number of
    values, three per pixel, that differ. `problem`: "" if it passed.
    """

    case: str
    max_abs: float
    moved: int
    problem: str

    def __bool__(self) -> bool:
        return not self.problem


def check_preprocess() -> Iterator[PreprocessCheck]:
    """Compare every golden image, through `onnxzoo.image` alone and in a batch, with its golden tensor."""
    with resources.files(__package__).joinpath("golden/cases.npz").open("rb") as file, np.load(file) as cases:
        mean, std = (tuple(float(value) for value in cases[key]) for key in ("mean", "std"))
        recorded_with = str(cases["pillow"])
        for number, (name, text) in enumerate(zip(cases["names"], cases["specs"], strict=True)):
            resize, crop, interpolation = str(text).split()
            spec = Preprocess(int(resize), int(crop), interpolation, mean, std)  # type: ignore[arg-type]
            data = cases[f"image_{number}"].tobytes()
            yield _check(str(name), data, spec, cases["tensors"][number], f"recorded with Pillow {recorded_with}")


def check_description(artifact: Artifact) -> Iterator[PreprocessCheck]:
    """Check an artifact's own description of its preprocessing.

    Filter, mean and standard deviation, which do not depend on the image size, are compared with the registry's for the
    model of this name. The plain images of the conformance vectors, whose pixels are known, are compared with the
    tensors that the description gives for them.
    """
    entry = models().get(artifact.name)
    if entry is not None:
        differing = [
            f"{key} is {found}, expected {wanted}"
            for key in ("interpolation", "mean", "std")
            if (found := getattr(artifact.preprocess, key)) != (wanted := getattr(entry.preprocess, key))
        ]
        problem = "; ".join(differing)
        yield PreprocessCheck("config.json", 0.0, 0, problem and f"{problem} (the registry's {entry.name})")
    if CONFORMANCE_FILE in artifact.files:
        vectors = read_vectors(artifact)
        plain = {"black": 0, "saturated": 255}
        size = artifact.image_size
        for name, tensor in zip(vectors.names, vectors.images, strict=True):
            if name in plain:
                pixels = np.full((size, size, 3), plain[name], np.uint8)
                yield _check(f"{CONFORMANCE_FILE}: {name}", pixels, artifact.preprocess, tensor, "recorded at export")


def _check(case: str, source: image.ImageInput, spec: Preprocess, golden: Array, origin: str) -> PreprocessCheck:
    import PIL

    try:
        alone, batch = image.preprocess(source, spec), image.preprocess_batch([source, source], spec)
    except ImageError as error:
        return PreprocessCheck(case, float("nan"), golden.size, f"{error}; Pillow {PIL.__version__}")
    found = np.stack([alone, *batch])
    if found.shape[1:] != golden.shape or found.dtype != np.float32:
        problem = f"is {found.dtype} {found.shape[1:]}, expected float32 {golden.shape}"
        return PreprocessCheck(case, float("nan"), golden.size, problem)
    errors = np.abs(found.astype(np.float64) - golden)
    largest, moved = float(errors.max()), int((errors.max(axis=0) > TOLERANCE).sum())
    problem = ""
    if not largest <= TOLERANCE:
        # The change of a pixel in levels of 0..255, in the channel of the worst value.
        worst = int(np.unravel_index(int(errors.argmax()), errors.shape)[1])
        levels = largest * spec.std[worst] * LEVELS
        problem = (
            f"{moved} of {golden.size} values moved, by up to {largest:.3g} ({levels:.1f} of 255); "
            f"Pillow {PIL.__version__}, {origin}"
        )
    return PreprocessCheck(case, largest, moved, problem)
