"""The trace of ncnn finds the first wrong layer where there is one; its replacement of Gathers changes no output."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from artifacts import PVT, SWIN

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")

from ncnn_trace import onnx_tensors, trace, without_gathers

from onnxzoo.conversion.targets import TARGETS
from onnxzoo.errors import MissingDependencyError
from onnxzoo.source import resolve


def test_products_with_permutation_matrices_are_the_gathers(tmp_path: Path) -> None:
    source = resolve(SWIN)
    count, size = without_gathers(source.open().path, tmp_path / "matrices.onnx")
    assert (count, size) == (5, 4 * (3 * 144**2 + 2 * 36**2))
    image = source.vectors().images[0]
    before, after = (onnx_tensors(file, image) for file in (source.open().path, tmp_path / "matrices.onnx"))
    np.testing.assert_allclose(after["logits"], before["logits"], atol=1e-5)


@pytest.mark.slow
def test_the_first_wrong_layer_is_named() -> None:
    try:
        TARGETS["ncnn"].require_modules()
    except MissingDependencyError as error:
        pytest.skip(str(error))
    lines = trace(SWIN)
    layers = [line.split("|")[1:3] for line in lines if line.startswith("| ") and "ncnn layer" not in line]
    assert [kind.split()[0] for kind, _ in layers[3:5]] == ["LayerNorm", "Crop"]
    assert layers[4][1].strip() == "1 x 32"
    assert "5 Gathers over tokens" in lines[-1]
    assert float(lines[-1].rpartition("at most ")[2].rstrip(".")) < 1e-5
    assert trace(PVT)[-1] == "Every blob is a tensor of the ONNX graph."
