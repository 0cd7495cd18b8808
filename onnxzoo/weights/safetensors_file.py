"""Reading `.safetensors` files: a length, a JSON header with the position of each tensor, the tensors' bytes.

The format is described at https://github.com/huggingface/safetensors (README, "Format"). The header is parsed once, and
all of it is checked before a tensor is read: no two tensors share bytes, nothing lies outside the file.
"""

from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError
from ..strict_json import parse_json

BFLOAT16 = "BF16"
DTYPES: Mapping[str, np.dtype[Any]] = {
    name: np.dtype(code)
    for name, code in {
        "F64": "<f8", "F32": "<f4", "F16": "<f2", BFLOAT16: "<u2",
        "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
        "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
    }.items()
}  # fmt: skip
"""Element types by the format's name. numpy has no bfloat16, so its bit patterns are read as uint16."""

FLOATS = frozenset({"F64", "F32", "F16", BFLOAT16})
METADATA = "__metadata__"
MAX_HEADER_BYTES = 8 * 2**20
"""A model of 2,000 tensors has 300 kB. The format itself allows 100 MB, which Python would need gigabytes to parse."""
MAX_RANK = 8


@dataclass(frozen=True, slots=True)
class _Tensor:
    """One entry of the header; `start` and `end` in bytes after the header."""

    name: str
    kind: str
    shape: tuple[int, ...]
    start: int
    end: int


def read_safetensors(path: Path, *, integers: frozenset[str]) -> dict[str, npt.NDArray[Any]]:
    """The tensors of the file by name, in the header's order, in this machine's byte order; bfloat16 as float32.

    `integers`: last parts of names whose tensors need not be floating-point numbers.
    Raises CheckpointError when the file cannot be read, is truncated, or its header contradicts itself or the file.
    """
    try:
        with path.open("rb") as file:
            first, tensors = _header(file, os.fstat(file.fileno()).st_size)
            _require_floats(tensors, integers)
            return {tensor.name: _array(file, tensor, first) for tensor in tensors}
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from None
    except (ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(
            f"{path} is not a valid safetensors file ({error}); it may be truncated; download or save it again"
        ) from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error
    except MemoryError:
        raise CheckpointError(f"{path} cannot be read: its tensors do not fit into memory") from None


def _header(file: io.BufferedReader, size: int) -> tuple[int, list[_Tensor]]:
    """Where the tensors' bytes begin, and the tensors. Raises ValueError if the header is inconsistent."""
    head = file.read(8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or not 2 <= length <= size - 8:
        raise ValueError(f"its header should have {length} bytes, the file has {size}")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"its header has {length} bytes, expected up to {MAX_HEADER_BYTES}")
    header = parse_json(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    tensors = [_entry(name, values) for name, values in header.items() if name != METADATA]
    reached, left = 0, size - 8 - length
    for tensor in sorted(tensors, key=lambda one: (one.start, one.end)):
        if tensor.start != reached:
            what = "overlaps the one before" if tensor.start < reached else "leaves a gap before it"
            raise ValueError(f"the tensor {tensor.name[:80]!r} {what}: it begins at byte {tensor.start}, not {reached}")
        reached = tensor.end
    if reached < left:
        raise CheckpointError(
            f"is not a valid safetensors file: {left - reached} bytes were appended after its last tensor; "
            "download or save it again"
        )
    if reached > left:
        raise ValueError(f"its tensors take {reached} bytes, the file has {left} for them")
    return 8 + length, tensors


def _entry(name: str, values: Any) -> _Tensor:
    match values:
        case {"dtype": str() as kind, "shape": list() as shape, "data_offsets": [start, end], **rest} if not rest:
            pass
        case _:
            raise ValueError(f"the tensor {name[:80]!r} should have dtype, shape and data_offsets")
    if len(shape) > MAX_RANK or not all(type(number) is int and number >= 0 for number in (*shape, start, end)):
        raise ValueError(f"the tensor {name[:80]!r} has an invalid shape or invalid offsets")
    if kind not in DTYPES:
        raise CheckpointError(
            f"has the tensor {name[:80]!r} of the unknown element type {kind[:20]!r}, expected "
            f"{', '.join(sorted(FLOATS))}; save the weights in one of these"
        )
    if end - start != math.prod(shape) * DTYPES[kind].itemsize:
        raise ValueError(
            f"the tensor {name[:80]!r} of type {kind} and shape {shape} should take "
            f"{math.prod(shape) * DTYPES[kind].itemsize} bytes and has {end - start}"
        )
    return _Tensor(name, kind, tuple(shape), start, end)


def _require_floats(tensors: list[_Tensor], integers: frozenset[str]) -> None:
    odd = [
        f"{tensor.name[:80]} ({tensor.kind})"
        for tensor in tensors
        if tensor.kind not in FLOATS and tensor.name.rpartition(".")[2] not in integers
    ]
    if odd:
        raise CheckpointError(f"has weights that are not floating-point numbers: {', '.join(odd[:3])}")


def _array(file: io.BufferedReader, tensor: _Tensor, first: int) -> npt.NDArray[Any]:
    stored = DTYPES[tensor.kind]
    flat = np.empty(math.prod(tensor.shape), stored)
    file.seek(first + tensor.start)
    if file.readinto(flat.view(np.uint8).data) != flat.nbytes:
        raise OSError("the file became shorter while it was read")
    if tensor.kind == BFLOAT16:
        flat = widened(flat)
    return flat.astype(flat.dtype.newbyteorder("="), copy=False).reshape(tensor.shape)


def widened(bits: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    """bfloat16 bit patterns as float32: a bfloat16 is the upper half of a float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
