"""Conformance vectors as they stand in an artifact: inputs with the reference's outputs."""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..artifact import CONFORMANCE_FILE, INPUT_NAME, OUTPUT_NAMES, Artifact
from ..errors import ArtifactError
from ..results import Array

NAMES = "names"
MAX_INPUTS = 64
MAX_NAME_CHARS = 256
MAX_HEADER_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Vectors:
    """`names`: of the inputs. `images`: float32 [K, 3, S, S]. `outputs`: float32 [K, ...] by output name."""

    names: tuple[str, ...]
    images: Array
    outputs: dict[str, Array]


def read_vectors(artifact: Artifact) -> Vectors:
    """The verified conformance vectors of an artifact.

    The file is untrusted: what its headers declare is compared with what config.json implies before
    anything is decompressed. Raises ArtifactError when the file is missing, altered, malformed, does not fit the
    model, or holds more than MAX_INPUTS inputs.
    """
    path = artifact.verified(CONFORMANCE_FILE)
    size = artifact.image_size
    rows = {
        INPUT_NAME: (3, size, size),
        "logits": (artifact.num_classes,),
        "embedding": (artifact.architecture.num_features,),
    }
    try:
        with zipfile.ZipFile(path) as archive:
            names = _read(archive, NAMES)
            if names.ndim != 1 or not 0 < len(names) <= MAX_INPUTS:
                raise ArtifactError(f"{path}: 'names' has the shape {names.shape}, expected 1 to {MAX_INPUTS} names")
            arrays = {name: _read(archive, name, (len(names), *rows[name])) for name in (INPUT_NAME, *OUTPUT_NAMES)}
    except ArtifactError as error:
        raise ArtifactError(f"{path}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # KeyError quotes its message; RuntimeError: an encrypted member.
        reason = error.args[0] if isinstance(error, KeyError) else error
        raise ArtifactError(f"{path} cannot be read: {reason}") from None
    images = arrays.pop(INPUT_NAME)
    return Vectors(tuple(str(name) for name in names), images, arrays)


def _read(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...] | None = None) -> npt.NDArray[Any]:
    """One array of an npz file: float32 of this shape, or, without a shape, short strings."""
    member = archive.getinfo(f"{name}.npy")
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        found, _, dtype = read_header[version](file, max_header_size=MAX_HEADER_BYTES)
    if shape is None:
        if dtype.kind != "U" or dtype.itemsize > 4 * MAX_NAME_CHARS or math.prod(found) > MAX_INPUTS:
            raise ArtifactError(f"cannot be read: {name!r} is {dtype} {found}, expected at most {MAX_INPUTS} names")
    elif found != shape or dtype != np.float32:
        raise ArtifactError(f"{name!r} is {dtype} {found}, expected float32 {shape}")
    declared, needed = member.file_size, math.prod(found) * dtype.itemsize
    if not needed < declared <= needed + MAX_HEADER_BYTES:
        raise ArtifactError(f"{name!r} takes {declared} bytes, expected {needed} and a header")
    with archive.open(member) as file:  # reads no more than it declares
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False, max_header_size=MAX_HEADER_BYTES))
