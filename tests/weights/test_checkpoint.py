"""A checkpoint file of any kind becomes Paddle's names, [in, out] and float32, with its window, size and classes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_naming import PVT, SWIN, pvt_timm, swin_state, swin_timm, swin_transformers

from onnxzoo.errors import CheckpointError
from onnxzoo.families import Architecture
from onnxzoo.registry import ModelEntry, models
from onnxzoo.strict_json import parse_json
from onnxzoo.weights import safetensors_file
from onnxzoo.weights.checkpoint import Checkpoint, read_checkpoint
from onnxzoo.weights.state import checked_state

State = dict[str, Any]


def entry(family: str, architecture: Architecture, image_size: int) -> ModelEntry:
    known = models()["pvt_v2_b0"]
    preprocess = dataclasses.replace(known.preprocess, resize_size=image_size, crop_size=image_size)
    return dataclasses.replace(
        known, family=family, architecture=architecture, image_size=image_size, preprocess=preprocess
    )


SWIN_ENTRY = entry("swinv2", SWIN, 32)
"""Maps of 8 and 4 tokens, windows of 2."""


def pdparams(tmp_path: Path, state: State) -> Path:
    path = tmp_path / "model.pdparams"
    path.write_bytes(pickle.dumps(state))
    return path


def safetensors(tmp_path: Path, state: State, name: str = "model.safetensors") -> Path:
    """Written by hand, so that it can hold bfloat16 (given as uint16 bits) and be broken."""
    kinds = {"float32": "F32", "float16": "F16", "float64": "F64", "uint16": "BF16", "int64": "I64"}
    header, data = {}, b""
    for key, array in state.items():
        raw = np.ascontiguousarray(array).tobytes()
        header[key] = {
            "dtype": kinds[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    path = tmp_path / name
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def holds(checkpoint: Checkpoint, expected: State, tolerance: float = 0.0) -> bool:
    state = checkpoint.state
    return set(state) == set(expected) and all(
        state[k].dtype == np.float32 and np.allclose(state[k], expected[k], rtol=tolerance, atol=0) for k in expected
    )


def test_a_pdparams_file(tmp_path: Path) -> None:
    path = pdparams(tmp_path, {**swin_state(), "StructuredToParameterName@@": {}})
    checkpoint = read_checkpoint(path, SWIN_ENTRY)
    assert holds(checkpoint, swin_state())
    assert checkpoint.naming == "paddle"
    assert checkpoint.num_classes == 5
    assert (checkpoint.architecture, checkpoint.image_size) == (SWIN, 32)
    assert checkpoint.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checkpoint.bytes == path.stat().st_size
    assert checkpoint.path == path


def test_a_common_prefix_is_left_out_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    wrapped = {
        f"module._orig_mod.{name}": array for name, array in (swin_state() | table(0, 4) | mask(0, 8, 4)).items()
    }
    with caplog.at_level("INFO", logger="onnxzoo"):
        checkpoint = read_checkpoint(pdparams(tmp_path, wrapped), SWIN_ENTRY)
    assert holds(checkpoint, swin_state())
    assert checkpoint.prefix == "module._orig_mod."
    assert checkpoint.architecture == dataclasses.replace(SWIN, window_size=4), "of buffers behind the prefix"
    assert [one.getMessage() for one in caplog.records] == [
        f"{checkpoint.path}: all names begin with 'module._orig_mod.', which is left out"
    ]
    caplog.clear()
    assert read_checkpoint(pdparams(tmp_path, swin_state()), SWIN_ENTRY).prefix == ""
    assert not caplog.records


def test_bfloat16_in_a_pdparams_file_comes_as_uint16(tmp_path: Path) -> None:
    bits = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in swin_state().items()}
    checkpoint = read_checkpoint(pdparams(tmp_path, bits), SWIN_ENTRY)
    assert holds(checkpoint, swin_state(), tolerance=2**-7)


class TestSafetensors:
    @pytest.mark.parametrize("name", ["model.safetensors", "misnamed.pdparams", "no-suffix"])
    def test_timm(self, tmp_path: Path, name: str) -> None:
        checkpoint = read_checkpoint(safetensors(tmp_path, swin_timm(), name), SWIN_ENTRY)
        assert holds(checkpoint, swin_state())
        assert checkpoint.naming == "timm"

    def test_transformers(self, tmp_path: Path) -> None:
        index = {"swinv2.encoder.layers.0.blocks.0.attention.self.relative_position_index": np.zeros((4, 4), np.int64)}
        checkpoint = read_checkpoint(safetensors(tmp_path, {**swin_transformers(), **index}), SWIN_ENTRY)
        assert holds(checkpoint, swin_state())
        assert checkpoint.naming == "transformers"

    def test_float16_and_bfloat16_become_float32(self, tmp_path: Path) -> None:
        half = {name: array.astype(np.float16) for name, array in swin_timm().items()}
        assert holds(read_checkpoint(safetensors(tmp_path, half), SWIN_ENTRY), swin_state(), tolerance=2**-9)
        bits = {n: (np.ascontiguousarray(a).view(np.uint32) >> 16).astype(np.uint16) for n, a in swin_timm().items()}
        assert holds(read_checkpoint(safetensors(tmp_path, bits), SWIN_ENTRY), swin_state(), tolerance=2**-7)

    def test_truncated_files_are_refused(self, tmp_path: Path) -> None:
        path = safetensors(tmp_path, swin_timm())
        whole = path.read_bytes()
        for part in range(20):
            path.write_bytes(whole[: len(whole) * part // 20])
            with pytest.raises(CheckpointError) as caught:
                read_checkpoint(path, SWIN_ENTRY)
            assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("garbage", [b"hello world, this is text", b"\xff" * 100, b"PK\x03\x04zip", b"<html>"])
    def test_garbage_is_refused(self, tmp_path: Path, garbage: bytes) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(garbage)
        with pytest.raises(CheckpointError):
            read_checkpoint(path, SWIN_ENTRY)

    def test_integers_are_refused(self, tmp_path: Path) -> None:
        path = safetensors(tmp_path, {**swin_timm(), "norm.weight": np.zeros(8, np.int64)})
        with pytest.raises(CheckpointError, match=r"norm\.weight \(I64\)"):
            read_checkpoint(path, SWIN_ENTRY)

    def test_the_package_is_not_needed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "safetensors", None)
        assert holds(read_checkpoint(safetensors(tmp_path, swin_timm()), SWIN_ENTRY), swin_state())

    def test_files_that_the_package_writes(self, tmp_path: Path) -> None:
        package = pytest.importorskip("safetensors.numpy", reason="writes the file")
        state = {name: np.ascontiguousarray(array) for name, array in swin_timm().items()}
        package.save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
        assert holds(read_checkpoint(tmp_path / "model.safetensors", SWIN_ENTRY), swin_state())

    def test_the_header_is_parsed_once(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file of 2,000 bfloat16 tensors took 24 s: its header was parsed for each."""
        parsed = []
        monkeypatch.setattr(safetensors_file, "parse_json", lambda data: parsed.append(len(data)) or parse_json(data))
        many = {f"n{number}": np.zeros(0, np.uint16) for number in range(2000)}
        with pytest.raises(CheckpointError, match="do not have the names of swinv2"):
            read_checkpoint(safetensors(tmp_path, many), SWIN_ENTRY)
        assert len(parsed) == 1

    @pytest.mark.parametrize(
        ("entry", "reason"),
        [
            ({"data_offsets": [0, 8]}, "overlaps"),
            ({"data_offsets": [9, 17]}, "gap"),
            ({"data_offsets": [8, 24]}, "should take 8 bytes and has 16"),
            ({"data_offsets": [8, 0]}, "should take 8 bytes and has -8"),
            ({"data_offsets": [-8, 0]}, "has an invalid shape or invalid offsets"),
            ({"data_offsets": [8.0, 16.0]}, "has an invalid shape or invalid offsets"),
            ({"data_offsets": [8]}, "should have dtype, shape and data_offsets"),
            ({"shape": [3]}, "should take 12 bytes"),
            ({"shape": [-2]}, "has an invalid shape or invalid offsets"),
            ({"shape": [True, 2]}, "has an invalid shape or invalid offsets"),
            ({"shape": [2] + [1] * 8}, "has an invalid shape or invalid offsets"),
            ({"shape": [0, 10**30, 10**30], "data_offsets": [8, 8]}, "not a valid safetensors file"),
            ({"shape": "2"}, "should have dtype, shape and data_offsets"),
            ({"dtype": "F128"}, "unknown element type 'F128'"),
            ({"dtype": ["F32"]}, "should have dtype, shape and data_offsets"),
            ({"more": 1}, "should have dtype, shape and data_offsets"),
            (7, "should have dtype, shape and data_offsets"),
        ],
    )
    def test_a_header_that_lies_is_refused(self, tmp_path: Path, entry: Any, reason: str) -> None:
        good = {"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}
        header = {"a": {**good, "data_offsets": [0, 8]}, "b": {**good, **entry} if isinstance(entry, dict) else entry}
        said = self.refusal(tmp_path, json.dumps(header).encode(), bytes(16))
        assert reason in said

    @pytest.mark.parametrize(
        ("header", "reason"),
        [
            (b"{" + b'"a":[' * 100_000, "nested more than"),
            (b'{"a":NaN}', "NaN is not JSON"),
            (b'{"a":' + b"1" * 5000 + b"}", "a whole number has 5000 digits"),
            (b'{"a":1e999}', "too large"),
            (b'{"a":1,"a":1}', "the key 'a' occurs twice in one object"),
            (b'{"\ud800":1}', "half of a surrogate pair"),
            (b'{"\xff":1}', "not UTF-8"),
            (b"{}" + b" " * 9_000_000, "expected up to 8388608"),
        ],
    )
    def test_a_header_that_is_not_plain_json_is_refused(self, tmp_path: Path, header: bytes, reason: str) -> None:
        assert reason in self.refusal(tmp_path, header, b"")

    def refusal(self, tmp_path: Path, header: bytes, data: bytes) -> str:
        path = tmp_path / "model.safetensors"
        path.write_bytes(struct.pack("<Q", len(header)) + header + data)
        with pytest.raises(CheckpointError) as caught:
            read_checkpoint(path, SWIN_ENTRY)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)
        return str(caught.value)


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"head.weight": None}, "no classification head"),
            ({"head.bias": np.zeros(4, np.float32)}, "do not match; expected"),
            ({"norm.bias": np.full(8, np.nan, np.float32)}, "'norm.bias' holds NaN"),
            ({"norm.bias": np.full(8, 1e300)}, "infinite"),
            ({"norm.bias": np.zeros(8, np.int32)}, "int32, expected floating-point"),
        ],
    )
    def test_weights_that_cannot_be_used(self, tmp_path: Path, change: State, reason: str) -> None:
        state = {name: array for name, array in {**swin_state(), **change}.items() if array is not None}
        with pytest.raises(CheckpointError, match=reason) as caught:
            read_checkpoint(pdparams(tmp_path, state), SWIN_ENTRY)
        assert "model.pdparams" in str(caught.value)

    def test_the_other_family(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match="the weights are of pvt_v2"):
            read_checkpoint(pdparams(tmp_path, pvt_timm()), SWIN_ENTRY)

    def test_a_folder_and_a_missing_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.pdparams")
        for path in (tmp_path, tmp_path / "absent.safetensors", tmp_path / "pipe.pdparams"):
            with pytest.raises(CheckpointError, match="cannot be read"):
                read_checkpoint(path, SWIN_ENTRY)


