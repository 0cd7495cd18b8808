"""The matrix products that are the machine's limit: valid ONNX, and each is the product that it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from onnxzoo.bench.products import FILES, FLOP, SIDE, product_input, write_product
from onnxzoo.engines import EngineOptions, create_engine
from onnxzoo.engines.protocol import ModelFile


@pytest.mark.parametrize("precision", FILES)
def test_an_engine_computes_the_product_in_this_precision(tmp_path: Path, precision: str) -> None:
    file = tmp_path / "product.onnx"
    write_product(file, precision)
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    weight = next(onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "weight")
    steps = [onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "weight_steps"]
    engine = create_engine(
        "onnxruntime", ModelFile(file, precision=precision, weights_bits=7), EngineOptions(precision)
    )
    found = next(iter(engine.run({next(iter(engine.inputs)): product_input()}).values()))
    engine.close()
    expected = product_input() @ (weight * (steps[0] if steps else 1)).astype(np.float32)
    error = (found - expected).std() / expected.std()
    assert error < {"fp32": 1e-5, "fp16": 5e-3, "int8": 0.05}[precision]
    assert weight.dtype == {"fp32": np.float32, "fp16": np.float16, "int8": np.int8}[precision]


def test_int8_weights_use_seven_bits(tmp_path: Path) -> None:
    write_product(tmp_path / "product.onnx", "int8")
    model = onnx.load(tmp_path / "product.onnx")
    weight = next(onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "weight")
    assert (weight.min(), weight.max()) == (-63, 63)


def test_a_product_is_two_operations_for_each_pair_of_numbers() -> None:
    assert FLOP == 2 * SIDE * SIDE * SIDE
