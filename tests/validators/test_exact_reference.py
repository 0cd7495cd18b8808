"""Validating against the exact reference: an assembled artifact, with nothing of Paddle or onnx."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from official_weights import official_file, seeded
from onnxzoo.validators.locate import locate
from onnxzoo.validators.references import EXACT, PADDLE, live_by_default
from onnxzoo.validators.validate import Validation

from onnxzoo import assemble
from onnxzoo.artifact.folder import CONFIG_FILE, Artifact, read_artifact
from onnxzoo.artifact.writing import described_files, write_config
from onnxzoo.cli import main
from onnxzoo.errors import InputError
from onnxzoo.graphs import graphs, spec_of
from onnxzoo.registry import find

pytestmark = pytest.mark.slow

ENTRY = find("pvt_v2_b0")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official_file(ENTRY, tmp_path_factory.mktemp("weights") / "model.safetensors")


@pytest.fixture(scope="module")
def assembled(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return assemble.assemble(ENTRY, weights, tmp_path_factory.mktemp("artifacts") / "b0")


def altered(assembled: Artifact, folder: Path, **changes: Any) -> Artifact:
    """The same artifact with an ONNX file of other weights, whose hashes are right."""
    shutil.copytree(assembled.folder, folder)
    state = {**seeded(ENTRY), **changes}
    model = folder / "onnx" / "model.onnx"
    assemble.fill_graph(graphs()["pvt_v2_b0"], spec_of(ENTRY), state, {}, model)
    write_config(folder, {**assembled.config, "files": described_files(folder)})
    return read_artifact(folder)


def test_the_recorded_outputs_and_a_live_run_are_the_exact_references(assembled: Artifact, weights: Path) -> None:
    validation = Validation(assembled, engines=["openvino"], weights=weights, batch_sizes=[1, 2], samples=1)
    checks = list(validation.run())
    assert validation, checks
    assert {check.reference for check in checks} >= {"conformance", "exact"}
    assert max(check.comparison.max_abs for check in checks if check.reference == "exact") < 1e-5


def test_without_the_package_onnx_the_outputs_are_still_compared(
    assembled: Artifact, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    validation = Validation(assembled, engines=["openvino"], weights=weights, batch_sizes=[1], samples=1)
    assert {check.reference for check in validation.run()} >= {"conformance", "exact"}
    assert validation
    assert "needs the package onnx" in validation.unavailable["parameters in fp32"]


def test_a_fault_is_found_and_its_layer_named(assembled: Artifact, weights: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    name = "block3.1.mlp.fc1.bias"
    wrong = altered(assembled, tmp_path / "wrong", **{name: seeded(ENTRY)[name] + np.float32(0.3)})
    validation = Validation(wrong, engines=["openvino"], weights=weights, batch_sizes=[1], samples=1)
    failed = [check for check in validation.run() if not check]
    assert {check.reference for check in failed} == {"conformance", "exact", "parameters"}
    [found] = locate(validation)
    assert "block3.1" in found.message


def test_which_reference_runs_by_default(assembled: Artifact, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported = read_artifact(tiny)
    for installed, expected in ((None, EXACT), (object(), PADDLE)):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_, found=installed: found)
        assert live_by_default(assembled) == EXACT
        assert live_by_default(exported) == expected


def test_the_command_takes_either_reference(assembled: Artifact, weights: Path) -> None:
    arguments = ["validate", str(assembled.folder), "--weights", str(weights), "--engine", "openvino"]
    arguments += ["--batch-size", "1", "--samples", "1", "--json"]
    result = CliRunner().invoke(main, [*arguments, "--reference", "exact"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert set(document["references"]) == {"conformance", "exact"}
    result = CliRunner().invoke(main, [*arguments, "--reference", "torch"])
    assert result.exit_code == 2
    with pytest.raises(InputError, match="the reference must be paddle or exact, got 'torch'"):
        Validation(assembled, weights=weights, reference="torch")


def test_a_validation_against_the_exact_reference_is_recorded(
    assembled: Artifact, weights: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(assembled.folder, tmp_path / "copy")
    arguments = ["validate", str(copy), "--weights", str(weights), "--engine", "openvino", "--batch-size", "1"]
    assert CliRunner().invoke(main, [*arguments, "--samples", "1", "--record"]).exit_code == 0
    records = json.loads((copy / CONFIG_FILE).read_text())["validations"]
    assert {record["reference"] for record in records} == {"conformance", "exact"}
