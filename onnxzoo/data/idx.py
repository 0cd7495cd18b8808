"""IDX files, the format of MNIST and its successors (http://yann.lecun.com/exdb/mnist): arrays with a short header."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ..errors import DatasetError

IDX_STEMS = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "val": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
UNSIGNED_BYTE = 0x08
MAX_BYTES = 2**32
"""Maximum number of elements in a file, which are all held in memory. EMNIST, the largest such set, has 0.64e9."""


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
        # The header is read first, so that no more is read and decompressed than it announces.
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            shape = _shape(file, stream, dimensions)
            data = stream.read(math.prod(shape) + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{file} cannot be read: {error}; it may be truncated; get it again") from None
    except MemoryError:
        raise DatasetError(f"{file}: its {' x '.join(map(str, shape))} bytes do not fit into memory") from None
    if len(data) != math.prod(shape):
        held = f"{len(data)} bytes{' or more' if len(data) > math.prod(shape) else ''}"
        raise DatasetError(
            f"{file} holds {held}, but its header says {' x '.join(map(str, shape))}; "
            "it is truncated or damaged; get it again"
        )
    return np.frombuffer(data, np.uint8).reshape(shape)


def _shape(file: Path, stream: gzip.GzipFile | IO[bytes], dimensions: int) -> tuple[int, ...]:
    """What the header says."""
    size = 4 + 4 * dimensions
    header = stream.read(size)
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if header[:4] != expected:
        raise DatasetError(
            f"{file} is not an IDX file of unsigned bytes with {dimensions} dimensions: "
            f"expected it to start with {expected.hex(' ')}, got {header[:4].hex(' ') or 'nothing'}"
        )
    if len(header) < size:
        raise DatasetError(f"{file} is truncated: its header has {len(header)} of {size} bytes; get it again")
    shape = tuple(int(length) for length in np.frombuffer(header, ">u4", dimensions, offset=4))
    if math.prod(shape) > MAX_BYTES:
        raise DatasetError(
            f"{file}: its header says {' x '.join(map(str, shape))}, more than the {MAX_BYTES} bytes that are read; "
            "it is damaged, or the data should be stored as image files"
        )
    return shape
