"""Validating an artifact: it passes when equal, and fails by name when anything is off."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("paddle", reason="needs the export extra")
onnx = pytest.importorskip("onnx", reason="needs the export extra")
from onnx import numpy_helper
from onnxzoo.exports.pipeline import export_model
from onnxzoo.validators.validate import validate
from onnxzoo.validators.vectors import read_vectors

from onnxzoo.artifact import read_artifact
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, CheckpointError
from onnxzoo.files import sha256_of
from onnxzoo.reference.seeded import save_seeded_checkpoint
from onnxzoo.registry import find

pytestmark = pytest.mark.paddle


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("validate")
    entry = find("pvt_v2_b0")
    weights = save_seeded_checkpoint(entry, folder / "model.pdparams", seed=3, num_classes=5)
    return weights, export_model(entry, weights=weights, out=folder / "artifact").folder


@pytest.fixture
def copy(original: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(original[1], tmp_path / "artifact"))


def alter(folder: Path, change) -> None:
    """Change the ONNX model and make config.json agree, as a careless tool would."""
    path = folder / "onnx" / "model.onnx"
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    announce(folder, "onnx/model.onnx")


def announce(folder: Path, name: str) -> None:
    config = json.loads((folder / "config.json").read_text())
    file = folder / name
    config["files"][name].update(sha256=sha256_of(file), bytes=file.stat().st_size)
    (folder / "config.json").write_text(json.dumps(config))


def test_live_and_recorded_references_pass_on_both_engines(original: tuple[Path, Path]) -> None:
    weights, folder = original
    checks = list(validate(read_artifact(folder), weights=weights))
    assert {(c.engine.name, c.reference, c.batch_size) for c in checks} == {
        (engine, reference, size)
        for engine in ("openvino", "onnxruntime")
        for reference in ("conformance", "paddle")
        for size in (1, 2, 3)
    }
    assert all(checks), checks
    assert all(0 < check.comparison.max_abs <= 1e-4 for check in checks)


def test_one_weight_changed_by_one_percent_fails(copy: Path) -> None:
    def change(model) -> None:
        tensor = next(t for t in model.graph.initializer if t.dims == [256, 5])
        values = numpy_helper.to_array(tensor).copy()
        values[np.unravel_index(np.abs(values).argmax(), values.shape)] *= 1.01
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    alter(copy, change)
    checks = list(validate(read_artifact(copy)))
    assert not any(checks)
    assert "'logits' differs by up to" in checks[0].comparison.problems[0]


def test_a_batch_that_is_baked_in_fails(copy: Path) -> None:
    def change(model) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1

    alter(copy, change)
    result = CliRunner().invoke(main, ["validate", str(copy), "--engine", "onnxruntime"])
    assert result.exit_code == 1
    assert "batch" in result.output or "dimension" in result.output.lower()


def test_an_altered_file_is_named_before_anything_runs(copy: Path) -> None:
    with (copy / "conformance.npz").open("r+b") as file:
        file.seek(100)
        file.write(b"\xff\x00\xff")
    with pytest.raises(ArtifactError, match=r"conformance\.npz was altered"):
        list(validate(read_artifact(copy)))


def test_vectors_of_another_shape_or_with_pickles_are_refused(copy: Path) -> None:
    file = copy / "conformance.npz"
    with np.load(file) as arrays:
        vectors = dict(arrays)
    np.savez(file, **{**vectors, "logits": vectors["logits"][:, :3]})
    announce(copy, "conformance.npz")
    with pytest.raises(ArtifactError, match=r"'logits' is float32 \(6, 3\), expected float32 \(6, 5\)"):
        read_vectors(read_artifact(copy))
    np.savez(file, **{**vectors, "names": np.array([{"a": 1}], dtype=object)})
    announce(copy, "conformance.npz")
    with pytest.raises(ArtifactError, match="cannot be read"):
        read_vectors(read_artifact(copy))


def test_another_checkpoint_is_not_the_artifacts_model(original: tuple[Path, Path], tmp_path: Path) -> None:
    weights = save_seeded_checkpoint(find("pvt_v2_b0"), tmp_path / "w.pdparams", seed=3, num_classes=6)
    with pytest.raises(CheckpointError, match="holds another model"):
        list(validate(read_artifact(original[1]), weights=weights))
    weights = save_seeded_checkpoint(find("pvt_v2_b0"), tmp_path / "w.pdparams", seed=4, num_classes=5)
    checks = list(validate(read_artifact(original[1]), weights=weights, engines=["openvino"]))
    assert [(c.reference, bool(c)) for c in checks if c.batch_size == 1] == [("conformance", True), ("paddle", False)]


def test_the_command_prints_figures_and_exits_by_the_verdict(original: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(main, ["validate", str(original[1]), "--tol", "1e-4"])
    assert result.exit_code == 0
    assert "passed: 6 of 6 checks" in result.stdout
    result = CliRunner().invoke(main, ["validate", str(original[1]), "--tol", "1e-9", "--json"])
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["passed"] is False
    assert len(document["checks"]) == 6
    assert document["checks"][0]["engine"]["name"] == "openvino"
    result = CliRunner().invoke(main, ["validate", str(original[1]), "--engine", "nonsense"])
    assert result.exit_code == 2


def test_an_image_size_that_differs_is_another_model(original: tuple[Path, Path]) -> None:
    artifact = dataclasses.replace(read_artifact(original[1]), image_size=256)
    with pytest.raises(ArtifactError, match="'image' is float32"):
        read_vectors(artifact)
