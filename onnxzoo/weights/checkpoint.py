"""Read a checkpoint file of any supported kind into Paddle's names, layout and float32."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import files
from ..artifact.folder import Artifact
from ..errors import CheckpointError
from ..families import Architecture, ModelSpec, at_image_size, family_named
from ..families.family import Naming
from ..registry import ModelEntry
from . import naming
from .pdparams import read_pdparams
from .safetensors_file import read_safetensors, widened
from .state import finite_float32

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of one file.

    `state` holds parameters only, under Paddle's names, linear weights as [in, out]. `prefix` is a common prefix of all
    names in the file, such as `module.`; it is removed, and the log says so. `architecture` and `image_size` (pixels)
    are the registry entry's unless the file implies another window or image size; `num_classes` is the length of the
    head. `bytes` and `sha256` are the file's.
    """

    path: Path
    sha256: str
    bytes: int
    naming: Naming
    prefix: str
    state: Mapping[str, npt.NDArray[np.float32]]
    architecture: Architecture
    image_size: int
    num_classes: int

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Add the file's name to a CheckpointError raised in the block, by a model that loads the weights."""
        with _of_file(self.path):
            yield


def read_checkpoint(path: Path, entry: ModelEntry) -> Checkpoint:
    """Read the `.pdparams` or `.safetensors` file at `path` as weights for the model `entry`.

    Whether every parameter is present with the right shape is not checked here but when a model loads the state.

    Raises CheckpointError when the file is unreadable, unsafe, of another family or without a head.
    """
    path = Path(path)
    raw = read_safetensors(path, integers=naming.BUFFERS) if _is_safetensors(path) else _read_pdparams(path)
    raw, prefix = naming.without_prefix(raw)
    if prefix:
        logger.info("%s: all names begin with %r, which is left out", path, prefix)
    with _of_file(path):
        state, named = naming.to_paddle(raw, entry.family, entry.architecture)
        buffers = naming.buffers(raw, entry.family, entry.architecture)
        architecture, image_size = family_named(entry.family).fitted(
            entry.architecture, entry.image_size, {name: array.shape for name, array in buffers.items()}
        )
        parameters = {name: finite_float32(name, array) for name, array in state.items()}
        num_classes = _num_classes(parameters)
    return Checkpoint(
        path=path,
        sha256=files.sha256_of(path),
        bytes=path.stat().st_size,
        naming=named,
        prefix=prefix,
        state=parameters,
        architecture=architecture,
        image_size=image_size,
        num_classes=num_classes,
    )


@contextlib.contextmanager
def _of_file(path: Path) -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None


def _is_safetensors(path: Path) -> bool:
    """Decide by content if possible: safetensors begins with a length of 8 bytes and `{`, a pickle with 0x80."""
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{path} cannot be read: it is not a regular file; give a checkpoint file")
        with path.open("rb") as file:
            head = file.read(9)
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}; give a checkpoint file") from error
    if len(head) == 9 and head[8:] == b"{" and int.from_bytes(head[:8], "little") <= size - 8:
        return True
    return path.suffix.lower() == ".safetensors" and bool(head) and not head.startswith((b"\x80", b"PK\x03\x04", b"<"))


def _read_pdparams(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read a .pdparams file, in which Paddle stores the bits of bfloat16 tensors as uint16."""
    return {name: widened(array) if array.dtype == np.uint16 else array for name, array in read_pdparams(path).items()}


def _num_classes(parameters: Mapping[str, npt.NDArray[np.float32]]) -> int:
    weight, bias = parameters.get("head.weight"), parameters.get("head.bias")
    if weight is None or bias is None:
        raise CheckpointError("the weights have no classification head (head.weight, head.bias); give a classifier's")
    if weight.ndim != 2 or bias.ndim != 1 or weight.shape[1] != bias.shape[0] or not bias.size:
        raise CheckpointError(
            f"head.weight {weight.shape} and head.bias {bias.shape} do not match; "
            "expected (features, classes) and (classes,)"
        )
    return int(bias.shape[0])


def spec_of(artifact: Artifact, checkpoint: Checkpoint) -> ModelSpec:
    """The spec of an artifact's reference model, after checking that the checkpoint is of that model.

    The artifact may be for another image size (see `at_image_size`). Raises CheckpointError if they differ.
    """
    spec = ModelSpec(artifact.architecture, artifact.image_size, artifact.num_classes)
    found = ModelSpec(checkpoint.architecture, checkpoint.image_size, checkpoint.num_classes)
    found = at_image_size(found, spec.image_size)
    if found != spec:
        got, expected = _described(found), _described(spec)
        differ = [name for name in {**got, **expected} if got.get(name) != expected.get(name)]
        texts = [", ".join(f"{name}={values.get(name)}" for name in differ) for values in (got, expected)]
        raise CheckpointError(
            f"{checkpoint.path} holds another model than {artifact.folder}: {texts[0]}, expected {texts[1]}"
        )
    return spec


def _described(spec: ModelSpec) -> dict[str, object]:
    return {**spec.architecture.to_dict(), "image_size": spec.image_size, "num_classes": spec.num_classes}
