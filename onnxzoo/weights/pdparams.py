"""Read PaddlePaddle's `.pdparams` files without Paddle and without executing code in them.

Such a file is a pickle of a dict: name -> numpy array, with two entries of bookkeeping that
`paddle.save` adds (`paddle/framework/io.py` and `io_utils.py`, version 3.3).
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import CheckpointError
from . import safe_pickle
from .pickled_arrays import MAX_RANK, PickledArray, RefusedError, described

NAME_TABLE = "StructuredToParameterName@@"
"""Key of the table from names in the model to Paddle's own tensor names; not needed."""
SLICE_TABLE = "UnpackBigParamInfor@@"
"""Key of the table of arrays that protocols 2 and 3 store in several slices, as they cannot hold 4 GiB in one."""
OPTIMIZER_KEYS = frozenset({"LR_Scheduler", "master_weights"})

_EXPECTED = "expected a PaddlePaddle .pdparams file, as written by paddle.save(model.state_dict(), path)"
_SAVE_TORCH = "save its state_dict with safetensors.torch.save_file as .safetensors"
_TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
_KINDS = (
    (b"PK\x03\x04", f"looks like a PyTorch file (a zip archive); {_SAVE_TORCH}"),
    (_TORCH_LEGACY, f"looks like a PyTorch file (old format); {_SAVE_TORCH}"),
    (b"\x89HDF", "looks like an HDF5 file"),
    (b"\x89PNG", "looks like a PNG image"),
    (b"\xff\xd8\xff", "looks like a JPEG image"),
    (b"\x1f\x8b", "looks like a gzip archive; unpack it first"),
    (b"<", "looks like a web page; the download went wrong, so delete it and download it again"),
    (b"version https://git-lfs", "is a Git LFS pointer, not the file itself; fetch it with git lfs pull"),
)


_OLD_PROTOCOLS = (b"(d", b"}q", b"}(", b"c", b"(c")
"""How pickles of a dict, or of a class, begin that do not say their protocol."""

# Tied weights share an array under a few names; a file with thousands of names for one array would exhaust the memory.
MAX_NAMES_OF_AN_ARRAY = 4


def read_pdparams(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a `.pdparams` file by name, in the file's order, with the file's shapes and element types.

    bfloat16 tensors arrive as Paddle stores them: as uint16 bit patterns. A dict that is wrapped once, such as
    `{"state_dict": {...}, "epoch": 3}`, is unwrapped if it is the only one with arrays; other entries may be numpy
    numbers, including arrays without axes.

    Raises CheckpointError if the file cannot be read, is truncated, damaged or of another kind, contains anything
    but named arrays, or asks for code to be run; nothing in the file is ever run.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}; {_EXPECTED}") from error
    _check_kind(path, head)
    try:
        return _arrays(_unwrapped(safe_pickle.load(path)))
    except RefusedError as error:
        raise CheckpointError(f"{path} is refused: {error}; {_EXPECTED}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_kind(path: Path, head: bytes) -> None:
    if not head:
        raise CheckpointError(f"{path} is empty; {_EXPECTED}; download or save it again")
    for start, kind in _KINDS:
        if head.startswith(start):
            raise CheckpointError(f"{path} {kind}; {_EXPECTED}")
    if head.startswith(_OLD_PROTOCOLS):
        raise CheckpointError(
            f"{path} looks like a pickle of protocol 0 or 1, expected 2 to 5; save it again: "
            "paddle.save(state_dict, path, protocol=4)"
        )
    if head[0] != 0x80:
        raise CheckpointError(f"{path} is not a pickle (it starts with {head[:8].hex(' ')}); {_EXPECTED}")


def _unwrapped(content: Any) -> dict[str, Any]:
    state: dict[str, Any]
    if not isinstance(content, dict):
        raise RefusedError(f"it holds an object {described(content)} instead of a dict")
    if not any(_is_weight(value) for value in content.values()):
        inner = [v for v in content.values() if type(v) is dict and any(_array_of(item) for item in v.values())]
        if len(inner) > 1:
            keys = [key for key, value in content.items() if any(value is dictionary for dictionary in inner)]
            raise RefusedError(f"it holds several dicts of arrays ({_listed(keys)}); save the model's state_dict alone")
        state = inner[0] if inner else content
    else:
        state = content
    found = sorted(OPTIMIZER_KEYS & state.keys())
    if found:
        raise RefusedError(f"it holds an optimizer's state ({_listed(found)}); give the .pdparams file beside it")
    return state


def _arrays(content: dict[str, Any]) -> dict[str, npt.NDArray[Any]]:
    arrays: dict[str, npt.NDArray[Any]] = {}
    names: dict[int, int] = {}
    for name, value in content.items():
        if name in (NAME_TABLE, SLICE_TABLE):
            continue
        array = _array_of(value)
        if array is None or array.value is None:
            raise RefusedError(f"its entry {_listed([name])} is {described(value)} and should be an array")
        arrays[name] = array.value
        names[id(array)] = names.get(id(array), 0) + 1
        if names[id(array)] > MAX_NAMES_OF_AN_ARRAY:
            # Every name gets a copy later on, when weights are converted to float32.
            raise RefusedError(f"one array has more than {MAX_NAMES_OF_AN_ARRAY} names, the last is {_listed([name])}")
    if SLICE_TABLE in content:
        _join_slices(arrays, content[SLICE_TABLE])
    if not arrays:
        raise RefusedError("it holds no arrays")
    return arrays


def _array_of(value: Any) -> PickledArray | None:
    """The array of a value, which paddle.save writes plainly or, for nested dicts, as (tensor name, array)."""
    if type(value) is tuple and len(value) == 2 and type(value[0]) is str:
        value = value[1]
    return value if isinstance(value, PickledArray) else None


def _is_weight(value: Any) -> bool:
    """Whether the value is an array with an axis; one without is a number, such as a metric stored with the weights."""
    array = _array_of(value)
    return array is not None and (array.value is None or array.value.ndim > 0)


def _join_slices(arrays: dict[str, npt.NDArray[Any]], table: Any) -> None:
    """Put the arrays together that paddle.save has cut into flat slices."""
    problem = RefusedError(f"its table {SLICE_TABLE} does not fit its arrays; save it again with protocol=4")
    if type(table) is not dict:
        raise problem
    for name, row in table.items():
        match row:
            case {"OriginShape": tuple() as shape, "slices": list() as names, **rest} if not rest:
                pass
            case _:
                raise problem
        # popping uses each slice once, so the joined arrays never exceed the file
        parts = [arrays.pop(part) for part in names if type(part) is str and part in arrays]
        if not parts or len(parts) != len(names) or name in arrays or len({part.dtype for part in parts}) != 1:
            raise problem
        if len(shape) > MAX_RANK or not all(type(n) is int and n >= 0 for n in shape):
            raise problem
        if math.prod(shape) != sum(part.size for part in parts):
            raise problem
        arrays[name] = np.concatenate([part.reshape(-1) for part in parts]).reshape(shape)


def _listed(names: list[str]) -> str:
    """Names from a file, cut and escaped so that a message stays one printable line."""
    return ", ".join(ascii(name[:60]) for name in names[:4])
