"""The conformance vectors of an artifact: inputs with the reference's outputs."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import ArtifactError
from ..results import Array
from . import npz
from .folder import CONFORMANCE_FILE, INPUT_NAME, OUTPUT_NAMES, Artifact

NAMES = "names"
MAX_INPUTS = 64
MAX_NAME_CHARS = 256
MAX_BYTES = 512 * 2**20
"""Maximum size of all vectors of a model: 64 images of 384 x 384 take 113 MB, 6 of 2048 x 2048 take 302 MB."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """`names`: of the inputs. `images`: float32 [K, 3, S, S]. `outputs`: float32 [K, ...] by output name."""

    names: tuple[str, ...]
    images: Array
    outputs: dict[str, Array]


def read_vectors(artifact: Artifact, path: Path | None = None) -> Vectors:
    """The verified conformance vectors of an artifact. `path`: their file, if it has been verified already.

    The file is untrusted: the sizes in its headers are compared with those that config.json implies before
    anything is decompressed. Raises ArtifactError if the file is missing, altered, malformed, does not fit the
    model, has more than MAX_INPUTS inputs, or has values that are not finite.
    """
    path = artifact.verified(CONFORMANCE_FILE) if path is None else path
    size = artifact.image_size
    rows = {
        INPUT_NAME: (3, size, size),
        "logits": (artifact.num_classes,),
        "embedding": (artifact.architecture.num_features,),
    }
    try:
        with npz.opened(path, most_bytes=MAX_BYTES) as archive:
            names = _names(archive)
            arrays = {name: _floats(archive, name, (len(names), *rows[name])) for name in (INPUT_NAME, *OUTPUT_NAMES)}
    except ValueError as error:
        raise ArtifactError(f"{path} cannot be read: {error}; export or download the model again") from None
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ArtifactError(
                f"{path}: the recorded {name!r} hold NaN or infinity: the file is damaged, or was recorded from a "
                "reference that was not finite; export or download the model again"
            )
    images = arrays.pop(INPUT_NAME)
    return Vectors(names, images, arrays)


def _names(archive: zipfile.ZipFile) -> tuple[str, ...]:
    member = npz.described(archive, NAMES)
    shape, dtype = member.shape, member.dtype
    if dtype.kind != "U" or dtype.itemsize > 4 * MAX_NAME_CHARS or len(shape) != 1 or not 0 < shape[0] <= MAX_INPUTS:
        raise ValueError(f"{NAMES!r} is {dtype} {shape}, expected 1 to {MAX_INPUTS} names")
    return npz.texts(npz.read(archive, member))


def _floats(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> Array:
    member = npz.described(archive, name)
    if member.shape != shape or member.dtype.kind != "f":
        raise ValueError(f"{name!r} is {member.dtype} {member.shape}, expected float32 {shape}")
    return npz.read(archive, member)
