"""Finding references from an ONNX file to other files, anywhere in it.

An ONNX file may store tensors in other files. Engines follow such references without checking where they lead, so
artifacts may not contain any. This module walks the messages down to the tensors and checks two fields of each.
"""

from __future__ import annotations

from .onnx_wire import Data, fields, varint

# Field numbers of onnx.proto that lead to tensors: message -> {field: message}.
CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "TrainingInfo", 25: "Function"},
    "TrainingInfo": {1: "Graph", 2: "Graph"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Function": {7: "Node", 11: "Attribute"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}
EXTERNAL_DATA, DATA_LOCATION = 13, 14
MAX_DEPTH = 64


def has_external_data(data: Data, start: int, end: int, message: str = "Model", depth: int = 0) -> bool:
    """Whether a tensor of the message in data[start:end] refers to another file.

    Raises ValueError or IndexError if the bytes are not such a message.
    """
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    children = CHILDREN[message]
    for field, first, last in fields(data, start, end):
        if message == "Tensor" and is_external(data, field, first):
            return True
        if field in children and has_external_data(data, first, last, children[field], depth + 1):
            return True
    return False


def is_external(data: Data, field: int, first: int) -> bool:
    """Whether this field of a tensor says that its data is in another file."""
    return field == EXTERNAL_DATA or (field == DATA_LOCATION and varint(data, first)[0] != 0)
