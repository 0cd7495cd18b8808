"""The Open Inference Protocol (KServe's v2) as onnxzoo speaks it: names, types and shapes of tensors, ports, headers.

Servers that run artifacts, clients of them, and writers of folders for other servers take them from here.
Protocol: https://github.com/kserve/open-inference-protocol
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .artifact.folder import INPUT_NAME, OUTPUT_NAMES

PIXELS = INPUT_NAME
"""Input: preprocessed images, FP32 [-1, 3, S, S], as `onnxzoo.image.preprocess_batch` makes them."""
IMAGES = "image_bytes"
"""Input: encoded images (JPEG, PNG ...), BYTES [-1]; the server preprocesses them."""
LOGITS, EMBEDDING = OUTPUT_NAMES
LABEL = "label"
"""Output on request: names of the best classes, BYTES [-1, top_k], best first."""
SCORE = "score"
"""Output on request: their softmax probabilities, FP64 [-1, top_k]."""
TOP_K = "top_k"
"""Parameter of a request: how many classes `label` and `score` have for each image."""
DEFAULT_TOP_K = 5

FP32, FP64, BYTES = "FP32", "FP64", "BYTES"
VERSION = "1"
"""The only version of a served model."""

HTTP_PORT, GRPC_PORT = 8080, 8081
JSON_LENGTH_HEADER = "inference-header-content-length"
"""HTTP header: bytes of the JSON at the beginning of a body, which binary tensors follow; 0 if the body is raw data."""
GRPC_SERVICE = "inference.GRPCInferenceService"
LENGTH_BYTES = 4
"""Before each element of a BYTES tensor in binary form stands its length, an unsigned little-endian integer."""


@dataclass(frozen=True, slots=True)
class ProtocolTensor:
    """An input or output of a served model; -1 in `shape` is a dynamic size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    def as_dict(self) -> dict[str, str | list[int]]:
        """The tensor as it stands in a model's metadata."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


def pixels_of(image_size: int) -> ProtocolTensor:
    """The input of a model's ONNX file, for images of `image_size` pixels a side."""
    return ProtocolTensor(PIXELS, FP32, (-1, 3, image_size, image_size))


def model_outputs(classes: int, features: int) -> tuple[ProtocolTensor, ProtocolTensor]:
    """The outputs of a model's ONNX file: logits and embedding."""
    return ProtocolTensor(LOGITS, FP32, (-1, classes)), ProtocolTensor(EMBEDDING, FP32, (-1, features))


def served_inputs(image_size: int) -> tuple[ProtocolTensor, ...]:
    """What onnxzoo's own server takes: one of these two."""
    return pixels_of(image_size), ProtocolTensor(IMAGES, BYTES, (-1,))


def served_outputs(classes: int, features: int) -> tuple[ProtocolTensor, ...]:
    """What onnxzoo's own server returns; `label` and `score` if they or `top_k` are requested."""
    return (
        *model_outputs(classes, features),
        ProtocolTensor(LABEL, BYTES, (-1, -1)),
        ProtocolTensor(SCORE, FP64, (-1, -1)),
    )


def unpacked(data: bytes, count: int) -> list[bytes]:
    """The elements of a BYTES tensor in binary form. Raises ValueError unless there are exactly `count`."""
    elements: list[bytes] = []
    at = 0
    while at < len(data):
        if len(elements) == count:
            raise ValueError(f"there are more than {count} elements")
        start = at + LENGTH_BYTES
        end = start + int.from_bytes(data[at:start], "little")
        if start > len(data) or end > len(data):
            raise ValueError(f"element {len(elements)} ends after {end} bytes, and there are {len(data)}")
        elements.append(data[start:end])
        at = end
    if len(elements) != count:
        raise ValueError(f"there are {len(elements)} elements, expected {count}")
    return elements


def packed(elements: Sequence[bytes]) -> bytes:
    """A BYTES tensor in binary form: each element after its length."""
    return b"".join(len(one).to_bytes(LENGTH_BYTES, "little") + one for one in elements)
