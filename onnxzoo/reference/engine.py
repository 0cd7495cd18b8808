"""The reference as an engine: the untouched Paddle model behind the interface of every other engine."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import EngineError, InputError
from ..results import Array, EngineInfo, TensorSpec
from ._paddle import require_paddle
from .build import ModelSpec, build_model, load_state


class PaddleEngine:
    """Runs a reference model in fp32; needs PaddlePaddle and the checkpoint's weights (see `load_state`).

    Safe to use from many threads: runs follow one another.
    """

    def __init__(self, spec: ModelSpec, state: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Raises MissingDependencyError without PaddlePaddle, CheckpointError where the weights do not fit."""
        require_paddle()
        import paddle

        self._lock = threading.Lock()
        self._side = spec.image_size
        self._model: Any = build_model(spec)
        load_state(self._model, state)
        self._info = EngineInfo("paddle", "CPU", "fp32", paddle.__version__, "the reference model")

    @property
    def info(self) -> EngineInfo:
        """What runs the model, and how."""
        return self._info

    @property
    def inputs(self) -> Mapping[str, TensorSpec]:
        """The one input: `image`, float32 [N, 3, S, S], RGB, normalised."""
        return {"image": TensorSpec((None, 3, self._side, self._side), "float32")}

    @property
    def max_batch(self) -> int | None:
        """Any batch fits."""
        return None

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """`{"image": float32 [N, 3, S, S]}` -> `logits` float32 [N, classes], `embedding` float32 [N, features].

        Raises InputError for other inputs, EngineError when Paddle fails or the engine is closed.
        """
        import paddle

        image = self._checked(feeds)
        with self._lock, paddle.no_grad():
            if self._model is None:
                raise EngineError("the paddle engine was closed; load the model again")
            try:
                features = self._model.forward_features(paddle.to_tensor(image))
                logits = self._model.head(features)
                return {"logits": logits.numpy(), "embedding": features.numpy()}
            except (RuntimeError, ValueError, MemoryError, OSError) as error:
                raise EngineError(f"paddle failed to run the model: {error}") from error

    def run_each(self, images: Array) -> dict[str, Array]:
        """The outputs of images [K, 3, S, S], every image run alone: what no batch can have touched.

        Raises as `run` does.
        """
        results = [self.run({"image": image[None]}) for image in images]
        return {name: np.concatenate([result[name] for result in results]) for name in results[0]}

    def close(self) -> None:
        """Free the model; calling it twice is allowed."""
        with self._lock:
            self._model = None

    def _checked(self, feeds: Mapping[str, Array]) -> Array:
        if set(feeds) != {"image"}:
            raise InputError(f"the inputs must be named ['image'], got {sorted(feeds)}")
        image = feeds["image"]
        if image.dtype != np.float32 or image.ndim != 4 or image.shape[1:] != (3, self._side, self._side):
            raise InputError(
                f"image must be float32 [N, 3, {self._side}, {self._side}], got {image.dtype} {list(image.shape)}"
            )
        return image
