"""`load` and the commands on a registry's name that is nowhere on the machine: assembled once, then here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hub_server import LoopbackHub
from official_weights import official_file

import onnxzoo
from onnxzoo.cli import main
from onnxzoo.conformance import conformance_inputs
from onnxzoo.data.photos import photo
from onnxzoo.errors import ArtifactError, CheckpointError, EngineError, InputError, ModelNotFoundError
from onnxzoo.hub.official import official_weights
from onnxzoo.registry import find
from onnxzoo.source import ASSEMBLED, resolve

pytestmark = pytest.mark.slow

B0 = find("pvt_v2_b0")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of pvt_v2_b0 as timm publishes them, seeded."""
    folder = tmp_path_factory.mktemp("b0")
    official_file(B0, folder / "model.safetensors")
    return folder


@pytest.fixture
def hub(loopback: LoopbackHub, published: Path) -> LoopbackHub:
    loopback.store.add_repo("timm/pvt_v2_b0.in1k", published)
    return loopback


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_name_is_loaded_predicts_and_needs_no_request_again(hub: LoopbackHub, cache: Path) -> None:
    with onnxzoo.load("pvt_v2_b0.in1k") as model:
        best = model.predict(photo("chelsea.jpg"))
        assert len(best.top) == 5
        vector = model.embed(photo("chelsea.jpg"))
        assert vector.shape == (256,)
        batch = conformance_inputs(B0.preprocess, ["coffee.jpg"])["coffee.jpg"][None]
        logits = model.logits(batch)
        assert model.artifact.folder == cache / "models" / "pvt_v2_b0"
    hub.log.clear()
    assert resolve("PVT_V2_B0").kind == ASSEMBLED
    with onnxzoo.load("PVT_V2_B0", offline=True) as again:
        assert again.predict(photo("chelsea.jpg")) == best
    with onnxzoo.load("pvt_v2_b0", engine="exact") as exact:
        assert (exact.engine.name, exact.engine.precision) == ("exact", "fp64")
        np.testing.assert_allclose(exact.logits(batch), logits, atol=1e-4)
        assert exact.predict(photo("chelsea.jpg")).class_id == best.class_id
    assert hub.log.all() == []
    with pytest.raises(InputError, match="the engine 'exact' computes in fp64 only, got precision 'int8'"):
        onnxzoo.load("pvt_v2_b0", engine="exact", precision="int8")


def test_the_exact_engine_takes_only_the_weights_that_the_artifact_was_made_from(
    hub: LoopbackHub, tmp_path: Path
) -> None:
    folder = resolve("pvt_v2_b0").artifact.folder
    other = official_file(B0, tmp_path / "model.safetensors", seed=8)
    with onnxzoo.load(folder, engine="exact", weights=other) as model:  # as the user wishes
        assert model.engine.name == "exact"
    official_weights(B0).path.resolve().unlink()
    with pytest.raises(ModelNotFoundError, match="nor are its weights"):
        onnxzoo.load("pvt_v2_b0", engine="exact", offline=True)
    hub.store.change("timm/pvt_v2_b0.in1k", tmp_path)
    with pytest.raises(CheckpointError, match="was not made from the registry's checkpoint"):
        onnxzoo.load("pvt_v2_b0", engine="exact")
    with pytest.raises(EngineError):
        model.predict(photo("chelsea.jpg"))


def test_what_is_asked_about_is_not_made(hub: LoopbackHub, cache: Path) -> None:
    official_weights(B0)
    hub.log.clear()
    result = run("info", "pvt_v2_b0")
    assert result.exit_code == 0
    assert "not on this machine; get it: onnxzoo download pvt_v2_b0" in result.stdout
    with pytest.raises(ModelNotFoundError, match="get it: onnxzoo download pvt_v2_b0"):
        resolve("pvt_v2_b0", make=False)
    with pytest.raises(InputError, match="what is assembled from official weights is in fp32; got precision 'int8'"):
        onnxzoo.load("pvt_v2_b0", precision="int8")
    assert hub.log.all() == []
    assert not (cache / "models").exists()


