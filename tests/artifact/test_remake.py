"""Artifacts whose ONNX input has its old name: refused with the command that makes them anew, and listed as before."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from artifacts import PVT, SWIN, configure, copy_shipped, old_input
from click.testing import CliRunner, Result
from hub_server import LoopbackHub
from tiny import tiny_logits, write_artifact

import onnxzoo
from onnxzoo.artifact.folder import Trust, read_artifact
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.registry import find

pytestmark = pytest.mark.slow

REPO = "someone/tiny"
REASON = "has the inputs ['image'], expected ['pixel_values'], because an older onnxzoo made it; "


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments)], prog_name="onnxzoo", catch_exceptions=False)


def refusal(folder: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        read_artifact(folder).model_file()
    return str(caught.value)


def command(message: str) -> list[str]:
    """The words of the command that the message ends with."""
    return shlex.split(message[message.index("onnxzoo ", message.index(REASON) + len(REASON)) :])


@pytest.mark.parametrize("name", [PVT, SWIN])
def test_what_ships_has_the_name_that_transformers_expects(name: str) -> None:
    graph = onnx.load(SHIPPED_DIR / name / "onnx" / "model.onnx").graph
    assert [value.name for value in graph.input] == ["pixel_values"]
    with np.load(SHIPPED_DIR / name / "conformance.npz") as vectors:
        assert set(vectors.files) == {"names", "pixel_values", "logits", "embedding"}
    assert "- `pixel_values`: float32" in (SHIPPED_DIR / name / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("trust", ["known", "any"])
@pytest.mark.parametrize("name", [PVT, SWIN])
def test_it_is_not_loaded_and_the_error_says_what_to_run(tmp_path: Path, name: str, trust: Trust) -> None:
    folder = old_input(copy_shipped(tmp_path / "old", name))
    with pytest.raises(ArtifactError) as caught:
        onnxzoo.load(folder, trust=trust)
    anew = f"make it again: onnxzoo export {name} --weights {name}.pdparams --out {folder}"
    assert str(caught.value) == f"{folder}/onnx/model.onnx {REASON}{anew}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "OLD", "IMAGE"),
        ("validate", "OLD"),
        ("validate", "OLD", "--preprocess"),
        ("validate", "NEW", "--against", "OLD"),
        ("publish", "OLD", "--repo-id", "someone/old", "--dry-run"),
        ("publish", "OLD", "--repo-id", "someone/old", "--allow-unvalidated"),
        ("warmup", "OLD"),
    ],
    ids=" ".join,
)
def test_every_command_that_needs_the_model_refuses_it_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    folder = old_input(copy_shipped(tmp_path / "old"))
    image = Path(__file__).parents[1] / "data" / "fashion_mnist_sample" / "Bag" / "0018.png"
    places = {"OLD": folder, "NEW": SHIPPED_DIR / PVT, "IMAGE": image}
    result = run(*(places.get(word, word) for word in arguments))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert f"{folder}/onnx/model.onnx {REASON}make it again: onnxzoo export {PVT} " in result.stderr


def test_lists_show_it_as_before(cache: Path) -> None:
    folder = old_input(copy_shipped(cache / "models" / "pvt_v2_b1"))
    configure(folder, name="pvt_v2_b1")
    assert run("list", "pvt_v2_b1").stdout.splitlines()[1].endswith("  exported")
    assert json.loads(run("info", folder, "--json").stdout)["artifact"]["name"] == "pvt_v2_b1"
    (entry,) = json.loads(run("cache", "list", "--json").stdout)["entries"]
    assert entry["name"] == "pvt_v2_b1"
    assert run("cache", "verify").exit_code == 0


def test_one_of_many_does_not_stop_the_others(cache: Path) -> None:
    configure(old_input(copy_shipped(cache / "models" / "pvt_v2_b1")), name="pvt_v2_b1")
    result = run("validate", "--all", "--engine", "openvino", "--batch-size", "1")
    assert result.exit_code == 1
    assert REASON in result.output
    assert "2 of 3" in result.output


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ({"url": find("pvt_v2_b0").source.url, "file": "PVT_V2_B0_pretrained.pdparams"}, "pvt_v2_b0"),
        ({"url": "https://example.org/b0.pdparams"}, "pvt_v2_b0 --weights FILE"),
        ({"url": None, "file": "my own.pdparams"}, "pvt_v2_b0 --weights 'my own.pdparams'"),
        ({"file": "$(touch x);.pdparams"}, "pvt_v2_b0 --weights '$(touch x);.pdparams'"),
        ({}, "pvt_v2_b0 --weights FILE"),
    ],
)
def test_the_command_says_what_the_artifact_is_of(tmp_path: Path, source: dict[str, Any], expected: str) -> None:
    spec = find("pvt_v2_b0").preprocess
    usual = {"name": "pvt_v2_b0", "image_size": spec.crop_size, "preprocess": dataclasses.asdict(spec)}
    usual["id2label"] = {str(i): f"class {i}" for i in range(4)}
    folder = write_artifact(tmp_path / "a", changes={**usual, "source": source})
    message = refusal(old_input(folder))
    assert message == f"{folder}/onnx/model.onnx {REASON}make it again: onnxzoo export {expected} --out {folder}"


def test_class_names_and_image_size_of_its_own_are_in_the_command(tmp_path: Path) -> None:
    folder = write_artifact(tmp_path / "my model", changes={"name": "pvt_v2_b0", "source": {"file": "best.pdparams"}})
    words = command(refusal(old_input(folder)))
    given = ["--weights", "best.pdparams", "--labels", f"{folder}/config.json", "--image-size", "32"]
    assert words == ["onnxzoo", "export", "pvt_v2_b0", *given, "--out", str(folder)]


def test_a_model_that_the_registry_does_not_know_has_no_command(tmp_path: Path) -> None:
    folder = old_input(write_artifact(tmp_path / "a", name="mine"))
    assert refusal(folder).endswith(f"{REASON}export the model again")


def test_a_model_of_the_hub_is_downloaded_anew(
    loopback: LoopbackHub, tiny: Path, tmp_path: Path, batch: np.ndarray
) -> None:
    old = old_input(shutil.copytree(tiny, tmp_path / "old"))
    loopback.store.add_repo(REPO, old)
    with pytest.raises(ArtifactError) as caught:
        onnxzoo.load(REPO)
    message = str(caught.value)
    assert message.endswith(f"{REASON}when its author has published it again, run: onnxzoo download {REPO}")
    again = run(*command(message)[1:])
    assert again.exit_code == 1
    assert f"FAILED: {message}" in again.stdout
    loopback.store.change(REPO, tiny)
    assert run(*command(message)[1:]).exit_code == 0
    with onnxzoo.load(REPO, offline=True) as model:
        np.testing.assert_allclose(model.logits(batch), tiny_logits(batch), atol=1e-5)
    entries = json.loads(run("cache", "list", "--json").stdout)["entries"]
    assert [entry["name"] for entry in entries] == [REPO, REPO]
    with pytest.raises(ArtifactError, match="an older onnxzoo made it"):
        onnxzoo.load(REPO, revision=entries[0]["revision"], offline=True)
