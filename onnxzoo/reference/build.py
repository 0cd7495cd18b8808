"""Reference models from an architecture, and weights into them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..artifact import Artifact
from ..errors import CheckpointError, InputError
from ..registry import Architecture, SwinV2Architecture
from ._paddle import require_paddle
from .checkpoint import Checkpoint
from .state import checked_state


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What fixes a model's graph and parameter shapes.

    `image_size`: side of the square input in pixels. `num_classes`: length of the logits.
    """

    architecture: Architecture
    image_size: int
    num_classes: int

    def __post_init__(self) -> None:
        multiple = self.architecture.size_multiple
        if self.image_size <= 0 or self.image_size % multiple:
            raise InputError(
                f"image_size must be a positive multiple of {multiple} for this architecture, got {self.image_size}"
            )
        if self.num_classes < 1:
            raise InputError(f"num_classes must be at least 1, got {self.num_classes}")
        if isinstance(self.architecture, SwinV2Architecture):
            self._require_whole_windows(self.architecture)

    def _require_whole_windows(self, architecture: SwinV2Architecture) -> None:
        for stage in range(len(architecture.depths)):
            side = self.image_size // (architecture.patch_size * 2**stage)
            if side > architecture.window_size and side % architecture.window_size:
                raise InputError(
                    f"windows of {architecture.window_size} tokens do not divide the {side} x {side} tokens of stage "
                    f"{stage} at image size {self.image_size}; choose another image size or window"
                )


def at_image_size(spec: ModelSpec, image_size: int) -> ModelSpec:
    """The same model for images of another size, to run with the same weights.

    SwinV2's windows grow with the image, and their position bias is recomputed from its MLP: offsets are
    normalised by the window that the weights were trained with, so that the MLP extrapolates (section 3.3). PVTv2
    has nothing that depends on the size. Raises InputError for a size that the architecture cannot have.
    """
    architecture = spec.architecture
    if isinstance(architecture, SwinV2Architecture) and image_size != spec.image_size:
        wanted = architecture.window_size * image_size / spec.image_size
        window = int(wanted)
        if window != wanted or window < 2:
            raise InputError(
                f"image size {image_size} would need windows of {wanted:g} tokens; choose a positive multiple of "
                f"{architecture.size_multiple}"
            )
        sides = (spec.image_size // (architecture.patch_size * 2**stage) for stage in range(len(architecture.depths)))
        trained = tuple(
            before or min(architecture.window_size, side)
            for before, side in zip(architecture.pretrained_window_sizes, sides, strict=True)
        )
        architecture = dataclasses.replace(architecture, window_size=window, pretrained_window_sizes=trained)
    return ModelSpec(architecture, image_size, spec.num_classes)


def spec_of(artifact: Artifact, checkpoint: Checkpoint) -> ModelSpec:
    """What an artifact's reference model is, once the checkpoint is found to hold that model.

    The artifact may be for another image size (see `at_image_size`). Raises CheckpointError where they differ.
    """
    spec = ModelSpec(artifact.architecture, artifact.image_size, artifact.num_classes)
    found = ModelSpec(checkpoint.architecture, checkpoint.image_size, checkpoint.num_classes)
    if at_image_size(found, spec.image_size) != spec:
        raise CheckpointError(f"{checkpoint.path} holds another model than {artifact.folder}: {found}, expected {spec}")
    return spec


def build_model(spec: ModelSpec, **training_rates: float) -> Any:
    """The Paddle layer of `spec` with initial weights, in eval mode: call `.train()` to train it.

    `training_rates`: `drop_rate`, `attn_drop_rate`, `drop_path_rate`, which act in train mode only.
    The layer maps float32 [N, 3, S, S] to logits float32 [N, classes]; its `forward_features` gives the
    pooled features before the head.

    Raises MissingDependencyError without PaddlePaddle.
    """
    require_paddle()
    from .pvt_v2 import PyramidVisionTransformerV2
    from .swinv2 import SwinTransformerV2

    model = (
        SwinTransformerV2(spec.architecture, spec.image_size, spec.num_classes, **training_rates)
        if isinstance(spec.architecture, SwinV2Architecture)
        else PyramidVisionTransformerV2(spec.architecture, spec.image_size, spec.num_classes, **training_rates)
    )
    model.eval()
    return model


def load_state(model: Any, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Set every parameter of `model` from `state`, names and layouts as in PaddleClas (Linear weights [in, out]).

    Floats of other precisions are converted to float32. The model is changed only when everything fits.
    Raises CheckpointError naming what is missing, unexpected, wrongly shaped, not float or not finite.
    """
    values = checked_state(parameter_shapes(model), state)
    for name, parameter in model.named_parameters():
        parameter.set_value(values[name])


def parameter_count(model: Any) -> int:
    """Number of trainable scalars; buffers are not counted."""
    return sum(int(np.prod(parameter.shape)) for parameter in model.parameters())


def parameter_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """Shape of every parameter by its checkpoint name."""
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
