"""What the families compute for exported graphs, against the definitions that the textbook models use."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

from onnxzoo.errors import InputError, RegistryError
from onnxzoo.families import FAMILIES, ModelSpec, constants, family_named, family_of
from onnxzoo.families.pvt_v2.constants import stages as pvt_stages
from onnxzoo.families.swinv2.constants import log_offsets, position_index, shift_masks, stages
from onnxzoo.registry import find, models


@pytest.mark.parametrize("window", [2, 3, 8])
def test_the_position_index_counts_offsets_row_by_row(window: int) -> None:
    tokens = list(itertools.product(range(window), repeat=2))
    expected = [
        (y - key_y + window - 1) * (2 * window - 1) + x - key_x + window - 1
        for (y, x), (key_y, key_x) in itertools.product(tokens, repeat=2)
    ]
    assert position_index(window).tolist() == expected


@pytest.mark.parametrize(("side", "window", "shift"), [(8, 4, 2), (9, 3, 1), (16, 4, 2), (4, 2, 1)])
def test_shifted_windows_mask_tokens_that_only_the_shift_brought_together(side: int, window: int, shift: int) -> None:
    masks, kinds = shift_masks(side, window, shift)
    count = side // window
    # Of the rolled map: where each token came from. Tokens belong together when neither axis wrapped between them.
    origin = (np.arange(side) + shift) % side
    for row, column in itertools.product(range(count), repeat=2):
        rows = origin[row * window : (row + 1) * window]
        columns = origin[column * window : (column + 1) * window]
        tokens = list(itertools.product(rows, columns))
        apart = [[abs(a - c) >= window or abs(b - d) >= window for c, d in tokens] for a, b in tokens]
        found = masks[kinds[row * count + column]][0]
        assert np.array_equal(found, np.where(apart, np.float32(-100), np.float32(0)))
    assert len(np.unique(masks, axis=0)) == len(masks) <= 4


def test_offsets_are_spaced_by_logarithms_and_normalised_by_the_trained_window() -> None:
    table = log_offsets(2, 2)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table[0], [-np.log2(9) / 3] * 2, rtol=1e-7)
    assert table[4].tolist() == [0, 0], "the middle is no offset"
    # Twice the trained window's largest offset: sign * log2(1 + 16) / 3.
    np.testing.assert_allclose(log_offsets(3, 2)[-1], [np.log2(17) / 3] * 2, rtol=1e-7)


def test_windows_are_no_larger_than_the_map_and_one_window_is_not_shifted() -> None:
    spec = ModelSpec(find("swinv2_small_w16").architecture, 256, 1000)
    found = [(stage.side, stage.window, stage.shift(1), stage.trained_window) for stage in stages(spec)]
    assert found == [(64, 16, 8, 16), (32, 16, 8, 16), (16, 16, 0, 16), (8, 8, 0, 8)]
    assert [stage.trained_window for stage in stages(ModelSpec(find("swinv2_base_w24").architecture, 384, 2))] == [
        12, 12, 12, 6,
    ]  # fmt: skip


def test_keys_and_values_come_from_a_smaller_map() -> None:
    spec = ModelSpec(find("pvt_v2_b0").architecture, 224, 1000)
    assert [(stage.side, stage.source_side, stage.pools) for stage in pvt_stages(spec)] == [
        (56, 7, False), (28, 7, False), (14, 7, False), (7, 7, False),
    ]  # fmt: skip
    linear = ModelSpec(find("pvt_v2_b2_linear").architecture, 224, 1000)
    assert [(stage.side, stage.source_side, stage.pools) for stage in pvt_stages(linear)] == [
        (56, 7, True), (28, 7, True), (14, 7, True), (7, 7, False),
    ]  # fmt: skip


def test_every_model_of_the_registry_has_a_family_that_the_table_knows() -> None:
    for entry in models().values():
        family = family_of(entry.architecture)
        assert (family.name, FAMILIES[entry.family]) == (entry.family, family)
        assert family.title
        assert family.citation.startswith("@")


def test_what_no_family_is_or_has_is_refused() -> None:
    with pytest.raises(RegistryError, match="unknown model family 'resnet'; known are swinv2, pvt_v2"):
        family_named("resnet")
    small = dataclasses.replace(find("pvt_v2_b0").architecture, depths=(1, 1, 1, 1))
    with pytest.raises(KeyError, match="patch_embed1"):
        constants(ModelSpec(small, 32, 2), {})
    with pytest.raises(InputError, match="positive multiple of 32"):
        ModelSpec(small, 33, 2)
