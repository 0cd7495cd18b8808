"""A model as the SDK serves it, and the SDK's data plane over all models of a server."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from ..inference_protocol import JSON_LENGTH_HEADER, VERSION, pixels_of, served_inputs, served_outputs
from ..model import Model
from ..text import beginning
from . import trace
from .answers import response
from .cost import require_few_values
from .limits import Limits
from .pipeline import Pipeline, Pools
from .refusals import Kind, RequestError, invalid
from .rest_request import RestInferRequest
from .sdk import DataPlane, InferRequest, InferResponse, ModelRepository
from .sdk import Model as SdkModel
from .wanted import wanted

PLATFORM = SERVER = "onnxzoo"


class ServedModel(SdkModel):
    """One model of a server. It is ready once it is warm."""

    def __init__(self, name: str, model: Model, pipeline: Pipeline, pools: Pools, limits: Limits) -> None:
        super().__init__(name)
        self._model, self._pipeline, self._pools, self._limits = model, pipeline, pools, limits

    @property
    def most_numbers(self) -> int:
        """The numbers in the largest tensor that a request may have."""
        return self._limits.images * math.prod(size for size in pixels_of(self._model.image_size).shape[1:])

    def load(self) -> bool:
        """Warm up, which takes the time of a few runs; returns True. Raises EngineError."""
        self._pipeline.warm_up()
        self.ready = True
        return self.ready

    def stop(self) -> None:
        """Free the engine's memory."""
        self.ready = False
        self._model.close()

    def get_input_types(self) -> list[dict[str, Any]]:
        """The inputs, for the model's metadata."""
        return [one.as_dict() for one in served_inputs(self._model.image_size)]

    def get_output_types(self) -> list[dict[str, Any]]:
        """The outputs, for the model's metadata."""
        features = self._model.artifact.architecture.num_features
        return [one.as_dict() for one in served_outputs(len(self._model.labels), features)]

    def describe(self) -> dict[str, Any]:
        """What the protocol has no field for: labels by class id, preprocessing, engine."""
        engine = self._model.engine
        return {
            "labels": list(self._model.labels),
            "preprocess": dataclasses.asdict(self._model.artifact.preprocess),
            "image_size": self._model.image_size,
            "engine": engine.name,
            "device": engine.device,
            "precision": engine.precision,
        }

    async def predict(
        self,
        payload: InferRequest,
        headers: Mapping[str, str] | None = None,  # noqa: ARG002 - the SDK's signature
        response_headers: Mapping[str, str] | None = None,  # noqa: ARG002
    ) -> InferResponse:
        """The response to a request. Raises RequestError, ImageError, EngineError."""
        request = trace.current.get()
        asked = await self._pools.parsed(request.bytes, lambda: wanted(payload, self._model, self._limits))
        payload.inputs = []  # lists of numbers take much more memory than their tensor, and would be kept to the end
        request.model, request.images = self.name, asked.count
        outputs = await self._pipeline.outputs(asked, request)
        return response(payload, request.id, asked, outputs, self._model.labels)


class ServedModels(DataPlane):
    """The SDK's data plane: it finds models, describes them, reads REST bodies and runs requests."""

    def __init__(self, models: ModelRepository, limits: Limits) -> None:
        super().__init__(models)
        self._limits = limits

    def metadata(self) -> dict[str, Any]:
        """The server's name, version and extensions of the protocol."""
        return {"name": SERVER, "version": version(SERVER), "extensions": ["binary_tensor_data"]}

    def decode_inference_request(self, body: bytes, headers: Mapping[str, str], model_name: str) -> RestInferRequest:
        """The request in a REST body. Raises RequestError."""
        length = headers.get(JSON_LENGTH_HEADER, str(len(body)))
        if not (length.isascii() and length.isdigit() and len(length) < 12):
            raise invalid(f"the header {JSON_LENGTH_HEADER} must be a number of bytes, got {beginning(length)!r}")
        most = self._limits.json_bytes
        if int(length) > most:
            raise RequestError(Kind.TOO_LARGE, f"JSON has at most {most} bytes, got {int(length)}; send binary data")
        require_few_values(body, int(length), self.most_numbers())
        return RestInferRequest.from_bytes(body, int(length), model_name)

    def most_numbers(self) -> int:
        """The numbers in the largest tensor that a request may have, of any model."""
        return max((one.most_numbers for one in self.model_registry.get_models().values()), default=0)

    async def model_metadata(self, model_name: str) -> dict[str, Any]:
        """The metadata of a model, with its versions. Raises ModelNotFound."""
        known = await super().model_metadata(model_name)
        return {**known, "versions": [VERSION], "platform": PLATFORM}

    def parameters(self, model_name: str) -> dict[str, Any]:
        """What `ServedModel.describe` says. Raises ModelNotFound."""
        model = self.get_model_from_registry(model_name)
        described: dict[str, Any] = model.describe()
        return described

    def check(self, name: str, wanted_version: str | None) -> None:
        """Raise RequestError for a model that is not served, or another version than VERSION."""
        known = self.model_registry.get_models()
        if name not in known:
            raise RequestError(Kind.NOT_FOUND, f"unknown model {beginning(name)!r}; this server has {', '.join(known)}")
        if wanted_version not in (None, "", VERSION):
            raise RequestError(
                Kind.NOT_FOUND, f"{name} has only the version {VERSION}, got {beginning(wanted_version)!r}"
            )
