"""IDX files, the format of MNIST and its successors (http://yann.lecun.com/exdb/mnist): arrays with a short header."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import DatasetError

IDX_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "val": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
UNSIGNED_BYTE = 0x08


def find_idx(folder: Path, stem: str) -> Path | None:
    """The file of that name, plain or with `.gz`; None without either."""
    for file in (folder / stem, folder / f"{stem}.gz"):
        if file.is_file():
            return file
    return None


def read_idx(file: Path, *, dimensions: int) -> npt.NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes with that many dimensions: uint8, shape as in its header.

    The header: two zero bytes, the element type (0x08 for unsigned bytes), the number of dimensions, then each
    dimension as a big-endian uint32. Raises DatasetError when the file is of another kind, truncated or too long.
    """
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{file} cannot be read: {error}; it may be truncated: get it again") from None
    header = 4 + 4 * dimensions
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if data[:4] != expected:
        raise DatasetError(
            f"{file} is no IDX file of unsigned bytes with {dimensions} dimensions: "
            f"expected it to start with {expected.hex(' ')}, got {data[:4].hex(' ') or 'nothing'}"
        )
    if len(data) < header:
        raise DatasetError(f"{file} is truncated: its header has {len(data)} of {header} bytes; get it again")
    shape = tuple(int(size) for size in np.frombuffer(data, ">u4", dimensions, offset=4))
    if len(data) - header != math.prod(shape):
        raise DatasetError(
            f"{file} holds {len(data) - header} bytes, but its header says {' x '.join(map(str, shape))}; "
            "it is truncated or damaged: get it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
