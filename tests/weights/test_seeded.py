"""Seeded weights: the same on every machine, whatever the order, and not degenerate."""

from __future__ import annotations

import math
import zlib

import numpy as np

from onnxzoo.weights.seeded import seeded_images, seeded_state

SHAPES = {
    "patch_embed.proj.weight": (96, 3, 4, 4),
    "layers.0.blocks.0.attn.logit_scale": (64, 1, 1),
    "layers.0.blocks.0.attn.q_bias": (96,),
    "layers.0.blocks.0.norm1.weight": (96,),
    "head.weight": (768, 10),
}


def checksum(array: np.ndarray) -> int:
    # Rounded: log and sqrt may differ in the last bit between C libraries.
    return zlib.crc32(np.round(array.astype(np.float64) * 1e4).astype("<i4").tobytes())


def test_values_are_pinned() -> None:
    state = seeded_state(SHAPES, seed=1)
    assert {name: checksum(value) for name, value in state.items()} == {
        "patch_embed.proj.weight": 549692613,
        "layers.0.blocks.0.attn.logit_scale": 3257067675,
        "layers.0.blocks.0.attn.q_bias": 2409690150,
        "layers.0.blocks.0.norm1.weight": 4203112747,
        "head.weight": 524779741,
    }
    assert checksum(seeded_images(32, 2, seed=1)) == 666789655


def test_a_tensor_depends_on_its_name_and_the_seed_only() -> None:
    whole = seeded_state(SHAPES, seed=1)
    backwards = seeded_state(dict(reversed(SHAPES.items())), seed=1)
    alone = seeded_state({"head.weight": (768, 10)}, seed=1)
    other = seeded_state(SHAPES, seed=2)
    for name, value in whole.items():
        assert value.dtype == np.float32
        assert value.shape == SHAPES[name]
        np.testing.assert_array_equal(value, backwards[name])
        assert not np.array_equal(value, other[name])
    np.testing.assert_array_equal(alone["head.weight"], whole["head.weight"])


def test_some_heads_are_beyond_the_clip_and_most_are_not() -> None:
    scales = seeded_state({f"layers.{i}.logit_scale": (16, 1, 1) for i in range(20)}, seed=3)
    beyond = np.mean(np.concatenate([value.ravel() for value in scales.values()]) > math.log(100))
    assert 0.02 < beyond < 0.15


def test_norms_and_biases_are_away_from_their_initial_values() -> None:
    state = seeded_state(SHAPES, seed=1)
    assert np.abs(state["layers.0.blocks.0.norm1.weight"] - 1).max() > 0.3
    assert np.abs(state["layers.0.blocks.0.attn.q_bias"]).max() > 0.3


def test_images_are_noise_and_plain_in_turn() -> None:
    images = seeded_images(32, 3, seed=1)
    roughness = np.abs(np.diff(images, axis=-1)).mean(axis=(1, 2, 3))
    assert images.dtype == np.float32
    assert roughness[0] > 0.5
    assert roughness[1] < 0.1
    assert roughness[2] > 0.5
