"""Paddle, timm and transformers name and lay out the same weights differently; conversion recovers them exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

from onnxzoo.errors import CheckpointError
from onnxzoo.families import Architecture
from onnxzoo.families.pvt_v2.architecture import PvtV2Architecture
from onnxzoo.families.swinv2.architecture import SwinV2Architecture
from onnxzoo.weights.naming import buffers, from_paddle, to_paddle, without_prefix

State = dict[str, np.ndarray[Any, Any]]

SWIN = SwinV2Architecture(
    patch_size=4,
    embed_dim=4,
    depths=(2, 1),
    num_heads=(1, 2),
    window_size=2,
    pretrained_window_sizes=(0, 0),
    mlp_ratio=4.0,
    drop_path_rate=0.0,
)
PVT = PvtV2Architecture(
    embed_dims=(4, 8),
    depths=(2, 1),
    num_heads=(1, 2),
    sr_ratios=(2, 1),
    mlp_ratios=(4.0, 4.0),
    linear=False,
    drop_path_rate=0.0,
)


def filled(shapes: dict[str, tuple[int, ...]]) -> State:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}


def both(prefix: str, *shape: int) -> dict[str, tuple[int, ...]]:
    """A layer's weight, and a bias as long as the last axis."""
    return {f"{prefix}.weight": shape, f"{prefix}.bias": shape[-1:]}


def swin_state() -> State:
    shapes = {"patch_embed.proj.weight": (4, 3, 4, 4), "patch_embed.proj.bias": (4,), **both("patch_embed.norm", 4)}
    for stage, (depth, dim, heads) in enumerate(((2, 4, 1), (1, 8, 2))):
        for block in range(depth):
            b = f"layers.{stage}.blocks.{block}"
            shapes |= {
                f"{b}.attn.logit_scale": (heads, 1, 1),
                f"{b}.attn.q_bias": (dim,),
                f"{b}.attn.v_bias": (dim,),
                **both(f"{b}.attn.cpb_mlp.0", 2, 512),
                f"{b}.attn.cpb_mlp.2.weight": (512, heads),
                f"{b}.attn.qkv.weight": (dim, 3 * dim),
                **both(f"{b}.attn.proj", dim, dim),
                **both(f"{b}.norm1", dim),
                **both(f"{b}.norm2", dim),
                **both(f"{b}.mlp.fc1", dim, 4 * dim),
                **both(f"{b}.mlp.fc2", 4 * dim, dim),
            }
    shapes |= {"layers.0.downsample.reduction.weight": (16, 8), **both("layers.0.downsample.norm", 8)}
    return filled({**shapes, **both("norm", 8), **both("head", 8, 5)})


def pvt_state() -> State:
    shapes: dict[str, tuple[int, ...]] = {}
    for stage, (depth, dim, channels) in enumerate(((2, 4, 3), (1, 8, 4)), start=1):
        shapes |= {f"patch_embed{stage}.proj.weight": (dim, channels, 3, 3), f"patch_embed{stage}.proj.bias": (dim,)}
        shapes |= both(f"patch_embed{stage}.norm", dim)
        for block in range(depth):
            b = f"block{stage}.{block}"
            shapes |= {**both(f"{b}.norm1", dim), **both(f"{b}.norm2", dim)}
            shapes |= {**both(f"{b}.attn.q", dim, dim), **both(f"{b}.attn.kv", dim, 2 * dim)}
            shapes |= {**both(f"{b}.attn.proj", dim, dim)}
            shapes |= {**both(f"{b}.mlp.fc1", dim, 4 * dim), **both(f"{b}.mlp.fc2", 4 * dim, dim)}
            shapes |= {f"{b}.mlp.dwconv.dwconv.weight": (4 * dim, 1, 3, 3), f"{b}.mlp.dwconv.dwconv.bias": (4 * dim,)}
            if stage == 1:
                shapes |= {f"{b}.attn.sr.weight": (dim, dim, 2, 2), f"{b}.attn.sr.bias": (dim,)}
                shapes |= both(f"{b}.attn.norm", dim)
        shapes |= both(f"norm{stage}", dim)
    return filled({**shapes, **both("head", 8, 5)})


def transposed(state: State) -> State:
    return {name: array.T if array.ndim == 2 else array for name, array in state.items()}


