"""Export forms against the textbook models, in Paddle, before there is any ONNX."""

from __future__ import annotations

import numpy as np
import pytest

paddle = pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.exports.forms import export_form
from onnxzoo.exports.forms.pvt_v2 import pooling_matrix
from onnxzoo.exports.forms.swinv2 import merging_index, reorder_index, window_order
from specs import PVT, SPECS

from onnxzoo.errors import InputError
from onnxzoo.reference.build import ModelSpec, at_image_size, build_model, load_state, parameter_shapes
from onnxzoo.reference.seeded import seeded_images, seeded_state
from onnxzoo.registry import find

pytestmark = pytest.mark.paddle


@pytest.mark.parametrize("name", SPECS)
def test_the_form_gives_the_textbooks_numbers(name: str) -> None:
    spec = SPECS[name]
    model = build_model(spec)
    load_state(model, seeded_state(parameter_shapes(model), 5))
    form = export_form(model)
    form.eval()
    images = paddle.to_tensor(seeded_images(spec.image_size, 3, 0))
    with paddle.no_grad():
        logits, embedding = form(images)
        np.testing.assert_allclose(logits.numpy(), model(images).numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(embedding.numpy(), model.forward_features(images).numpy(), rtol=0, atol=1e-5)


def test_there_is_no_form_of_other_layers() -> None:
    with pytest.raises(TypeError, match="no export form of Linear"):
        export_form(paddle.nn.Linear(2, 2))


def test_window_order_lays_windows_one_after_the_other() -> None:
    assert window_order(4, 2, 0).tolist() == [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]
    assert window_order(4, 2, 1)[:4].tolist() == [5, 6, 9, 10], "the shift rolls the map up and left by one"
    assert window_order(4, 4, 0).tolist() == list(range(16)), "one window is in the map's own order"


def test_reorder_index_goes_from_one_order_to_another() -> None:
    current, wanted = window_order(8, 4, 0), window_order(8, 4, 2)
    assert current[reorder_index(current, wanted)].tolist() == wanted.tolist()


def test_merging_index_takes_the_corners_of_each_square() -> None:
    row_major = np.arange(16)
    index = merging_index(4, row_major, np.arange(4)).reshape(4, 4)
    assert index[0].tolist() == [0, 4, 1, 5], "top left, bottom left, top right, bottom right"
    assert index[3].tolist() == [10, 14, 11, 15]
    order = window_order(4, 2, 1)
    assert order[merging_index(4, order, np.arange(4))].tolist() == index.reshape(-1).tolist()


def test_pooling_matrix_is_adaptive_average_pooling() -> None:
    grid = np.random.RandomState(0).standard_normal((1, 1, 10, 10)).astype(np.float32)
    expected = paddle.nn.functional.adaptive_avg_pool2d(paddle.to_tensor(grid), 7).numpy().reshape(-1)
    np.testing.assert_allclose(pooling_matrix(10, 7) @ grid.reshape(-1), expected, atol=1e-6)
    np.testing.assert_allclose(pooling_matrix(3, 7).sum(axis=1), 1)


def test_another_image_size_scales_the_windows_and_remembers_the_trained_ones() -> None:
    entry = find("swinv2_small_w8")
    spec = at_image_size(ModelSpec(entry.architecture, 256, 1000), 384)
    assert (spec.architecture.window_size, spec.architecture.pretrained_window_sizes) == (12, (8, 8, 8, 8))
    large = find("swinv2_large_w16")
    spec = at_image_size(ModelSpec(large.architecture, 256, 1000), 384)
    assert (spec.architecture.window_size, spec.architecture.pretrained_window_sizes) == (24, (12, 12, 12, 6))
    same = ModelSpec(entry.architecture, 256, 1000)
    assert at_image_size(same, 256) == same
    assert at_image_size(ModelSpec(PVT, 64, 5), 320).architecture == PVT
    for size in (250, 0, -32):
        with pytest.raises(InputError, match="multiple of 32"):
            at_image_size(same, size)


def test_a_larger_window_extrapolates_as_the_larger_published_models_do() -> None:
    """w16 at 256 taken to 384 must be the registry's own w24 model at 384, which has pre-trained windows of 12."""
    small, big = find("swinv2_large_w16"), find("swinv2_large_w24")
    spec = at_image_size(ModelSpec(small.architecture, 256, 1000), 384)
    assert spec == ModelSpec(big.architecture, 384, 1000)
