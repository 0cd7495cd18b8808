"""Export forms against the textbook models, in Paddle, before there is any ONNX."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

paddle = pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.exports.forms import export_form
from specs import PVT, SPECS

from onnxzoo.errors import InputError, RegistryError
from onnxzoo.families import Architecture, ModelSpec, at_image_size, constants
from onnxzoo.families.pvt_v2.constants import pooling_matrix
from onnxzoo.families.swinv2.constants import merging_index, reorder_index, window_order
from onnxzoo.reference.paddle.build import build_model, load_state, parameter_shapes
from onnxzoo.registry import find
from onnxzoo.weights.seeded import seeded_images, seeded_state

pytestmark = pytest.mark.paddle


def seeded_form(name: str) -> Any:
    spec = SPECS[name]
    return export_form(spec, constants(spec, seeded_state(parameter_shapes(build_model(spec)), 5)))


@pytest.mark.parametrize("name", SPECS)
def test_the_form_gives_the_textbooks_numbers(name: str) -> None:
    spec = SPECS[name]
    model = build_model(spec)
    state = seeded_state(parameter_shapes(model), 5)
    load_state(model, state)
    form = export_form(spec, constants(spec, state))
    form.eval()
    images = paddle.to_tensor(seeded_images(spec.image_size, 3, 0))
    with paddle.no_grad():
        logits, embedding = form(images)
        np.testing.assert_allclose(logits.numpy(), model(images).numpy(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(embedding.numpy(), model.forward_features(images).numpy(), rtol=0, atol=1e-5)


def test_a_form_holds_the_constants_of_its_family_and_no_others() -> None:
    for spec in list(SPECS.values())[:8]:
        state = seeded_state(parameter_shapes(build_model(spec)), 5)
        wanted = constants(spec, state)
        held = {tensor.name: tensor.numpy() for _, tensor in export_form(spec, wanted).named_buffers()}
        assert held.keys() == wanted.keys()
        assert all(np.array_equal(held[name], wanted[name]) for name in held)


def test_an_architecture_of_no_family_has_no_form() -> None:
    class Other(Architecture):
        num_features, size_multiple = 1, 1

    with pytest.raises(RegistryError, match="no model family has the architecture Other"):
        export_form(ModelSpec(Other(), 1, 1), {})


def test_queries_and_keys_however_short_are_normalised() -> None:
    """Their cosine does not depend on their length, down to the textbook's 1e-12."""
    spec = SPECS["swinv2 two by two windows"]
    model = build_model(spec)
    state = seeded_state(parameter_shapes(model), 5)
    for name, value in state.items():
        if name.endswith("qkv.weight"):
            value[:, : value.shape[1] // 3 * 2] *= np.float32(1e-6)  # of the queries and keys
        elif name.endswith("q_bias"):
            value *= np.float32(1e-6)
    load_state(model, state)
    form = export_form(spec, constants(spec, state))
    form.eval()
    images = paddle.to_tensor(seeded_images(spec.image_size, 2, 0))
    with paddle.no_grad():
        np.testing.assert_allclose(form(images)[0].numpy(), model(images).numpy(), rtol=0, atol=1e-5)


def test_of_the_shift_mask_each_kind_of_window_is_stored_once() -> None:
    """Inner windows, right edge, bottom edge, corner: in a stage of 64 windows, 4 masks and not 64."""
    form = seeded_form("swinv2 shifts in three stages")
    shifted = [step.attn for step in form.steps if getattr(getattr(step, "attn", None), "shifted", False)]
    assert [(attn.windows, attn.shift_mask.shape[0]) for attn in shifted] == [(64, 4), (16, 4), (4, 4)]
    assert [sorted(set(attn.shift_mask_kind.numpy().tolist())) for attn in shifted[:2]] == [[0, 1, 2, 3]] * 2


def test_a_stream_is_gathered_only_where_its_order_changes() -> None:
    form = seeded_form("swinv2 one window")
    assert not any(getattr(step, "reorders", False) for step in form.steps[1:])


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