# The other namings, written out by hand from timm's and transformers' sources.


def swin_timm() -> State:
    state = transposed(swin_state())
    for part in ("reduction.weight", "norm.weight", "norm.bias"):
        state[f"layers.1.downsample.{part}"] = state.pop(f"layers.0.downsample.{part}")
    for part in ("weight", "bias"):
        state[f"head.fc.{part}"] = state.pop(f"head.{part}")
    return state


def swin_transformers() -> State:
    state = swin_state()
    result: State = {}
    for part in ("weight", "bias"):
        result[f"swinv2.embeddings.patch_embeddings.projection.{part}"] = state[f"patch_embed.proj.{part}"]
        result[f"swinv2.embeddings.norm.{part}"] = state[f"patch_embed.norm.{part}"]
        result[f"swinv2.encoder.layers.0.downsample.norm.{part}"] = state[f"layers.0.downsample.norm.{part}"]
        result[f"swinv2.layernorm.{part}"] = state[f"norm.{part}"]
        result[f"classifier.{part}"] = state[f"head.{part}"]
    result["swinv2.encoder.layers.0.downsample.reduction.weight"] = state["layers.0.downsample.reduction.weight"]
    for stage, block, dim in ((0, 0, 4), (0, 1, 4), (1, 0, 8)):
        old, new = f"layers.{stage}.blocks.{block}", f"swinv2.encoder.layers.{stage}.blocks.{block}"
        for part in ("weight", "bias"):
            result[f"{new}.attention.output.dense.{part}"] = state[f"{old}.attn.proj.{part}"]
            result[f"{new}.intermediate.dense.{part}"] = state[f"{old}.mlp.fc1.{part}"]
            result[f"{new}.output.dense.{part}"] = state[f"{old}.mlp.fc2.{part}"]
            result[f"{new}.layernorm_before.{part}"] = state[f"{old}.norm1.{part}"]
            result[f"{new}.layernorm_after.{part}"] = state[f"{old}.norm2.{part}"]
        attention = f"{new}.attention.self"
        result[f"{attention}.logit_scale"] = state[f"{old}.attn.logit_scale"]
        for part in ("0.weight", "0.bias", "2.weight"):
            result[f"{attention}.continuous_position_bias_mlp.{part}"] = state[f"{old}.attn.cpb_mlp.{part}"]
        qkv = state[f"{old}.attn.qkv.weight"]
        result[f"{attention}.query.weight"] = qkv[:, :dim]
        result[f"{attention}.query.bias"] = state[f"{old}.attn.q_bias"]
        result[f"{attention}.key.weight"] = qkv[:, dim : 2 * dim]
        result[f"{attention}.value.weight"] = qkv[:, 2 * dim :]
        result[f"{attention}.value.bias"] = state[f"{old}.attn.v_bias"]
    return transposed(result)


def pvt_timm() -> State:
    names = {
        "patch_embed1": "patch_embed",
        "patch_embed2": "stages.1.downsample",
        "block1": "stages.0.blocks",
        "block2": "stages.1.blocks",
        "norm1": "stages.0.norm",
        "norm2": "stages.1.norm",
    }
    result = {}
    for name, array in transposed(pvt_state()).items():
        first, rest = name.split(".", 1)
        result[f"{names.get(first, first)}.{rest}".replace("dwconv.dwconv", "dwconv")] = array
    return result


