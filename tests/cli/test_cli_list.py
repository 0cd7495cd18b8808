"""`onnxzoo list` and `onnxzoo info`."""

from __future__ import annotations

import json

from command_line import run
from tiny import write_artifact

from onnxzoo.hub import lookup


def test_list():
    lines = run("list").stdout.splitlines()
    assert len(lines) == 19
    assert lines[1].split() == ["pvt_v2_b0", "224", "3.67", "0.53", "0.7052", "0.9016"]
    assert len(run("list", "SWIN*").stdout.splitlines()) == 11


def test_list_marks_what_is_exported(cache):
    write_artifact(cache / "models" / "pvt_v2_b1")
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)["models"]}
    assert len(rows) == 18
    assert [name for name, row in rows.items() if row["exported"]] == ["pvt_v2_b1"]
    assert rows["pvt_v2_b1"]["aliases"] == ["PVT_V2_B1", "pvt_v2_b1.in1k"]
    assert run("list", "pvt_v2_b1").stdout.splitlines()[1].endswith("  exported")


def test_assembled_models_are_called_so(cache):
    folder = write_artifact(cache / "models" / "pvt_v2_b1")
    config = json.loads((folder / "config.json").read_text())
    config["source"]["graph_sha256"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(config))
    [row] = json.loads(run("list", "pvt_v2_b1", "--json").stdout)["models"]
    assert (row["assembled"], row["exported"]) == (True, False)
    assert run("list", "pvt_v2_b1").stdout.splitlines()[1].endswith("  assembled")
    for command in ("list", "verify"):
        assert "assembled   pvt_v2_b1" in run("cache", command).stdout
    assert f"  source graph_sha256 {'0' * 64}" in run("info", "pvt_v2_b1").stdout.splitlines()
    (folder / "config.json").write_text("{")
    assert run("list", "pvt_v2_b1").stdout.splitlines()[1].endswith("  exported"), "a damaged one"


def test_list_marks_what_ships(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "SHIPPED_DIR", tmp_path)
    write_artifact(tmp_path / "pvt_v2_b1")
    write_artifact(cache / "models" / "pvt_v2_b1")
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)["models"]}
    assert [name for name, row in rows.items() if row["shipped"]] == ["pvt_v2_b1"]
    assert run("list", "pvt_v2_b1").stdout.splitlines()[1].endswith("  shipped, exported")


def test_list_without_a_match():
    result = run("list", "resnet*")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "no model matches 'resnet*'" in result.stderr


def test_info_of_a_model_that_is_not_exported():
    result = run("info", "PVT_V2_B2_Linear")
    assert result.exit_code == 0
    for part in ("pvt_v2_b2_linear", "22.55 M", "0.8205", "short side to 256 (bicubic)", "PVT_V2_B2_Linear_pretrained"):
        assert part in result.stdout
    assert "not on this machine; get it: onnxzoo download pvt_v2_b2_linear, or make it: onnxzoo export" in result.stdout
    document = json.loads(run("info", "PVT_V2_B2_Linear", "--json").stdout)
    assert document["artifact"] is None
    assert document["model"]["name"] == "pvt_v2_b2_linear"
    assert document["model"]["architecture"]["linear"] is True
    assert document["model"]["source"]["url"].endswith(".pdparams")


def test_info_of_an_exported_model(cache):
    folder = write_artifact(cache / "models" / "pvt_v2_b0", name="pvt_v2_b0")
    text = run("info", "pvt_v2_b0").stdout
    assert str(folder) in text
    assert "0" * 64 in text
    document = json.loads(run("info", "pvt_v2_b0", "--json").stdout)
    assert document["model"]["name"] == document["artifact"]["name"] == "pvt_v2_b0"
    assert document["artifact"]["precisions"] == ["fp32"]
    assert document["artifact"]["files"]["onnx/model.onnx"]["bytes"] > 0


def test_info_of_a_folder_that_the_registry_does_not_know(tiny):
    document = json.loads(run("info", tiny, "--json").stdout)
    assert document["model"] is None
    assert document["artifact"]["num_classes"] == 4
    (tiny / "onnx" / "model.onnx").unlink()
    assert "bytes, missing" in run("info", tiny).stdout
