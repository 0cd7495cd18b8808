"""INT8 files made as users make them, and the arithmetic of processors without VNNI."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from onnxzoo.quantization.static import StaticQuantizer
from onnxzoo.temporary import scratch_folder

INT16 = np.iinfo(np.int16)


def quantise(
    source: Path, target: Path, images: np.ndarray, *, reduce_range: bool = True, fp32_layers: Collection[str] = ()
) -> None:
    """An int8 file with every layer but these quantised, as `onnxzoo quantize` makes it.

    `reduce_range`: weights of 7 bits. With all 8, products saturate on processors without VNNI, so that what an engine
    answers depends on the processor.
    """
    pytest.importorskip("onnxruntime.quantization")
    with scratch_folder("quantize") as work:
        StaticQuantizer(source, images, 7 if reduce_range else 8, work).write(target, fp32_layers)


def product_without_vnni(activations: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """uint8 [N, K] times int8 [K, M] -> int32 [N, M], as AVX2's VPMADDUBSW makes it.

    The products of two neighbours along K are added in 16 bits and saturate there; the pairs are added in 32 bits.
    """
    products = activations.astype(np.int32)[:, :, None] * weights.astype(np.int32)
    count = products.shape[1]
    pairs = np.pad(products, ((0, 0), (0, count % 2), (0, 0))).reshape(len(products), -1, 2, weights.shape[1]).sum(2)
    return np.clip(pairs, INT16.min, INT16.max).sum(1)


def int8_matrices(model_file: Path) -> dict[str, np.ndarray]:
    """The quantised weight matrices [K, M] of an INT8 file by name."""
    import onnx
    from onnx import numpy_helper

    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(model_file).graph.initializer}
    return {name: value for name, value in values.items() if value.dtype == np.int8 and value.ndim == 2}
