"""INT8 files made as users make them, and the arithmetic of processors without VNNI."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxzoo.artifact.folder import INPUT_NAME

INT16 = np.iinfo(np.int16)


def quantise(source: Path, target: Path, images: np.ndarray, *, reduce_range: bool = True) -> None:
    """Post-training static quantisation in QDQ form: uint8 activations, symmetric int8 weights per channel.

    `reduce_range`: weights of 7 bits. With all 8, products saturate on processors without VNNI, so that what an engine
    answers depends on the processor.
    """
    quantization = pytest.importorskip("onnxruntime.quantization")

    class Images(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self.left = [{INPUT_NAME: image[None]} for image in images]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    quantization.quantize_static(
        str(source),
        str(target),
        Images(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=["MatMul", "Gemm", "Conv"],
        per_channel=True,
        reduce_range=reduce_range,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        extra_options={"ActivationSymmetric": False, "WeightSymmetric": True, "MatMulConstBOnly": True},
    )


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
