"""Conformance vectors as they stand in an artifact: inputs with the reference's outputs."""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..artifact import CONFORMANCE_FILE, INPUT_NAME, OUTPUT_NAMES, Artifact
from ..errors import ArtifactError


@dataclass(frozen=True, slots=True)
class Vectors:
    """`names`: of the inputs. `images`: float32 [K, 3, S, S]. `outputs`: float32 [K, ...] by output name."""

    names: tuple[str, ...]
    images: npt.NDArray[np.float32]
    outputs: dict[str, npt.NDArray[np.float32]]


def read_vectors(artifact: Artifact) -> Vectors:
    """The verified conformance vectors of an artifact.

    Raises ArtifactError when the file is missing, altered, malformed, or does not fit the model.
    """
    path = artifact.verified(CONFORMANCE_FILE)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = tuple(str(name) for name in arrays["names"])
            images = arrays[INPUT_NAME]
            outputs = {name: arrays[name] for name in OUTPUT_NAMES}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"{path} cannot be read: {error}") from None
    count, size = len(names), artifact.image_size
    shapes = {INPUT_NAME: (count, 3, size, size), "logits": (count, artifact.num_classes)}
    shapes["embedding"] = (count, artifact.architecture.num_features)
    for name, array in {INPUT_NAME: images, **outputs}.items():
        if array.shape != shapes[name] or array.dtype != np.float32 or not count:
            raise ArtifactError(f"{path}: {name!r} is {array.dtype} {array.shape}, expected float32 {shapes[name]}")
    return Vectors(names, images, outputs)
