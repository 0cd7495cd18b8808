"""How many values a request may hold, counted in its bytes before anything is made of them.

A body within the limit of its size can hold tens of millions of empty values, as JSON or as Protocol Buffers. Reading
them takes gigabytes, and half a minute in which the server answers nobody, so that Kubernetes would restart it.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..artifact.onnx_wire import fields
from .refusals import Kind, RequestError, invalid

SPARE_VALUES = 4096
"""For names, shapes, outputs and parameters."""
MAX_FIELDS = 512
"""In each message; Protocol Buffers packs the numbers of a tensor into one field."""
MAX_SHORT_BYTES = 1024
"""Of a field that is no tensor's data: a shape, or numbers of a type that no input has."""

# Numbers of fields in ModelInferRequest, its InferInputTensor, and the InferTensorContents of that. A requested output
# has no shape and no contents, but the same limits for what else may be in it.
_INPUTS, _OUTPUTS, _SHAPE, _CONTENTS, _FP32, _BYTES = 5, 6, 3, 5, 6, 8


def require_few_values(body: bytes, json_length: int, most_numbers: int) -> None:
    """Raise RequestError if the JSON in body[:json_length] has more values than `most_numbers` and some to spare."""
    most = most_numbers + SPARE_VALUES
    if body.count(b",", 0, json_length) > most or body.count(b"[", 0, json_length) > most:
        raise _too_many(most_numbers)


def require_few_in_tensors(message: bytes, most_numbers: int, most_images: int) -> None:
    """Raise RequestError if a tensor of a ModelInferRequest, in its wire format, has too many fields or numbers.

    The fields of the message itself must have been counted before.
    """
    try:
        for number, first, last in fields(message, 0, len(message)):
            if number in (_INPUTS, _OUTPUTS):
                _require_few_in_tensor(message, first, last, most_numbers, most_images)
    except (ValueError, IndexError):
        raise invalid(f"the message of {len(message)} bytes is not a valid ModelInferRequest") from None


def _require_few_in_tensor(message: bytes, first: int, last: int, most_numbers: int, most_images: int) -> None:
    for number, begin, end in _few(message, first, last, MAX_FIELDS):
        if number == _SHAPE and end - begin > MAX_SHORT_BYTES:
            raise _too_many(most_numbers)
        if number == _CONTENTS:
            for kind, start, stop in _few(message, begin, end, MAX_FIELDS + most_images):
                limit = {_FP32: 4 * most_numbers, _BYTES: len(message)}.get(kind, MAX_SHORT_BYTES)
                if stop - start > limit:
                    raise _too_many(most_numbers)


def _few(message: bytes, first: int, last: int, most: int) -> Iterator[tuple[int, int, int]]:
    """The fields of a message within the message. Raises RequestError if there are more than `most`."""
    for count, field in enumerate(fields(message, first, last)):
        if count == most:
            raise RequestError(
                Kind.TOO_LARGE, f"a tensor of the request has more than {most} fields; send less at a time"
            )
        yield field


def _too_many(most_numbers: int) -> RequestError:
    return RequestError(
        Kind.TOO_LARGE, f"the request has more values than the {most_numbers} numbers of its largest tensor; send less"
    )
