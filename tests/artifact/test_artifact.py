"""Artifact folders are untrusted: whatever is wrong with one is found, and named."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto
from tiny import LABELS, tiny_graph, write_artifact

from onnxzoo.artifact.file import MAX_FILE_BYTES
from onnxzoo.artifact.folder import is_artifact, read_artifact
from onnxzoo.errors import ArtifactError, InputError, RegistryError
from onnxzoo.registry import architecture_from_dict

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
    with pytest.raises(ArtifactError, match=r"does not list 'conformance\.npz'; the artifact is incomplete"):
        read_artifact(tiny).verified("conformance.npz")


def test_a_precision_that_is_not_there(tiny):
    with pytest.raises(InputError, match="tiny has no 'int8' model; available precisions: fp32"):
        read_artifact(tiny).model_file("int8")


@pytest.mark.parametrize(
    "path", ["../secret", "/etc/passwd", "onnx/../../secret", "C:/secret", "onnx\\..\\..\\secret", "a?", "", "."]
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


def test_a_link_to_a_sibling_whose_name_begins_alike_is_refused(tiny):
    """`tiny-other` is not inside `tiny`, whatever its text looks like."""
    outside = tiny.with_name(f"{tiny.name}-other")
    outside.mkdir()
    (tiny / MODEL).rename(outside / "model.onnx")
    (tiny / MODEL).symlink_to(outside / "model.onnx")
    with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
        read_artifact(tiny).model_file()


@pytest.mark.parametrize("layout", ["models/snapshots", "models--a--b/versions"])
def test_only_in_huggingface_hubs_layout_may_links_lead_to_blobs(tmp_path, layout):
    folder = write_artifact(tmp_path / layout / "0123")
    for blobs in (folder.parents[1] / "blobs", folder.parents[2] / "blobs"):
        blobs.mkdir()
        blob = blobs / "model"
        blob.write_bytes((folder / MODEL).read_bytes())
        (folder / MODEL).unlink()
        (folder / MODEL).symlink_to(blob)
        with pytest.raises(ArtifactError, match="leads outside the artifact's folder"):
            read_artifact(folder).model_file()


@pytest.mark.parametrize("size", [MAX_FILE_BYTES + 1, 10**15, -1])
def test_a_file_of_a_size_that_no_model_has_is_refused(tiny, size):
    config = config_of(tiny)
    config["files"][MODEL]["bytes"] = size
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match=rf"bytes must be a whole number from 0 to {MAX_FILE_BYTES}, got {size}"):
        read_artifact(tiny)


def test_a_file_of_the_largest_size_may_be_listed(tiny):
    config = config_of(tiny)
    config["files"][MODEL]["bytes"] = MAX_FILE_BYTES
    write_config(tiny, config)
    assert read_artifact(tiny).files[MODEL].bytes == MAX_FILE_BYTES


def test_a_model_that_refers_to_data_in_other_files_is_never_handed_out(tmp_path):
    """Whatever config.json says of it: engines would follow the reference wherever it leads."""
    model = tiny_graph()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../weights.bin")
    artifact = read_artifact(write_artifact(tmp_path / "external", model=model))
    with pytest.raises(ArtifactError, match=r"model\.onnx stores data in other files"):
        artifact.verify()
    for trust in ("known", "any"):
        with pytest.raises(ArtifactError, match=r"model\.onnx stores data in other files"):
            read_artifact(artifact.folder, trust=trust).model_file()


def test_two_files_of_one_precision_are_refused(tiny):
    """Of the two, readers would take one or the other."""
    config = config_of(tiny)
    config["files"]["onnx/other.onnx"] = config["files"][MODEL]
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match="files must list one ONNX file per precision, got fp32, fp32"):
        read_artifact(tiny)


def test_a_newer_schema_asks_for_an_upgrade(tmp_path):
    folder = write_artifact(tmp_path / "a", changes={"schema_version": 2})
    with pytest.raises(ArtifactError, match="schema version 2, this onnxzoo reads up to 1; upgrade onnxzoo"):
        read_artifact(folder)


def test_a_folder_without_config_is_not_an_artifact(tmp_path):
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
        (b'{"schema_version": "1"}', r"schema_version must be 1, got '1'"),
        (b'{"schema_version": 1}', "'model_type' is missing"),
    ],
)
def test_an_invalid_config_is_refused(tiny, content, message):
    (tiny / "config.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"config\.json .*{message}"):
        read_artifact(tiny)


def test_a_config_of_absurd_size_is_not_read(tiny, monkeypatch):
    monkeypatch.setattr("onnxzoo.artifact.folder.MAX_CONFIG_BYTES", 10)
    with pytest.raises(ArtifactError, match="has more than 10 bytes"):
        read_artifact(tiny)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", None, "'name' is missing"),
        ("files", None, "'files' is missing"),
        ("files", [], "malformed"),
        ("files", {MODEL: {"bytes": 1}}, "'files.onnx/model.onnx.sha256' is missing"),
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
        ("source", "a file", "source must be an object, got 'a file'"),
        ("tools", [], "tools must be an object, got "),
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
    with pytest.raises(ArtifactError, match="the key 'k59999' occurs twice in one object"):
        read_artifact(tiny)
    assert time.monotonic() - started < 5


def test_stages_without_end_are_refused(tiny):
    config = config_of(tiny)
    stages = 17
    for key in ("embed_dims", "depths", "num_heads", "sr_ratios", "mlp_ratios"):
        config["architecture"][key] = [2] * stages
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match="the number of stages must be up to 16, got 17"):
        read_artifact(tiny)


@pytest.mark.parametrize("path", ["a.", "a ", "a./b", "a\x00b", "a\nb", "a\x1b[2Jb", "a\u202eb"])
def test_names_that_are_not_plain_on_every_system_are_refused(tiny, path):
    config = config_of(tiny)
    config["files"][path] = {"sha256": "0" * 64, "bytes": 1}
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match="is not allowed; expected plain names and /"):
        read_artifact(tiny)


@pytest.mark.parametrize("path", ["x" * 256, "a/" * 200 + "x", "\u00e4" * 128])
def test_names_that_no_file_system_takes_are_refused(tiny, path):
    config = config_of(tiny)
    config["files"][path] = {"sha256": "0" * 64, "bytes": 1}
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match=r"in config\.json has more than 255 bytes"):
        read_artifact(tiny)


def test_the_longest_name_may_be_listed(tiny):
    config = config_of(tiny)
    config["files"]["x" * 255] = {"sha256": "0" * 64, "bytes": 1}
    write_config(tiny, config)
    assert "x" * 255 in read_artifact(tiny).files


def test_an_architecture_of_zeros_is_malformed(tiny):
    config = config_of(tiny)
    config["architecture"]["num_heads"] = [0, 0]
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match="malformed"):
        read_artifact(tiny)


OUT_OF_RANGE: dict[str, tuple[dict[str, Any], str]] = {
    "schema_version": ({"schema_version": True}, "schema_version must be 1, got True"),
    "negative schema_version": ({"schema_version": -1}, "schema_version must be 1, got -1"),
    "schema_version 1.0": ({"schema_version": 1.0}, "schema_version must be 1, got 1.0"),
    "name": ({"name": 7}, "name must be text of 1 to 1000 characters, got 7"),
    "no name": ({"name": ""}, "name must be text of 1 to 1000 characters, got ''"),
    "long name": ({"name": "x" * 5000}, "name must be text of 1 to 1000 characters, got 'xxx"),
    "model_type": ({"model_type": ["pvt_v2"]}, "model_type must be text"),
    "image_size true": ({"image_size": True}, "image_size must be a whole number from 1 to 16384, got True"),
    "image_size text": ({"image_size": "32"}, "image_size must be a whole number from 1 to 16384, got '32'"),
    "image_size 32.0": ({"image_size": 32.0}, "image_size must be a whole number from 1 to 16384, got 32.0"),
    "image_size -32": ({"image_size": -32}, "image_size must be a whole number from 1 to 16384, got -32"),
    "image_size 10^12": ({"image_size": 10**12}, "image_size must be a whole number"),
    "num_classes": ({"num_classes": 1000}, "num_classes must be 4, got 1000"),
    "num_features": ({"num_features": "3"}, "num_features must be 3, got '3'"),
    "architecture": ({"architecture": []}, "architecture must be an object, got []"),
    "preprocess": ({"preprocess": None}, "'preprocess' is missing"),
    "id2label": ({"id2label": ["a", "b"]}, "id2label must be an object"),
    "a label": ({"id2label": {"0": "a", "1": {"b": 1}}}, "id2label.1 must be text"),
    "ids": ({"id2label": {"0": "a", "\u0661": "b"}}, "id2label must have the keys 0, 1, 2"),
    "long ids": ({"id2label": {"1" * 5000: "a"}}, "id2label must have the keys 0, 1, 2"),
    "no labels": ({"id2label": {}}, "id2label must have the keys 0, 1, 2"),
    "files": ({"files": [1]}, "files must be an object"),
    "a file": ({"files": {"a": 1}}, "files.a must be an object, got 1"),
    "bytes": ({"files": {"a": {"sha256": "0" * 64, "bytes": True}}}, "files.a.bytes must be a whole number"),
    "many files": ({"files": {str(i): {} for i in range(300)}}, "files must list up to 256 files, got 300"),
    "tools": ({"tools": {"onnx": ["1"]}}, "tools.onnx must be text of up to 1000 characters, a number or null"),
    "source": ({"source": {"url": "x" * 5000}}, "source.url must be text of up to 1000 characters"),
    "validations": ({"validations": {}}, "validations must be a list, got {}"),
    "a validation": ({"validations": [7]}, "validations[0] must be an object, got 7"),
    "evaluations": ({"evaluations": [{"engine": 1}]}, "'evaluations[0].top1' is missing"),
}


@pytest.mark.parametrize("case", OUT_OF_RANGE)
def test_every_field_has_its_type_and_range(tmp_path, case):
    changes, expected = OUT_OF_RANGE[case]
    folder = write_artifact(tmp_path / "a", changes=changes)
    with pytest.raises(ArtifactError) as caught:
        read_artifact(folder)
    assert f"{folder / 'config.json'} is malformed: {expected}" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("embed_dims", [-96, 3]), ("embed_dims", [10**12, 3]), ("embed_dims", [2, True]), ("embed_dims", [2, 3.0]),
        ("embed_dims", 96), ("embed_dims", "96"), ("embed_dims", [[2], [3]]), ("depths", [10**9, 1]),
        ("depths", [0, 1]), ("depths", ["1", "1"]),
        ("num_heads", [0, 1]), ("num_heads", [-1, 1]), ("sr_ratios", [0, 1]),
        ("mlp_ratios", ["2", 2]), ("mlp_ratios", [-1, 2]), ("mlp_ratios", [10**9, 2]), ("linear", 1), ("linear", "no"),
        ("drop_path_rate", "0"), ("drop_path_rate", 2), ("drop_path_rate", True), ("drop_path_rate", {}),
    ],
)  # fmt: skip
def test_every_field_of_pvt_v2_has_its_type_and_range(tiny, key, value):
    config = config_of(tiny)
    config["architecture"][key] = value
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match=rf"is malformed: {key} must be ") as caught:
        read_artifact(tiny)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patch_size", 0), ("patch_size", "4"), ("embed_dim", 10**12), ("embed_dim", -4), ("embed_dim", [4]),
        ("window_size", True), ("window_size", 1), ("window_size", 10**6), ("depths", [10**9]), ("num_heads", [0]),
        ("pretrained_window_sizes", [-1]), ("mlp_ratio", "4"), ("mlp_ratio", 0), ("drop_path_rate", -1),
    ],
)  # fmt: skip
def test_every_field_of_swinv2_has_its_type_and_range(key, value):
    good = {
        "patch_size": 4, "embed_dim": 4, "depths": [2], "num_heads": [1], "window_size": 2,
        "pretrained_window_sizes": [0], "mlp_ratio": 4.0, "drop_path_rate": 0.1,
    }  # fmt: skip
    architecture_from_dict("swinv2", good)
    with pytest.raises(RegistryError, match=f"{key} must be "):
        architecture_from_dict("swinv2", {**good, key: value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("mean", ["1" * 5000] * 3),
        ("std", [True] * 3),
        ("std", [0.1] * 10_000),
        ("crop_size", 32.0),
        ("resize_size", "36"),
    ],
)
def test_every_field_of_the_preprocessing_has_its_type_and_range(tiny, key, value):
    config = config_of(tiny)
    config["preprocess"][key] = value
    write_config(tiny, config)
    with pytest.raises(ArtifactError, match=f"is malformed: {key} must ") as caught:
        read_artifact(tiny)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("NaN", "NaN is not JSON"), ("-Infinity", "-Infinity is not JSON"), ("1e999", "too large for a float64"),
        ("1" * 5000, "a whole number has 5000 digits, expected up to 40"),
        ("[" * 5000 + "]" * 5000, "nested more than 100"),
        ('{"a":' * 200 + "1" + "}" * 200, "nested more than 100"), ('"\\ud800"', "half of a surrogate pair"),
    ],
)  # fmt: skip
def test_what_is_not_plain_json_is_refused(tiny, text, reason):
    whole = (tiny / "config.json").read_text(encoding="utf-8")
    (tiny / "config.json").write_text(whole[:-1] + f', "more": {text}}}', encoding="utf-8")
    with pytest.raises(ArtifactError, match=rf"config\.json cannot be read: .*{reason}") as caught:
        read_artifact(tiny)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


def test_json_as_other_tools_write_it_is_read(tiny):
    whole = (tiny / "config.json").read_text(encoding="utf-8")
    more = (
        r', "more": {"pair": "\ud83d\ude00", "brackets": "'
        + "[{" * 200
        + r'", "quoted": "\"[{", "list": [[[1e30, -0]]]}}'
    )
    (tiny / "config.json").write_text(whole[:-1] + more, encoding="utf-8")
    assert read_artifact(tiny).config["more"]["pair"] == "\U0001f600"


def test_an_artifact_shows_itself_on_one_line(tiny: Path) -> None:
    assert repr(read_artifact(tiny)) == f"<Artifact 'tiny' in {str(tiny)!r}: 4 classes, fp32>"