def table(stage: int, window: int) -> State:
    side = 2 * window - 1
    return {f"layers.{stage}.blocks.0.attn.relative_coords_table": np.zeros((1, side, side, 2), np.float32)}


def mask(stage: int, side: int, window: int) -> State:
    shape = ((side // window) ** 2, window**2, window**2)
    return {f"layers.{stage}.blocks.1.attn_mask": np.zeros(shape, np.float32)}


class TestWindowAndImageSize:
    @pytest.mark.parametrize(
        ("buffers", "window", "image_size"),
        [
            ({}, 2, 32),
            (table(0, 2) | mask(0, 8, 2) | table(1, 2), 2, 32),  # the entry's own
            (table(0, 4) | mask(0, 8, 4), 4, 32),  # another window
            (table(0, 2) | mask(0, 16, 2), 2, 64),  # another image size
            (mask(0, 16, 4), 4, 64),  # both, from the mask alone
            (table(0, 4), 4, 32),  # no masks, as transformers writes: the entry's image size
            (table(0, 8) | table(1, 4), 8, 32),  # windows that cover their maps have no masks
            (table(0, 16) | table(1, 8), 16, 64),  # a smaller window is its whole map
            (table(0, 6) | mask(0, 12, 6) | table(1, 6), 6, 48),
        ],
    )
    def test_are_read_from_the_shapes_of_buffers(
        self, tmp_path: Path, buffers: State, window: int, image_size: int
    ) -> None:
        checkpoint = read_checkpoint(pdparams(tmp_path, swin_state() | buffers), SWIN_ENTRY)
        assert checkpoint.architecture == dataclasses.replace(SWIN, window_size=window)
        assert checkpoint.image_size == image_size
        assert holds(checkpoint, swin_state())

    @pytest.mark.parametrize(
        "buffers",
        [
            table(0, 4) | mask(0, 8, 2),
            table(0, 2) | table(1, 4),
            mask(0, 8, 2) | mask(1, 8, 2),
            table(0, 16),  # larger than the map, and nothing tells the image size
            table(1, 3),
            {"layers.0.blocks.0.attn.relative_coords_table": np.zeros((1, 3, 5, 2), np.float32)},
            {"layers.0.blocks.0.attn.relative_coords_table": np.zeros(3, np.float32)},
            {"layers.0.blocks.1.attn_mask": np.zeros((3, 4, 4), np.float32)},
            {"layers.0.blocks.1.attn_mask": np.zeros((0, 4, 4), np.float32)},
            table(0, 2) | {"layers.0.blocks.1.attn.relative_coords_table": np.zeros((1, 5, 5, 2), np.float32)},
        ],
    )
    def test_that_contradict_each_other_are_refused(self, tmp_path: Path, buffers: State) -> None:
        with pytest.raises(CheckpointError, match="contradict"):
            read_checkpoint(pdparams(tmp_path, swin_state() | buffers), SWIN_ENTRY)

    def test_of_the_registry_follow_their_buffers(self, tmp_path: Path) -> None:
        """SwinV2-T: the buffers of its window 16 explain that entry, and turn the window 8 entry into it."""
        buffers = table(0, 16) | mask(0, 64, 16) | table(1, 16) | mask(1, 32, 16) | table(2, 16) | table(3, 8)
        for name in ("swinv2_tiny_w8", "swinv2_tiny_w16"):
            checkpoint = read_checkpoint(pdparams(tmp_path, swin_state() | buffers), models()[name])
            assert checkpoint.architecture == models()["swinv2_tiny_w16"].architecture
            assert checkpoint.image_size == 256

    def test_of_pvt_v2_are_the_entrys(self, tmp_path: Path) -> None:
        checkpoint = read_checkpoint(pdparams(tmp_path, pvt_timm()), entry("pvt_v2", PVT, 32))
        assert (checkpoint.architecture, checkpoint.image_size, checkpoint.naming) == (PVT, 32, "timm")


# What is wrong with a file is said of the file


def test_fp8_is_named_and_not_called_damage(tmp_path: Path) -> None:
    path = safetensors(tmp_path, {"a": np.zeros(4, np.uint16)})
    path.write_bytes(path.read_bytes().replace(b'"BF16"', b'"F8_E"'))
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, SWIN_ENTRY)
    assert "unknown element type 'F8_E', expected BF16, F16, F32, F64; save the weights in one of these" in str(
        caught.value
    )
    assert "truncated" not in str(caught.value)


def test_bytes_behind_the_tensors_are_named_and_not_called_truncation(tmp_path: Path) -> None:
    path = safetensors(tmp_path, swin_timm())
    path.write_bytes(path.read_bytes() + b"x" * 12)
    with pytest.raises(CheckpointError, match="12 bytes were appended after its last tensor") as caught:
        read_checkpoint(path, SWIN_ENTRY)
    assert "truncated" not in str(caught.value)


def test_two_models_in_one_file_are_reported(tmp_path: Path) -> None:
    both = {f"{part}.{name}": array for part in ("Student", "Teacher") for name, array in swin_state().items()}
    path = pdparams(tmp_path, both)
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path, SWIN_ENTRY)
    message = str(caught.value)
    assert message.startswith(f"{path}: the weights' names have different prefixes: 'Student.' (")
    assert "'Teacher.' (" in message
    assert "keep those of one model" in message


