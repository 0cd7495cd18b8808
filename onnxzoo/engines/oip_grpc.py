"""The Open Inference Protocol by gRPC, with the messages of Triton's client."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from ..errors import EngineError, EngineUnavailableError, one_line
from ..inference_protocol import FP32, FP64
from ..results import Array, TensorSpec
from ..text import beginning
from .library_failures import unavailable
from .oip_address import TOKEN_VARIABLE, Address
from .oip_http import INFER_TIMEOUT_S, MAX_HEADER_BYTES, MAX_METADATA_BYTES, MAX_UNKNOWN_BYTES, METADATA_TIMEOUT_S
from .oip_tensors import MAX_TENSORS, Described, ProtocolError, decoded, spec_of

INSTALL = "pip install 'tritonclient[grpc]', or use the server's HTTP port (oip:http://...)"
CONTENTS = {FP32: "fp32_contents", FP64: "fp64_contents"}
T = TypeVar("T")


class GrpcTransport:
    """A model behind gRPC, on one channel that many threads may use."""

    def __init__(self, address: Address, token: str | None) -> None:
        """Raises EngineUnavailableError if Triton's client is not installed."""
        try:
            import tritonclient.grpc as client
        except ImportError as error:
            raise unavailable("tritonclient", error, INSTALL) from error
        self._client_module: Any = client
        self._address = address
        host = f"[{address.host}]" if ":" in address.host else address.host
        self._client: Any = client.InferenceServerClient(
            f"{host}:{address.port}",
            ssl=address.secure,
            root_certificates=_certificates() if address.secure else None,
            channel_args=[
                ("grpc.max_receive_message_length", MAX_UNKNOWN_BYTES),
                ("grpc.max_send_message_length", -1),
                ("grpc.enable_http_proxy", 0),  # as by HTTP
            ],
        )
        self._headers = {} if token is None else {"authorization": f"Bearer {token}"}

    def describe(self) -> Described:
        """The model's metadata, and the server's name; see Transport."""
        metadata = self._call(
            lambda: self._client.get_model_metadata(
                self._address.model, self._address.version, headers=self._headers, client_timeout=METADATA_TIMEOUT_S
            ),
            reading=True,
        )
        try:
            if (
                metadata.ByteSize() > MAX_METADATA_BYTES
                or max(len(metadata.inputs), len(metadata.outputs)) > MAX_TENSORS
            ):
                raise ProtocolError("they are too large")
            inputs, outputs = (
                dict(spec_of(one.name, one.datatype, list(one.shape)) for one in tensors)
                for tensors in (metadata.inputs, metadata.outputs)
            )
        except ProtocolError as error:
            raise EngineError(f"{self._address} gave metadata that are not valid: {error}") from None
        return Described(self._server(), inputs, outputs)

    def infer(self, name: str, images: Array, outputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
        """The outputs for a batch; see Transport."""
        tensor = self._client_module.InferInput(name, list(images.shape), FP32)
        tensor.set_data_from_numpy(np.ascontiguousarray(images))
        wanted = [self._client_module.InferRequestedOutput(output) for output in outputs]
        answer = self._call(
            lambda: self._client.infer(
                self._address.model,
                [tensor],
                self._address.version,
                wanted,
                headers=self._headers,
                client_timeout=INFER_TIMEOUT_S,
            ).get_response()
        )
        try:
            return _outputs(answer, outputs)
        except ProtocolError as error:
            raise EngineError(f"{self._address} gave an answer that is not valid: {error}") from None

    def close(self) -> None:
        """Close the channel."""
        self._client.close()

    def _server(self) -> str:
        try:
            found = self._client.get_server_metadata(headers=self._headers, client_timeout=METADATA_TIMEOUT_S)
        except self._client_module.InferenceServerException:
            return "unknown"
        return " ".join(beginning(text, 40) for text in (found.name, found.version) if text) or "unknown"

    def _call(self, call: Callable[[], T], *, reading: bool = False) -> T:
        """The result of a call; `reading`: of metadata, where a refusal means that there is no such model."""
        try:
            return call()
        except self._client_module.InferenceServerException as error:
            status = str(error.status()).removeprefix("StatusCode.")
            said = beginning(one_line(error.message()), MAX_HEADER_BYTES)
            if status == "DEADLINE_EXCEEDED":
                limit_s = METADATA_TIMEOUT_S if reading else INFER_TIMEOUT_S
                raise EngineUnavailableError(
                    f"{self._address} gave no whole answer within {limit_s:g} s; is it overloaded?"
                ) from error
            if status == "UNAVAILABLE":
                tls = ", and SSL_CERT_FILE" if self._address.secure else ", and use grpcs if it has a certificate"
                raise EngineUnavailableError(
                    f"{self._address} cannot be reached: {said}; check the address and that the server runs{tls}"
                ) from error
            if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
                raise EngineUnavailableError(
                    f"{self._address} refuses access: {said}; set {TOKEN_VARIABLE} to its bearer token"
                ) from error
            if reading or status == "NOT_FOUND":
                raise EngineUnavailableError(
                    f"{self._address} has no model {self._address.model!r} ({status}): {said}; check the name, and "
                    "whether the server is ready"
                ) from error
            raise EngineError(f"{self._address} refuses the request ({status}): {said}") from error


def _certificates() -> str | None:
    """The file of certificate authorities to trust, as by HTTP; None for those that gRPC brings."""
    file = os.environ.get("SSL_CERT_FILE")
    if file and not Path(file).is_file():
        raise EngineUnavailableError(f"SSL_CERT_FILE is {file!r}, which is not a file; set it to one, or unset it")
    return file or None


def _outputs(answer: Any, outputs: Mapping[str, TensorSpec]) -> dict[str, Array]:
    """The outputs in an answer: as bytes, one for each in the order of the list, or else as numbers."""
    raw = answer.raw_output_contents
    if raw and len(raw) != len(answer.outputs):
        raise ProtocolError(f"it has the bytes of {len(raw)} outputs and describes {len(answer.outputs)}")
    found: dict[str, Array] = {}
    for index, one in enumerate(answer.outputs):
        if one.name not in outputs:
            continue
        if one.name in found:
            raise ProtocolError(f"it has the output {one.name!r} twice")
        data = raw[index] if raw else list(getattr(one.contents, CONTENTS.get(one.datatype, CONTENTS[FP32])))
        found[one.name] = decoded(one.name, one.datatype, list(one.shape), data, outputs[one.name])
    return found
