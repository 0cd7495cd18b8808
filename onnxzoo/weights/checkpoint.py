"""Read a checkpoint file of any supported kind into Paddle's names, layout and float32."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .. import files
from ..artifact.folder import Artifact
from ..errors import CheckpointError
from ..families import Architecture, ModelSpec, at_image_size
from ..families.swinv2.architecture import SwinV2Architecture
from ..registry import ModelEntry
from . import naming
from .naming import Naming
from .pdparams import read_pdparams
from .safetensors_file import read_safetensors, widened

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of one file.

    `state` holds parameters only, under Paddle's names, linear weights as [in, out]. `prefix` is what all names of the
    file began with besides, such as `module.`; it is left out, and a line of the log says so. `architecture` and
    `image_size` (pixels) are the registry entry's unless the file shows another window or image size; `num_classes` is
    the length of the head. `bytes` and `sha256` are the file's.
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


def read_checkpoint(path: Path, entry: ModelEntry) -> Checkpoint:
    """Read the `.pdparams` or `.safetensors` file at `path` as weights for the model `entry`.

    Whether every parameter is there in its right shape is not checked here but where a model loads the state.

    Raises CheckpointError when the file is unreadable, unsafe, of another family or without a head.
    """
    path = Path(path)
    raw = read_safetensors(path, integers=naming.BUFFERS) if _is_safetensors(path) else _read_pdparams(path)
    raw, prefix = naming.without_prefix(raw)
    if prefix:
        logger.info("%s: all names begin with %r, which is left out", path, prefix)
    try:
        state, named = naming.to_paddle(raw, entry.family, entry.architecture)
        architecture, image_size = _fitted(entry, naming.buffers(raw, entry.family, entry.architecture))
        parameters = {name: _float32(name, array) for name, array in state.items()}
        num_classes = _num_classes(parameters)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
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


def _is_safetensors(path: Path) -> bool:
    """By content where it is plain: safetensors begins with a length of 8 bytes and `{`, a pickle with 0x80."""
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
    """Paddle hands numpy the bits of bfloat16 tensors as uint16, so that is what its files hold."""
    return {name: widened(array) if array.dtype == np.uint16 else array for name, array in read_pdparams(path).items()}


def _float32(name: str, array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    if array.dtype.kind != "f":
        raise CheckpointError(f"{name[:80]!a} is of type {array.dtype}, expected floating-point numbers")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, np.float32).reshape(array.shape)
    if not np.isfinite(result).all():
        raise CheckpointError(f"{name[:80]!a} holds NaN or infinite numbers; the training that wrote it has diverged")
    return result


def _num_classes(parameters: Mapping[str, npt.NDArray[np.float32]]) -> int:
    weight, bias = parameters.get("head.weight"), parameters.get("head.bias")
    if weight is None or bias is None:
        raise CheckpointError("the weights have no classification head (head.weight, head.bias); give a classifier's")
    if weight.ndim != 2 or bias.ndim != 1 or weight.shape[1] != bias.shape[0] or not bias.size:
        raise CheckpointError(
            f"head.weight {weight.shape} and head.bias {bias.shape} do not fit each other; "
            "expected (features, classes) and (classes,)"
        )
    return int(bias.shape[0])


def spec_of(artifact: Artifact, checkpoint: Checkpoint) -> ModelSpec:
    """What an artifact's reference model is, once the checkpoint is found to hold that model.

    The artifact may be for another image size (see `at_image_size`). Raises CheckpointError where they differ.
    """
    spec = ModelSpec(artifact.architecture, artifact.image_size, artifact.num_classes)
    found = ModelSpec(checkpoint.architecture, checkpoint.image_size, checkpoint.num_classes)
    if at_image_size(found, spec.image_size) != spec:
        raise CheckpointError(f"{checkpoint.path} holds another model than {artifact.folder}: {found}, expected {spec}")
    return spec


# What SwinV2's buffers tell about the window and the image size


def _fitted(entry: ModelEntry, buffers: Mapping[str, npt.NDArray[Any]]) -> tuple[Architecture, int]:
    """The architecture and image size that the shapes of the file's buffers show, the entry's where they are silent.

    Stage i has a map of `image / (patch * 2**i)` tokens a side and windows of `min(window, map)`. The file tells
    the windows by `relative_coords_table` [1, 2w-1, 2w-1, 2], the maps by `attn_mask` [windows, w*w, w*w] of
    shifted blocks and by windows that are smaller than the first stage's, which are as large as their map.
    """
    architecture = entry.architecture
    if not isinstance(architecture, SwinV2Architecture):
        return architecture, entry.image_size
    windows, maps = _observed(buffers, len(architecture.depths))
    if _explains(architecture.window_size, entry.image_size, architecture, windows, maps):
        return architecture, entry.image_size
    window = windows.get(0)
    if window is None or window < 2:
        raise CheckpointError("the buffers of the weights contradict the model, and the first stage has none")
    for stage, smaller in windows.items():
        if smaller < window:
            maps.setdefault(stage, smaller)
    sizes = {architecture.patch_size * 2**stage * side for stage, side in maps.items()} or {entry.image_size}
    image_size = max(sizes)
    if (
        len(sizes) > 1
        or image_size % architecture.size_multiple
        or not _explains(window, image_size, architecture, windows, maps)
    ):
        raise CheckpointError(
            f"its buffers contradict each other or the model: windows of {windows} tokens by stage, "
            f"which would need images of {' and '.join(map(str, sorted(sizes)))} pixels; expected those of one SwinV2"
        )
    return dataclasses.replace(architecture, window_size=window), image_size


def _explains(
    window: int, image_size: int, architecture: SwinV2Architecture, windows: Mapping[int, int], maps: Mapping[int, int]
) -> bool:
    """Whether a model of this window and image size has the observed windows and maps (tokens a side, by stage)."""
    sides = [image_size // (architecture.patch_size * 2**stage) for stage in range(len(architecture.depths))]
    return all(seen == min(window, sides[stage]) for stage, seen in windows.items()) and all(
        seen == sides[stage] for stage, seen in maps.items()
    )


def _observed(buffers: Mapping[str, npt.NDArray[Any]], stages: int) -> tuple[dict[int, int], dict[int, int]]:
    """Window and map of each stage, in tokens a side, from the shapes of buffers."""
    windows: dict[int, int] = {}
    maps: dict[int, int] = {}
    for name, array in buffers.items():
        parts = name.split(".")
        kind, shape = parts[-1], array.shape
        if parts[0] != "layers" or parts[1] not in map(str, range(stages)):
            continue
        stage = int(parts[1])
        if kind == "relative_coords_table":
            window = (shape[1] + 1) // 2 if len(shape) == 4 else 0
            _note(windows, stage, window, shape == (1, 2 * window - 1, 2 * window - 1, 2), name, shape)
        elif kind == "attn_mask":
            window = math.isqrt(shape[1]) if len(shape) == 3 else 0
            count = math.isqrt(shape[0]) if window else 0
            _note(windows, stage, window, shape == (count**2, window**2, window**2), name, shape)
            _note(maps, stage, count * window, True, name, shape)
    return windows, maps


def _note(seen: dict[int, int], stage: int, value: int, sound: bool, name: str, shape: tuple[int, ...]) -> None:
    if not sound or value < 1 or seen.setdefault(stage, value) != value:
        raise CheckpointError(
            f"its buffers contradict each other: {name} has the shape {shape}; expected one window a stage"
        )
