"""Repositories for OpenVINO Model Server: config.json has only documented keys, and keeps the models of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from artifacts import PVT, SWIN
from command_line import is_one_error_line, run
from tiny import write_artifact

from onnxzoo.deploy.chosen import choose
from onnxzoo.deploy.ovms import OvmsOptions, entry
from onnxzoo.errors import InputError

# docs/parameters.md of the model server, "Model Configuration Options", with the types that it accepts.
DOCUMENTED: dict[str, type | tuple[type, ...]] = {
    "name": str,
    "base_path": str,
    "shape": (str, dict),
    "batch_size": (int, str),
    "layout": (str, dict),
    "model_version_policy": dict,
    "plugin_config": dict,
    "nireq": int,
    "target_device": str,
}
POLICIES = {"latest": {"num_versions": int}, "specific": {"versions": list}, "all": {}}


def check_config(config: dict[str, Any]) -> None:
    """Whether the server accepts the document: only documented keys, each of a documented type."""
    assert config.keys() == {"model_config_list"}
    for one in config["model_config_list"]:
        assert one.keys() == {"config"}
        described = one["config"]
        assert {"name", "base_path"} <= described.keys() <= DOCUMENTED.keys()
        for key, value in described.items():
            assert isinstance(value, DOCUMENTED[key]), key
        for policy, values in described["model_version_policy"].items():
            assert {name: type(value) for name, value in values.items()} == POLICIES[policy]
        assert all(isinstance(value, str | bool | int | float) for value in described["plugin_config"].values())


def config_in(repo: Path) -> Any:
    return json.loads((repo / "config.json").read_text())


@pytest.mark.slow
def test_the_command_writes_a_repository_whose_versions_validate(tmp_path):
    repo = tmp_path / "repo"
    done = run("deploy", "ovms", PVT, f"swin={SWIN}", "--out", repo)
    assert done.exit_code == 0, done.output
    config = config_in(repo)
    check_config(config)
    described = {one["config"]["name"]: one["config"] for one in config["model_config_list"]}
    assert described.keys() == {PVT, "swin"}
    for name, one in described.items():
        assert one["base_path"] == name  # relative to config.json, so that the folder can be moved
        assert [path.suffix for path in (repo / name / "1").glob("*.onnx")] == [".onnx"]
    assert run("validate", repo / "swin" / "1", "--engine", "openvino", "--batch-size", "1").exit_code == 0
    assert f"start: ovms --config_path {repo / 'config.json'}" in done.stdout


@pytest.mark.parametrize(
    ("device", "precision", "hint"),
    [
        ("CPU", "fp32", "f32"),
        ("CPU", "int8", "f32"),
        ("CPU", "fp16", "f32"),
        ("GPU", "fp16", "f16"),
        ("GPU", "fp32", "f32"),
        ("NPU", "fp16", None),
    ],
)
def test_the_arithmetic_is_that_of_our_engine(device, precision, hint):
    (chosen,) = choose([PVT], precision=precision)
    settings = entry(chosen, OvmsOptions(device, "latency"))["config"]["plugin_config"]
    assert settings.pop("PERFORMANCE_HINT") == "LATENCY"
    assert settings == ({} if hint is None else {"INFERENCE_PRECISION_HINT": hint})


@pytest.mark.slow
def test_openvino_accepts_the_settings_and_the_model_gives_the_recorded_numbers(tmp_path):
    """What the server does with plugin_config, here with the library itself."""
    openvino = pytest.importorskip("openvino")
    import numpy as np

    from onnxzoo.artifact.folder import read_artifact
    from onnxzoo.artifact.vectors import read_vectors

    repo = tmp_path / "repo"
    assert run("deploy", "ovms", PVT, "--out", repo).exit_code == 0
    (one,) = config_in(repo)["model_config_list"]
    core = openvino.Core()
    version = repo / one["config"]["base_path"] / "1"
    compiled = core.compile_model(
        core.read_model(version / "model.onnx"), one["config"]["target_device"], one["config"]["plugin_config"]
    )
    vectors = read_vectors(read_artifact(version))
    np.testing.assert_allclose(compiled(vectors.images)["logits"], vectors.outputs["logits"], rtol=1e-4, atol=1e-4)


def test_models_of_others_are_kept_and_ours_is_replaced(tmp_path):
    folder, repo = write_artifact(tmp_path / "a"), tmp_path / "repo"
    repo.mkdir()
    theirs = {"config": {"name": "resnet", "base_path": "/models/resnet", "nireq": 4}}
    (repo / "config.json").write_text(json.dumps({"model_config_list": [theirs], "monitoring": {"metrics": {}}}))
    assert run("deploy", "ovms", folder, "--out", repo).exit_code == 0
    assert run("deploy", "ovms", folder, "--out", repo, "--hint", "latency").exit_code == 0
    config = config_in(repo)
    assert config["monitoring"] == {"metrics": {}}
    assert [one["config"]["name"] for one in config["model_config_list"]] == ["resnet", "tiny"]
    assert config["model_config_list"][0] == theirs
    assert config["model_config_list"][1]["config"]["plugin_config"]["PERFORMANCE_HINT"] == "LATENCY"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"model_config_list": [', "cannot be read"),
        ('{"id2label": {}}', "is not a configuration of OpenVINO Model Server"),
        ("[1]", "is not a configuration of OpenVINO Model Server"),
        ('{"model_config_list": [{"name": "resnet"}]}', "is not a configuration of OpenVINO Model Server"),
        ('{"model_config_list": [{"config": {"name": "tiny", "base_path": "/x"}}]}', "has another model 'tiny'"),
    ],
)
def test_a_config_of_another_kind_stays(tmp_path, content, message):
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "config.json").write_text(content)
    done = run("deploy", "ovms", write_artifact(tmp_path / "a"), "--out", repo)
    assert done.exit_code == 1
    assert is_one_error_line(done.stderr)
    assert message in done.stderr
    assert (repo / "config.json").read_text() == content
    assert [*repo.iterdir()] == [repo / "config.json"]


def test_a_device_that_the_server_does_not_have():
    with pytest.raises(InputError, match="'cuda' is not one of CPU, GPU, NPU, AUTO"):
        OvmsOptions("cuda")
