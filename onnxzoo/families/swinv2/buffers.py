"""Infer the window and image size from the shapes of the buffers in a file of weights; their values are never used."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

from ...errors import CheckpointError
from ..family import Architecture, Shape
from .architecture import SwinV2Architecture


def fitted(architecture: Architecture, image_size: int, buffers: Mapping[str, Shape]) -> tuple[Architecture, int]:
    """The architecture and image size implied by the shapes of a file's buffers; the given ones if undetermined.

    Stage i has a map of `image / (patch * 2**i)` tokens a side and windows of `min(window, map)`. The windows follow
    from `relative_coords_table` [1, 2w-1, 2w-1, 2], the maps from `attn_mask` [windows, w*w, w*w] of shifted blocks
    and from windows that are smaller than those of the first stage, which are as large as their map.

    Raises CheckpointError if the buffers contradict each other or the model.
    """
    if not isinstance(architecture, SwinV2Architecture):
        raise TypeError(f"expected a Swin Transformer V2, got {type(architecture).__name__}")
    windows, maps = _observed(buffers, len(architecture.depths))
    if _explains(architecture.window_size, image_size, architecture, windows, maps):
        return architecture, image_size
    window = windows.get(0)
    if window is None or window < 2:
        raise CheckpointError("the buffers of the weights contradict the model; the first stage has none")
    for stage, smaller in windows.items():
        if smaller < window:
            maps.setdefault(stage, smaller)
    sizes = {architecture.patch_size * 2**stage * side for stage, side in maps.items()} or {image_size}
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


def _observed(buffers: Mapping[str, Shape], stages: int) -> tuple[dict[int, int], dict[int, int]]:
    """Window and map of each stage, in tokens a side, from the shapes of buffers."""
    windows: dict[int, int] = {}
    maps: dict[int, int] = {}
    for name, shape in buffers.items():
        parts = name.split(".")
        kind = parts[-1]
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


def _note(seen: dict[int, int], stage: int, value: int, sound: bool, name: str, shape: Shape) -> None:
    if not sound or value < 1 or seen.setdefault(stage, value) != value:
        raise CheckpointError(
            f"its buffers contradict each other: {name} has the shape {shape}; expected one window a stage"
        )
