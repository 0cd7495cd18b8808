"""Where the time goes: products are counted from the file, and what engines make of them is recognised."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("onnx")
ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
pytest.importorskip("onnxzoo.exports.graph_facts")

from operators import ATTENTION, DEPTHWISE, FUSED_ATTENTION, LAYERS, REST, kind_of, products, table

FILE = ROOT / "onnxzoo" / "shipped" / "pvt_v2_nano_fashion" / "onnx" / "model.onnx"


def test_products_of_a_shipped_model():
    """Three stages of two blocks; the first map has 8 x 8 tokens of 32 channels, widened 4 times."""
    found = {name: (kind, flop) for name, kind, flop in products(FILE, 2)}
    assert found["block1.0.mlp.fc1/Conv"] == (LAYERS, 2 * 2 * 64 * 32 * 128)
    assert found["block1.0.mlp.dwconv.dwconv/Conv"] == (DEPTHWISE, 2 * 2 * 64 * 128 * 9)
    assert found["block1.0.attn/MatMul"] == (ATTENTION, 2 * 2 * 64 * 4 * 32)
    assert found["head/MatMul"] == (LAYERS, 2 * 2 * 96 * 10)
    kinds = Counter(kind for kind, _ in found.values())
    assert (kinds[ATTENTION], kinds[DEPTHWISE]) == (12, 6)


@pytest.mark.parametrize(
    ("name", "operator", "within", "kind"),
    [
        ("block1.0.mlp.dwconv.dwconv/Conv_nchwc", "Conv", "", DEPTHWISE),
        ("block1.0.mlp.dwconv.dwconv/Conv/WithoutBiases", "GroupConvolution", "", DEPTHWISE),
        ("block1.0.mlp.fc1/Conv/WithoutBiases", "Convolution", "", LAYERS),
        ("block1.0.attn.q/Add", "FullyConnected", "block1.0.attn.q/MatMul,block1.0.attn.q/Add", LAYERS),
        ("block1.0.attn.q/MatMul", "MatMul", "", LAYERS),
        ("block1.0.attn/MatMul/MatmulTransposeFusion/", "FusedMatMul", "", ATTENTION),
        ("block1.0.attn/Transpose_6", "Subgraph", "block1.0.attn/MatMul,block1.0.attn/Softmax", FUSED_ATTENTION),
        ("block1.0.attn/Add", "Subgraph", "block1.0.attn/Add", REST),
        ("Gelu_token_17", "Gelu", "", "GELU"),
        ("pixel_values_to_nhwc", "Reorder", "", "moves"),
    ],
)
def test_what_an_engine_runs_is_recognised(name, operator, within, kind):
    known = {found: product for found, product, _ in products(FILE, 1)}
    assert kind_of(name, operator, within, known) == kind


def test_shares_of_the_time_and_of_the_limit():
    figures = {"engine": "openvino", "batch_size": 1, "gflop": 1.0, "layers_gflop": 0.9}
    one = {**figures, "sum_ms": 10.0, "ms": {LAYERS: 8.0, "GELU": 2.0}}
    last = table([("pvt_v2_b0", one)], {"openvino": 125.0}).splitlines()[-1]
    assert last.startswith("| pvt_v2_b0 | openvino | 1 | 10.0 | 80 % | 112 of 125 | 80.0 % |")
    assert "| 20.0 % |" in last
