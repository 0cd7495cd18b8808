"""Validating an artifact: it passes when equal, and fails by name when anything is off."""

from __future__ import annotations

import json
import re
import secrets
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("paddle", reason="needs the export extra")
from artifacts import PVT, SWIN, alter, announce, bake_batch, copy_shipped, exported, scale_initializer
from onnxzoo.exports.pipeline import export_model
from onnxzoo.validators.validate import Validation, validate

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cli import main
from onnxzoo.errors import CheckpointError
from onnxzoo.reference.paddle.saving import save_seeded_checkpoint
from onnxzoo.registry import find

pytestmark = pytest.mark.paddle

NANO_WEIGHTS = Path(__file__).parents[2] / "training" / "checkpoints" / f"{PVT}.pdparams"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("validate")
    entry = find("pvt_v2_b0")
    weights = save_seeded_checkpoint(entry, folder / "model.pdparams", seed=3, num_classes=5)
    return weights, export_model(entry, weights=weights, out=folder / "artifact").folder


@pytest.fixture
def copy(original: tuple[Path, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(original[1], tmp_path / "artifact"))


def test_live_and_recorded_references_pass_on_both_engines(original: tuple[Path, Path]) -> None:
    weights, folder = original
    checks = list(validate(read_artifact(folder), weights=weights))
    assert {(c.engine.name, c.reference, c.batch_size) for c in checks} == {
        ("-", "parameters", 0),
        *((engine, "order", 3) for engine in ("openvino", "onnxruntime")),
        *(
            (engine, reference, size)
            for engine in ("openvino", "onnxruntime")
            for reference in ("conformance", "paddle")
            for size in (1, 2, 3)
        ),
    }
    assert all(checks), checks
    assert all(0 < c.comparison.max_abs <= 1e-4 for c in checks if c.reference in ("conformance", "paddle"))


def test_fresh_inputs_are_run_through_paddle(original: tuple[Path, Path], photos: Path) -> None:
    weights, folder = original
    images = sorted(photos.iterdir())
    validation = Validation(
        read_artifact(folder), weights=weights, images=images, samples=2, seed=99, engines=["openvino"], batch_sizes=[2]
    )
    checks = list(validation.run())
    assert all(checks)
    assert validation.inputs.names[6:8] == ("noise 99.0", "noise 99.1")
    assert [Path(name).name for name in validation.inputs.names[12:]] == ["black.png", "green.png"]
    assert {check.reference: check.samples for check in checks if check.batch_size} == {
        "conformance": 6, "paddle": 14, "order": 14,
    }  # fmt: skip


def test_all_logits_changed_by_one_percent_fail(copy: Path) -> None:
    alter(copy, scale_initializer([256, 5], 1.01))
    checks = [check for check in validate(read_artifact(copy)) if check.reference == "conformance"]
    assert len(checks) == 6
    assert not any(checks)
    assert "'logits' differs by up to" in checks[0].comparison.problems[0]


def test_a_batch_that_is_baked_in_fails(copy: Path) -> None:
    alter(copy, bake_batch)
    result = CliRunner().invoke(main, ["validate", str(copy), "--engine", "onnxruntime"])
    assert result.exit_code == 1
    assert "at batch size 2: input 'pixel_values' must have shape (1, 3, 224, 224)" in result.output


def test_another_checkpoint_is_not_the_artifacts_model(original: tuple[Path, Path], tmp_path: Path) -> None:
    weights = save_seeded_checkpoint(find("pvt_v2_b0"), tmp_path / "w.pdparams", seed=3, num_classes=6)
    with pytest.raises(CheckpointError, match="holds another model"):
        list(validate(read_artifact(original[1]), weights=weights))
    weights = save_seeded_checkpoint(find("pvt_v2_b0"), tmp_path / "w.pdparams", seed=4, num_classes=5)
    checks = list(validate(read_artifact(original[1]), weights=weights, engines=["openvino"]))
    assert [(c.reference, bool(c)) for c in checks if c.batch_size <= 1] == [
        ("parameters", False), ("conformance", True), ("paddle", False),
    ]  # fmt: skip


def test_the_command_prints_figures_and_exits_by_the_verdict(original: tuple[Path, Path]) -> None:
    result = CliRunner().invoke(main, ["validate", str(original[1]), "--tol", "1e-4"])
    assert result.exit_code == 0
    assert "passed: 8 of 8 checks" in result.stdout
    result = CliRunner().invoke(main, ["validate", str(original[1]), "--tol", "1e-9", "--json"])
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["passed"] is False
    assert len(document["checks"]) == 8
    assert document["checks"][0]["engine"]["name"] == "openvino"
    result = CliRunner().invoke(main, ["validate", str(original[1]), "--engine", "nonsense"])
    assert result.exit_code == 2


def test_a_failed_comparison_leads_to_the_layer(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "copy")
    alter(folder, scale_initializer([96, 10], 1.01))
    arguments = ["validate", str(folder), "--weights", str(NANO_WEIGHTS), "--engine", "openvino", "--batch-size", "1"]
    result = CliRunner().invoke(main, [*arguments, "--report", str(tmp_path / "report.html")])
    assert result.exit_code == 1
    assert "openvino: first wrong in head: at head the error jumps from " in result.stdout
    assert "openvino: first wrong in head: " in (tmp_path / "report.html").read_text(encoding="utf-8")
    document = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
    assert [found["part"] for found in document["bisections"]] == ["head"]
    assert [check["reference"] for check in document["checks"] if not check["passed"]] == [
        "parameters", "conformance", "paddle",
    ]  # fmt: skip
    without = CliRunner().invoke(main, ["validate", str(folder), "--engine", "openvino"])
    assert f"to find the layer at fault: onnxzoo validate {folder} --weights CHECKPOINT" in without.stdout


def test_layers_are_shown_on_request() -> None:
    arguments = ["validate", PVT, "--weights", str(NANO_WEIGHTS), "--engine", "onnxruntime", "--layers"]
    result = CliRunner().invoke(main, [*arguments, "--batch-size", "2"])
    assert result.exit_code == 0
    for layer in ("block1.0.attn.proj", "block3.1.mlp.fc2", "head"):
        assert f"\n  {layer} " in result.stdout


def test_a_live_validation_is_recorded_as_such(original: tuple[Path, Path], copy: Path) -> None:
    arguments = ["validate", str(copy), "--weights", str(original[0]), "--engine", "openvino", "--record"]
    assert CliRunner().invoke(main, arguments).exit_code == 0
    assert [(r.engine, r.reference, r.inputs) for r in read_artifact(copy).validations] == [
        ("openvino", "conformance", 6), ("openvino", "paddle", 13),
    ]  # fmt: skip


@pytest.mark.parametrize("name", [PVT, SWIN])
def test_a_good_model_passes_whatever_the_seed(name: str) -> None:
    weights = NANO_WEIGHTS.with_name(f"{name}.pdparams")
    for seed in (secrets.randbits(32) for _ in range(3)):
        validation = Validation(read_artifact(exported(name)), weights=weights, seed=seed, samples=4)
        checks = list(validation.run())
        assert len(checks) == 15
        assert all(checks), f"seed {seed}: {[check.comparison.problems for check in checks]}"


def test_recorded_outputs_of_other_weights_and_a_wrong_model_are_distinguished(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "copy")
    with np.load(folder / "conformance.npz") as file:
        vectors = dict(file)
    np.savez(folder / "conformance.npz", **{**vectors, "logits": vectors["logits"] * np.float32(1.1)})
    announce(folder, "conformance.npz")
    result = CliRunner().invoke(main, ["validate", str(folder), "--weights", str(NANO_WEIGHTS)])
    assert result.exit_code == 1
    assert "the model agrees with this checkpoint but not with the outputs recorded in the artifact" in result.stdout


def test_a_file_with_names_of_its_own_is_compared_by_its_values(tmp_path: Path) -> None:
    def rename(model) -> None:
        names = {tensor.name: f"weight_{number}" for number, tensor in enumerate(model.graph.initializer)}
        for tensor in model.graph.initializer:
            tensor.name = names[tensor.name]
        for node in model.graph.node:
            node.input[:] = [names.get(name, name) for name in node.input]

    folder = copy_shipped(tmp_path / "copy")
    alter(folder, rename)
    checks = list(validate(read_artifact(folder), weights=NANO_WEIGHTS, engines=["onnxruntime"], batch_sizes=[1]))
    assert [check.reference for check in checks] == ["parameters", "conformance", "paddle"]
    assert all(checks), checks
    assert re.match(r"0 equal; \d+ equal under another name: ", checks[0].note)
