"""Packing artifacts with seeded weights: every byte comes back, on this machine or not at all."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from onnx import numpy_helper
from tiny import tiny_graph, write_artifact

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path[:0] = [str(BENCHMARKS)]

import gpu_pack
from gpu_pack import pack, unpack

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import ArtifactError
from onnxzoo.weights.seeded import seeded_state

SEED = 7
# A linear layer as it is; one that became a convolution; one scaled by the root of 1/32; a real 1x1 convolution.
SHAPES = {
    "block1.0.attn.kv.weight": (96, 192),
    "block1.0.mlp.fc1.weight": (96, 384),
    "block1.0.attn.q.weight": (96, 96),
    "block1.0.attn.sr.weight": (96, 96, 1, 1),
    "norm.weight": (300,),
}


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    """An artifact most of whose bytes are seeded weights, in every form that exports give them."""
    state = seeded_state(SHAPES, SEED)
    state["block1.0.mlp.fc1.weight"] = np.ascontiguousarray(state["block1.0.mlp.fc1.weight"].T)[..., None, None]
    scaled = state["block1.0.attn.q.weight"].astype(np.float64) * 32**-0.5
    state["block1.0.attn.q.weight"] = scaled.astype(np.float32)
    state["layers.0.position_bias"] = np.random.default_rng(0).standard_normal((1, 600)).astype(np.float32)
    state["tiny.bias"] = seeded_state({"tiny.bias": (10,)}, SEED)["tiny.bias"]
    model = tiny_graph()
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in state.items())
    return write_artifact(tmp_path / "seeded", model=model)


def test_every_byte_comes_back(seeded: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packs" / "tiny.zip"
    whole, small = pack(read_artifact(seeded), packed, SEED)
    assert whole == (seeded / "onnx" / "model.onnx").stat().st_size
    assert small == packed.stat().st_size < 0.05 * whole
    with zipfile.ZipFile(packed) as archive:
        recipe = json.loads(archive.read("recipe.json"))
    forms = {fill["name"]: (tuple(fill["shape"]), fill["transposed"], fill["divisor"]) for fill in recipe["fills"]}
    assert forms == {
        "block1.0.attn.kv.weight": ((96, 192), False, 1),
        "block1.0.mlp.fc1.weight": ((96, 384), True, 1),
        "block1.0.attn.q.weight": ((96, 96), False, 32),
        "block1.0.attn.sr.weight": ((96, 96, 1, 1), False, 1),
        "norm.weight": ((300,), False, 1),
    }
    artifact = unpack(packed, tmp_path / "again")
    artifact.verify()
    assert contents(artifact.folder) == contents(seeded)


def test_a_machine_whose_seed_gives_other_numbers_leaves_nothing(
    seeded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = tmp_path / "tiny.zip"
    pack(read_artifact(seeded), packed, SEED)

    def last_bit(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
        return {name: np.nextafter(value, np.float32(9)) for name, value in seeded_state(shapes, seed).items()}

    monkeypatch.setattr(gpu_pack, "seeded_state", last_bit)
    with pytest.raises(ArtifactError, match=r"model\.onnx was altered: its sha256 is"):
        unpack(packed, tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("damage", ["no zip", "cut skeleton", "no recipe"])
def test_a_damaged_pack_is_an_error_and_leaves_nothing(seeded: Path, tmp_path: Path, damage: str) -> None:
    packed, broken = tmp_path / "tiny.zip", tmp_path / "broken.zip"
    pack(read_artifact(seeded), packed, SEED)
    if damage == "no zip":
        broken.write_bytes(packed.read_bytes()[:1000])
    else:
        with zipfile.ZipFile(packed) as old, zipfile.ZipFile(broken, "w") as new:
            for name in old.namelist():
                cut = 100 if damage == "cut skeleton" and name.endswith(".skeleton") else None
                if damage != "no recipe" or name != "recipe.json":
                    new.writestr(name, old.read(name)[:cut])
    with pytest.raises(ArtifactError, match=r"is not a pack|pack the model again"):
        unpack(broken, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_weights_of_another_seed_are_not_packed(seeded: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"only 0 of \d+ bytes are seeded weights of seed 8"):
        pack(read_artifact(seeded), tmp_path / "tiny.zip", SEED + 1)
    assert not (tmp_path / "tiny.zip").exists()


def test_a_damaged_artifact_is_not_packed(seeded: Path, tmp_path: Path) -> None:
    (seeded / "onnx" / "model.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match="has 1 bytes"):
        pack(read_artifact(seeded), tmp_path / "tiny.zip", SEED)


def test_without_artifact_pack_and_paddle_it_says_what_to_bring(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_paddle(name: str, folder: Path) -> Path:
        raise SystemExit("exporting needs paddlepaddle")

    monkeypatch.setattr(gpu_pack, "exported", no_paddle)
    with pytest.raises(
        SystemExit, match=r"run 'gpu_pack\.py pack tiny', and bring tiny\.zip\): exporting needs paddle"
    ):
        gpu_pack.available("tiny", tmp_path / "artifacts", tmp_path / "packs")


@pytest.mark.paddle
@pytest.mark.slow
@pytest.mark.parametrize("name", ["pvt_v2_nano_fashion", "swinv2_nano_fashion"])
def test_an_exported_model_packs_to_little_and_comes_back(name: str, tmp_path: Path) -> None:
    pytest.importorskip("paddle2onnx", reason="needs the export extra")
    artifact = gpu_pack.available(name, tmp_path / "artifacts", tmp_path / "packs")
    whole, small = pack(artifact, tmp_path / "packs" / f"{name}.zip", gpu_pack.SEED)
    conformance = (artifact.folder / "conformance.npz").stat().st_size
    assert small - conformance < 0.03 * whole
    again = gpu_pack.available(name, tmp_path / "elsewhere", tmp_path / "packs")
    assert contents(again.folder) == contents(artifact.folder)