def test_a_prefix_of_only_some_names_is_reported(tmp_path: Path) -> None:
    state = {f"module.{name}" if index % 2 else name: array for index, (name, array) in enumerate(swin_state().items())}
    with pytest.raises(CheckpointError, match=r"different prefixes: (nothing|'module\.') \(\d+\), "):
        read_checkpoint(pdparams(tmp_path, state), SWIN_ENTRY)


def test_weights_with_prefixed_names_are_reported() -> None:
    shapes = {"a.weight": (2,), "a.bias": (2,), "b.weight": (3,)}
    state = {name if name.startswith("b") else f"_layers.x.{name}": np.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(
        CheckpointError, match=r"2 of the missing ones are present with the prefix '_layers\.x\.'; remove it"
    ):
        checked_state(shapes, state)
    with pytest.raises(CheckpointError) as caught:
        checked_state(shapes, {"a.weight": np.zeros(2)})
    assert str(caught.value) == "the weights do not fit the model: missing: a.bias, b.weight"


def test_what_a_model_says_of_the_weights_names_the_file(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(pdparams(tmp_path, swin_state()), SWIN_ENTRY)
    with (
        pytest.raises(CheckpointError, match=rf"^{checkpoint.path}: the weights do not fit the model: missing: b$"),
        checkpoint.named(),
    ):
        checked_state({**{name: array.shape for name, array in checkpoint.state.items()}, "b": (1,)}, checkpoint.state)
