"""Artifact folders are untrusted: whatever is wrong with one is found, and named."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from tiny import LABELS, write_artifact

from onnxzoo.artifact import is_artifact, read_artifact
from onnxzoo.errors import ArtifactError, InputError

MODEL = "onnx/model.onnx"


def config_of(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config


def write_config(folder: Path, config: Any) -> None:
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")


def test_a_whole_artifact(tiny):
    artifact = read_artifact(tiny)
    artifact.verify()
    assert artifact.name == "tiny"
    assert artifact.id2label == LABELS
    assert artifact.num_classes == 4
    assert artifact.precisions == ("fp32",)
    assert artifact.model_file() == tiny / "onnx" / "model.onnx"
    assert artifact.preprocess.crop_size == artifact.image_size == 32
    assert is_artifact(tiny)


def test_keys_that_this_version_does_not_know_are_kept(tmp_path):
    artifact = read_artifact(write_artifact(tmp_path / "a", changes={"eval_results": {"top1": 0.7}}))
    assert artifact.config["eval_results"] == {"top1": 0.7}


def test_a_missing_file_is_named(tiny):
    (tiny / MODEL).unlink()
    with pytest.raises(ArtifactError, match=r"model\.onnx is missing, though config\.json lists it"):
        read_artifact(tiny).model_file()


def test_a_truncated_file_is_named(tiny):
    data = (tiny / MODEL).read_bytes()
    (tiny / MODEL).write_bytes(data[:-7])
    with pytest.raises(ArtifactError, match=rf"model\.onnx has {len(data) - 7} bytes, expected {len(data)}"):
        read_artifact(tiny).verify()


def test_an_altered_file_is_named(tiny):
    (tiny / "preprocessor_config.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"preprocessor_config\.json was altered: its sha256 is [0-9a-f]{64}, exp"):
        read_artifact(tiny).verify()


def test_a_folder_in_the_place_of_a_file(tiny):
    (tiny / MODEL).unlink()
    (tiny / MODEL).mkdir()
    with pytest.raises(ArtifactError, match=r"model\.onnx is missing"):
        read_artifact(tiny).verify()


def test_a_file_that_is_not_listed(tiny):
    with pytest.raises(ArtifactError, match=r"lists no file 'conformance\.npz'; the artifact is incomplete"):
        read_artifact(tiny).verified("conformance.npz")


def test_a_precision_that_is_not_there(tiny):
    with pytest.raises(InputError, match="tiny has no 'int8' model; it has fp32"):
        read_artifact(tiny).model_file("int8")


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "onnx/../../secret", "C:/secret", "onnx\\..\\..\\secret", "", "."]
)
def test_a_path_that_leads_outside_is_refused(tiny, path):
    config = config_of(tiny)
    config["files"][path] = {"sha256": "0" * 64, "bytes": 1}
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
        read_artifact(tiny)


def test_a_link_that_leads_outside_is_refused(tiny, tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes((tiny / MODEL).read_bytes())
    (tiny / MODEL).unlink()
    (tiny / MODEL).symlink_to(outside)
    with pytest.raises(ArtifactError, match="leads outside"):
        read_artifact(tiny).model_file()


def test_a_newer_schema_asks_for_an_upgrade(tmp_path):
    folder = write_artifact(tmp_path / "a", changes={"schema_version": 2})
    with pytest.raises(ArtifactError, match="schema version 2, this onnxzoo reads up to 1; upgrade onnxzoo"):
        read_artifact(folder)


def test_a_folder_without_config_is_no_artifact(tmp_path):
    assert not is_artifact(tmp_path)
    with pytest.raises(ArtifactError, match=r"is not an artifact: it has no config\.json"):
        read_artifact(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b"{", "cannot be read"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b"[" * 100_000, "cannot be read"),
        (b"[]", "no schema_version"),
        (b'{"schema_version": "1"}', "no schema_version"),
        (b'{"schema_version": 1}', "'model_type' is missing"),
    ],
)
def test_a_config_that_is_no_config(tiny, content, message):
    (tiny / "config.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"config\.json .*{message}"):
        read_artifact(tiny)


def test_a_config_of_absurd_size_is_not_read(tiny, monkeypatch):
    monkeypatch.setattr("onnxzoo.artifact.MAX_CONFIG_BYTES", 10)
    with pytest.raises(ArtifactError, match="has more than 10 bytes"):
        read_artifact(tiny)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", None, "'name' is missing"),
        ("files", None, "'files' is missing"),
        ("files", [], "malformed"),
        ("files", {MODEL: {"bytes": 1}}, "'sha256' is missing"),
        ("files", {MODEL: {"sha256": "0", "bytes": "many"}}, "malformed"),
        ("files", {MODEL: {"sha256": "0", "bytes": float("inf")}}, "malformed"),
        ("files", {MODEL: "0"}, "malformed"),
        *(
            ("files", {MODEL: {"sha256": "0" * 64, "bytes": 1, "precision": wrong}}, "precision must be a word like")
            for wrong in (5, True, "", "../x", "FP32", ["fp32"], "x" * 17)
        ),
        ("model_type", "resnet", "unknown model family 'resnet'"),
        ("architecture", {}, "PvtV2Architecture: missing"),
        ("architecture", None, "'architecture' is missing"),
        ("preprocess", [], "malformed"),
        ("image_size", 64, "image_size must equal crop_size 32"),
        ("image_size", "large", "malformed"),
        ("id2label", {}, "id2label must have the keys 0, 1, 2"),
        ("id2label", {"0": "a", "2": "b"}, "without a gap"),
        ("id2label", {"a": "b"}, "malformed"),
        ("id2label", ["a", "b"], "malformed"),
        ("source", "a file", "source must be an object, got str"),
        ("tools", [], "tools must be an object, got list"),
    ],
)
def test_a_malformed_config_says_what_is_wrong(tmp_path, key, value, message):
    folder = write_artifact(tmp_path / "a", changes={key: value})
    with pytest.raises(ArtifactError, match=rf"config\.json.* malformed.*|{message}") as caught:
        read_artifact(folder)
    assert message in str(caught.value)


def test_a_key_twice_among_many_is_found_at_once(tiny):
    keys = ",".join(f'"k{i}":0' for i in range(60_000))
    (tiny / "config.json").write_text(f'{{{keys},"k59999":1}}', encoding="utf-8")
    started = time.monotonic()
    with pytest.raises(ArtifactError, match="the key 'k59999' is in one object twice"):
        read_artifact(tiny)
    assert time.monotonic() - started < 5


def test_stages_without_end_are_refused(tiny):
    config = config_of(tiny)
    stages = 17
    for key in ("embed_dims", "depths", "num_heads", "sr_ratios", "mlp_ratios"):
        config["architecture"][key] = [2] * stages
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match="there may be up to 16 stages, got 17"):
        read_artifact(tiny)


@pytest.mark.parametrize("path", ["x" * 256, "a/" * 200 + "x", "\u00e4" * 128])
def test_names_that_no_file_system_takes_are_refused(tiny, path):
    config = config_of(tiny)
    config["files"][path] = {"sha256": "0" * 64, "bytes": 1}
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match=r"in config\.json has more than 255 bytes"):
        read_artifact(tiny)


def test_an_architecture_of_zeros_is_malformed(tiny):
    config = config_of(tiny)
    config["architecture"]["num_heads"] = [0, 0]
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match="malformed"):
        read_artifact(tiny)


def test_an_artifact_shows_itself_on_one_line(tiny: Path) -> None:
    assert repr(read_artifact(tiny)) == f"<Artifact 'tiny' in {str(tiny)!r}: 4 classes, fp32>"