def pvt_transformers() -> State:
    state = pvt_state()
    result: State = {}
    for part in ("weight", "bias"):
        for stage in (0, 1):
            new = f"pvt_v2.encoder.layers.{stage}"
            result[f"{new}.patch_embedding.proj.{part}"] = state[f"patch_embed{stage + 1}.proj.{part}"]
            result[f"{new}.patch_embedding.layer_norm.{part}"] = state[f"patch_embed{stage + 1}.norm.{part}"]
            result[f"{new}.layer_norm.{part}"] = state[f"norm{stage + 1}.{part}"]
        result[f"classifier.{part}"] = state[f"head.{part}"]
        for stage, block, dim in ((0, 0, 4), (0, 1, 4), (1, 0, 8)):
            old, new = f"block{stage + 1}.{block}", f"pvt_v2.encoder.layers.{stage}.blocks.{block}"
            result[f"{new}.layer_norm_1.{part}"] = state[f"{old}.norm1.{part}"]
            result[f"{new}.layer_norm_2.{part}"] = state[f"{old}.norm2.{part}"]
            result[f"{new}.attention.query.{part}"] = state[f"{old}.attn.q.{part}"]
            result[f"{new}.attention.key.{part}"] = state[f"{old}.attn.kv.{part}"][..., :dim]
            result[f"{new}.attention.value.{part}"] = state[f"{old}.attn.kv.{part}"][..., dim:]
            result[f"{new}.attention.proj.{part}"] = state[f"{old}.attn.proj.{part}"]
            if stage == 0:
                result[f"{new}.attention.spatial_reduction.{part}"] = state[f"{old}.attn.sr.{part}"]
                result[f"{new}.attention.layer_norm.{part}"] = state[f"{old}.attn.norm.{part}"]
            result[f"{new}.mlp.dense1.{part}"] = state[f"{old}.mlp.fc1.{part}"]
            result[f"{new}.mlp.dwconv.dwconv.{part}"] = state[f"{old}.mlp.dwconv.dwconv.{part}"]
            result[f"{new}.mlp.dense2.{part}"] = state[f"{old}.mlp.fc2.{part}"]
    return transposed(result)


CASES: list[tuple[str, Architecture, State, State, str]] = [
    ("swinv2", SWIN, swin_state(), swin_state(), "paddle"),
    ("swinv2", SWIN, swin_timm(), swin_state(), "timm"),
    ("swinv2", SWIN, transposed(swin_state()), swin_state(), "timm"),  # the authors' names
    ("swinv2", SWIN, swin_transformers(), swin_state(), "transformers"),
    ("pvt_v2", PVT, pvt_state(), pvt_state(), "paddle"),
    ("pvt_v2", PVT, pvt_timm(), pvt_state(), "timm"),
    ("pvt_v2", PVT, transposed(pvt_state()), pvt_state(), "timm"),
    ("pvt_v2", PVT, pvt_transformers(), pvt_state(), "transformers"),
]


@pytest.mark.parametrize(("family", "architecture", "given", "expected", "naming"), CASES)
def test_every_naming_becomes_paddles_exactly(
    family: str, architecture: Architecture, given: State, expected: State, naming: str
) -> None:
    state, found = to_paddle(given, family, architecture)
    assert found == naming
    assert set(state) == set(expected)
    for name, array in state.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
        assert array.dtype == expected[name].dtype


@pytest.mark.parametrize(
    ("family", "given", "expected", "naming"),
    [
        ("swinv2", swin_state(), swin_timm(), "timm"),
        ("swinv2", swin_state(), swin_transformers(), "transformers"),
        ("pvt_v2", pvt_state(), pvt_timm(), "timm"),
        ("pvt_v2", pvt_state(), pvt_transformers(), "transformers"),
    ],
)
def test_paddles_names_become_every_naming_exactly(
    family: str, given: State, expected: State, naming: Literal["timm", "transformers"]
) -> None:
    state = from_paddle(given, family, naming)
    assert set(state) == set(expected)
    for name, array in state.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_buffers_are_left_out_and_found_under_paddles_names() -> None:
    table = np.zeros((1, 3, 3, 2), np.float32)
    paddle = {
        **swin_state(),
        "layers.0.blocks.1.attn_mask": table,
        "layers.0.blocks.0.attn.relative_coords_table": table,
    }
    timm = {**swin_timm(), "layers.0.blocks.0.attn.k_bias": np.zeros(4)}
    transformers = {
        **swin_transformers(),
        "swinv2.encoder.layers.0.blocks.0.attention.self.relative_coords_table": table,
        "swinv2.encoder.layers.0.blocks.0.attention.self.relative_position_index": np.zeros((4, 4), np.int64),
    }
    for given in (paddle, timm, transformers):
        assert set(to_paddle(given, "swinv2", SWIN)[0]) == set(swin_state())
    assert set(buffers(paddle, "swinv2", SWIN)) == {
        "layers.0.blocks.1.attn_mask",
        "layers.0.blocks.0.attn.relative_coords_table",
    }
    assert "layers.0.blocks.0.attn.relative_coords_table" in buffers(transformers, "swinv2", SWIN)


