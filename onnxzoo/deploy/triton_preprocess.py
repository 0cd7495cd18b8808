"""Encoded images to tensors, in the python backend of Triton: the first step of the ensemble of `triton_images`.

It runs in Triton's container and imports only what preprocessing needs: numpy and Pillow, no engine.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ImageError, InputError
from ..image import preprocess_batch
from ..inference_protocol import IMAGES, PIXELS
from ..registry import preprocess_from_dict

PREPROCESS, MAX_IMAGES = "onnxzoo_preprocess", "onnxzoo_max_images"
"""Parameters in config.pbtxt: the preprocessing as JSON, and the largest batch of the model."""


class TritonPythonModel:
    """What Triton's python backend calls: `image_bytes` BYTES [N] -> `pixel_values` FP32 [N, 3, S, S]."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Read the parameters. `args`: from Triton; `model_config` is its configuration as JSON."""
        parameters = json.loads(args["model_config"])["parameters"]
        self._backend: Any = importlib.import_module("triton_python_backend_utils")
        self._preprocess = preprocess_from_dict(json.loads(parameters[PREPROCESS]["string_value"]))
        self._max_images = int(parameters[MAX_IMAGES]["string_value"])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for every request, in order; an image that cannot be read is an error of its request only."""
        return [self._response(request) for request in requests]

    def _response(self, request: Any) -> Any:
        images = list(self._backend.get_input_tensor_by_name(request, IMAGES).as_numpy().reshape(-1))
        try:
            if not 0 < len(images) <= self._max_images:
                raise InputError(f"expected 1 to {self._max_images} images in a request, got {len(images)}")
            pixels = preprocess_batch([bytes(image) for image in images], self._preprocess)
        except (ImageError, InputError) as error:
            fault = self._backend.TritonError(str(error), self._backend.TritonError.INVALID_ARG)
            return self._backend.InferenceResponse(output_tensors=[], error=fault)
        return self._backend.InferenceResponse(output_tensors=[self._backend.Tensor(PIXELS, pixels)])