def test_download_validate_and_info_of_an_assembled_model(hub: LoopbackHub, cache: Path) -> None:
    planned = json.loads(run("download", "pvt_v2_b0", "--dry-run", "--json").stdout)["models"][0]
    assert planned["source"] == "timm/pvt_v2_b0.in1k"
    assert planned["missing"] == planned["bytes"] > 14e6
    result = run("download", "pvt_v2_b0", "--json")
    assert result.exit_code == 0, result.output
    [row] = json.loads(result.stdout)["models"]
    assert (row["source"], row["folder"]) == ("assembled", str(cache / "models" / "pvt_v2_b0"))
    assert "fill the graph (3 of 5)" in result.stderr
    hub.log.clear()
    result = run("validate", "pvt_v2_b0", "--reference", "exact", "--engine", "openvino", "--batch-size", 1, "--json")
    assert result.exit_code == 0, result.output
    assert set(json.loads(result.stdout)["references"]) == {"conformance", "exact"}
    assert "timm/pvt_v2_b0.in1k" in run("info", "pvt_v2_b0").stdout
    assert hub.log.all() == []


def test_download_goes_on_after_a_model_that_cannot_be_had(hub: LoopbackHub) -> None:
    result = run("download", "pvt_v2_b1", "pvt_v2_nano_fashion", "--json")
    assert result.exit_code == 3
    missing, shipped = json.loads(result.stdout)["models"]
    assert "timm/pvt_v2_b1.in1k is not on the Hub" in missing["error"]
    assert shipped["source"] == "shipped"


def test_a_source_of_weights_goes_with_what_it_can_do(hub: LoopbackHub) -> None:
    for options in (["--precision", "int8"], ["--revision", "main"], ["--dry-run"]):
        assert run("download", "pvt_v2_b0", "--source", "paddleclas", *options).exit_code == 2
    result = run("download", "pvt_v2_nano_fashion", "--source", "timm")
    assert result.exit_code == 2
    assert "pvt_v2_nano_fashion cannot be assembled" in result.stdout
    assert hub.log.all() == []


def test_a_damaged_model_is_assembled_again_as_the_error_says(hub: LoopbackHub, cache: Path) -> None:
    graph = resolve("pvt_v2_b0").artifact.folder / "onnx" / "model.onnx"
    right = graph.read_bytes()
    graph.write_bytes(right[:-1] + b"\0")
    advice = "assemble the model again: onnxzoo download pvt_v2_b0 --source timm"
    with pytest.raises(ArtifactError, match=f"was altered: .*{advice}"):
        onnxzoo.load("pvt_v2_b0")
    graph.unlink()
    with pytest.raises(ArtifactError, match=f"is missing.*{advice}"):
        onnxzoo.load("pvt_v2_b0")
    (graph.parents[1] / "config.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"cannot be read: .*; export or download the model again"):
        onnxzoo.load("pvt_v2_b0")
    assert run("download", "pvt_v2_b0", "--source", "timm").exit_code == 0
    assert graph.read_bytes() == right


def test_a_precision_without_a_file_says_how_to_make_one(hub: LoopbackHub) -> None:
    resolve("pvt_v2_b0")
    made = r"the model has no int8 file \(it has fp32\); make one: onnxzoo quantize MODEL --precision int8"
    with pytest.raises(InputError, match=made):
        onnxzoo.load("pvt_v2_b0", precision="int8")


def test_the_repo_of_the_weights_is_no_model_and_the_error_names_the_model(hub: LoopbackHub) -> None:
    with pytest.raises(ArtifactError, match=r"has the weights of pvt_v2_b0 and no artifact.*ask for 'pvt_v2_b0'"):
        onnxzoo.load("timm/pvt_v2_b0.in1k")


def test_info_about_a_repo_that_is_not_here_says_how_to_ask_the_hub(hub: LoopbackHub) -> None:
    result = run("info", "nobody/model")
    assert result.exit_code == 3
    assert "ask the Hub about it with --hub, or get it: onnxzoo download nobody/model" in result.output
    assert hub.log.all() == []