def test_names_that_are_unknown_are_kept_for_the_model_to_report() -> None:
    state, _ = to_paddle({**swin_state(), "something.else": np.zeros(3)}, "swinv2", SWIN)
    assert "something.else" in state


def test_the_other_family_is_named() -> None:
    with pytest.raises(CheckpointError, match="the weights are of pvt_v2, expected swinv2"):
        to_paddle(pvt_transformers(), "swinv2", SWIN)
    with pytest.raises(CheckpointError, match="the weights are of swinv2, expected pvt_v2"):
        to_paddle(swin_timm(), "pvt_v2", PVT)


@pytest.mark.parametrize("names", [(), ("conv1.weight",), ("layers.0.blocks.0.attn.relative_position_bias_table",)])
def test_names_of_no_known_model_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(CheckpointError, match="do not have the names of swinv2"):
        to_paddle({name: np.zeros(1) for name in names}, "swinv2", SWIN)


def test_mixed_namings_and_layouts_are_refused() -> None:
    with pytest.raises(CheckpointError, match="mix the names of paddle and transformers"):
        to_paddle({**swin_state(), **swin_transformers()}, "swinv2", SWIN)
    mixed = swin_state()
    mixed["head.weight"] = mixed["head.weight"].T
    with pytest.raises(CheckpointError, match="two layouts"):
        to_paddle(mixed, "swinv2", SWIN)


def test_two_names_for_one_parameter_are_refused() -> None:
    twice = {**swin_timm(), "head.weight": np.zeros((8, 5))}
    with pytest.raises(CheckpointError, match=r"hold 'head.weight' twice"):
        to_paddle(twice, "swinv2", SWIN)


def test_incomplete_or_unequal_parts_of_an_attention_are_refused() -> None:
    lacking = swin_transformers()
    del lacking["swinv2.encoder.layers.0.blocks.0.attention.self.key.weight"]
    with pytest.raises(CheckpointError, match=r"lack layers\.0\.blocks\.0\.attn\.key\.weight"):
        to_paddle(lacking, "swinv2", SWIN)
    unequal = pvt_transformers()
    unequal["pvt_v2.encoder.layers.0.blocks.0.attention.key.bias"] = np.zeros(3)
    with pytest.raises(CheckpointError, match="differ in shape"):
        to_paddle(unequal, "pvt_v2", PVT)


NAMINGS = (swin_state, swin_timm, swin_transformers, pvt_state, pvt_timm, pvt_transformers)


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_layers.",
        "model.",
        "backbone.",
        "Student.",
        "_orig_mod.",
        "module._orig_mod.model.",
        "layers.",
        "head.",
    ],
)
@pytest.mark.parametrize("make", NAMINGS, ids=lambda make: make.__name__)
def test_what_all_names_begin_with_is_left_out(make: Callable[[], State], prefix: str) -> None:
    state = make()
    stripped, found = without_prefix({prefix + name: array for name, array in state.items()})
    assert found == prefix
    assert list(stripped) == list(state)
    assert all(stripped[name] is array for name, array in state.items())


@pytest.mark.parametrize("make", NAMINGS, ids=lambda make: make.__name__)
def test_names_without_a_prefix_stay(make: Callable[[], State]) -> None:
    state = make()
    assert without_prefix(state) == (state, "")
    inside = {name: array for name, array in state.items() if "blocks.0.attn" in name or "block1.0.attn" in name}
    assert without_prefix(inside) == (inside, "")


@pytest.mark.parametrize(
    "names",
    [
        (),
        ("model.conv1.weight", "model.fc.weight"),
        ("Student.layers.0.blocks.0.attn.logit_scale", "Teacher.layers.0.blocks.0.attn.logit_scale"),
        ("module.layers.0.blocks.0.attn.logit_scale", "head.weight"),
        ("a." * 9 + "layers.0.blocks.0.attn.logit_scale",),
        ("modulelayers.0.blocks.0.attn.logit_scale",),
        (".",),
        ("",),
    ],
)
def test_what_no_prefix_explains_stays(names: tuple[str, ...]) -> None:
    state = {name: np.zeros(1, np.float32) for name in names}
    assert without_prefix(state) == (state, "")
