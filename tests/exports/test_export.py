"""Exporting: checkpoint file in, artifact folder out, on small models of both families."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from artifacts import old_input
from click.testing import CliRunner

paddle = pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.exports import conversion
from onnxzoo.exports.pipeline import STEPS, export_model
from onnxzoo.validators.validate import validate

import onnxzoo
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cli import main
from onnxzoo.errors import ArtifactError, CheckpointError, ExportError, InputError
from onnxzoo.reference.paddle.saving import save_seeded_checkpoint
from onnxzoo.registry import ModelEntry, find

pytestmark = pytest.mark.paddle

NANO = Path(__file__).parents[2] / "training" / "checkpoints" / "pvt_v2_nano_fashion.pdparams"
PHOTOS = Path(__file__).parents[2] / "onnxzoo" / "data" / "photos"


def small(name: str, image_size: int = 64, **architecture: object) -> ModelEntry:
    """The registry's entry with a smaller architecture, and by default for smaller images."""
    entry = find(name)
    return dataclasses.replace(
        entry,
        architecture=dataclasses.replace(entry.architecture, **architecture),
        image_size=image_size,
        preprocess=dataclasses.replace(entry.preprocess, crop_size=image_size, resize_size=image_size + 9),
    )


PVT = small("pvt_v2_b0", embed_dims=(8, 16, 20, 32), depths=(1, 1, 1, 1))
PVT_LINEAR = small("pvt_v2_b2_linear", 224, embed_dims=(8, 16, 20, 32), depths=(1, 1, 1, 1))
SWIN = small("swinv2_tiny_w8", embed_dim=12, depths=(2, 2, 2, 1), window_size=4)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory):
    """Exports an entry with seeded weights, once per entry; returns the checkpoint and the artifact."""
    done = {}

    def export(entry: ModelEntry, num_classes: int = 10):
        key = (entry.name, num_classes)
        if key not in done:
            folder = tmp_path_factory.mktemp(entry.name)
            weights = save_seeded_checkpoint(entry, folder / "model.pdparams", seed=1, num_classes=num_classes)
            done[key] = weights, export_model(entry, weights=weights, out=folder / "artifact")
        return done[key]

    return export


@pytest.mark.parametrize("entry", [PVT, PVT_LINEAR, SWIN], ids=lambda entry: entry.name)
def test_the_artifact_is_complete_and_equals_the_reference(exported, entry: ModelEntry) -> None:
    _, artifact = exported(entry)
    found = sorted(str(file.relative_to(artifact.folder)) for file in artifact.folder.rglob("*") if file.is_file())
    assert found == ["README.md", "config.json", "conformance.npz", "onnx/model.onnx", "preprocessor_config.json"]
    artifact.verify()
    assert (artifact.num_classes, artifact.architecture) == (10, entry.architecture)
    assert artifact.image_size == entry.image_size
    assert artifact.precisions == ("fp32",)
    assert artifact.source["file"] == "model.pdparams"
    assert artifact.source["url"] is None
    assert {"paddlepaddle", "paddle2onnx", "onnxsim", "onnx", "onnxzoo"} <= artifact.tools.keys()
    with np.load(artifact.folder / "conformance.npz") as vectors:
        assert vectors["names"].tolist() == [
            "chelsea.jpg",
            "coffee.jpg",
            "astronaut.jpg",
            "noise",
            "black",
            "saturated",
        ]
        assert np.ptp(vectors["logits"], axis=0).max() > 0.1, "the vectors must tell inputs apart"
    checks = list(validate(artifact))
    assert {(check.engine.name, check.batch_size) for check in checks} == {
        (engine, size) for engine in ("openvino", "onnxruntime") for size in (1, 2, 3)
    }
    assert all(checks), checks


def test_the_card_and_the_preprocessor_say_what_the_model_needs(exported) -> None:
    _, artifact = exported(PVT)
    card = (artifact.folder / "README.md").read_text()
    assert "pipeline_tag: image-classification" in card
    assert artifact.source["sha256"] in card
    preprocessor = json.loads((artifact.folder / "preprocessor_config.json").read_text())
    assert preprocessor["size"] == {"shortest_edge": 73}
    assert preprocessor["crop_size"] == {"height": 64, "width": 64}
    assert preprocessor["resample"] == 3
    assert preprocessor["image_mean"] == [0.485, 0.456, 0.406]


def test_the_exported_model_predicts_a_photo_on_both_engines(exported) -> None:
    _, artifact = exported(SWIN)
    results = []
    for engine in ("openvino", "onnxruntime"):
        with onnxzoo.load(artifact.folder, engine=engine) as model:
            results.append(model.predict(PHOTOS / "chelsea.jpg", top_k=3))
            assert model.engine.name == engine
    assert [score.class_id for score in results[0].top] == [score.class_id for score in results[1].top]
    assert results[0].label == f"class {results[0].class_id}"


def test_progress_names_every_step_in_order(tmp_path: Path) -> None:
    weights = save_seeded_checkpoint(PVT, tmp_path / "w.pdparams", seed=2, num_classes=3)
    seen = []
    export_model(PVT, weights=weights, out=tmp_path / "a", progress=lambda *step: seen.append(step))
    assert seen == [(number, len(STEPS), title) for number, title in enumerate(STEPS, start=1)]
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\nowl\n")
    artifact = export_model(PVT, weights=weights, out=tmp_path / "a", labels_file=labels)
    assert artifact.id2label == ("cat", "dog", "owl"), "an artifact is replaced whole"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "labels.txt", "w.pdparams"]


def test_labels_must_fit_the_checkpoint(exported, tmp_path: Path) -> None:
    weights, _ = exported(PVT)
    labels = tmp_path / "labels.txt"
    labels.write_text("cat\ndog\n")
    with pytest.raises(InputError, match=r"labels.txt has 2 labels, the checkpoint has 10 classes"):
        export_model(PVT, weights=weights, out=tmp_path / "a", labels_file=labels)
    with pytest.raises(InputError, match=r"cannot read the labels"):
        export_model(PVT, weights=weights, out=tmp_path / "a", labels_file=tmp_path / "none.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["labels.txt"]


def test_a_checkpoint_of_another_model_is_refused_and_nothing_is_left(exported, tmp_path: Path) -> None:
    weights, _ = exported(PVT)
    with pytest.raises(CheckpointError):
        export_model(SWIN, weights=weights, out=tmp_path / "a")
    deeper = dataclasses.replace(PVT, architecture=dataclasses.replace(PVT.architecture, depths=(1, 1, 2, 1)))
    with pytest.raises(CheckpointError, match=r"block3\.1\.attn"):
        export_model(deeper, weights=weights, out=tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_an_artifact_is_not_replaced(exported, tmp_path: Path) -> None:
    weights, _ = exported(PVT)
    (tmp_path / "precious.txt").write_text("keep me")
    with pytest.raises(InputError, match="will not be replaced"):
        export_model(PVT, weights=weights, out=tmp_path)
    with pytest.raises(InputError, match="is a file"):
        export_model(PVT, weights=weights, out=tmp_path / "precious.txt")
    assert (tmp_path / "precious.txt").read_text() == "keep me"


def test_the_working_directory_and_links_may_be_the_target(
    exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, _ = exported(PVT)
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    export_model(PVT, weights=weights, out=Path()).verify()
    assert Path.cwd() == tmp_path / "here"
    monkeypatch.chdir(tmp_path)
    artifact = export_model(PVT, weights=weights, out=Path("link"))
    artifact.verify()
    assert artifact.folder == tmp_path / "here"
    assert (tmp_path / "link").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link"]


def test_what_the_file_system_refuses_is_one_line(exported, tmp_path: Path) -> None:
    weights, _ = exported(PVT)
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"cannot be written: .*name another --out") as caught:
        export_model(PVT, weights=weights, out=tmp_path / "file" / "artifact")
    assert "\n" not in str(caught.value)


def test_a_failing_step_leaves_the_earlier_artifact_whole(
    exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights, _ = exported(PVT)
    before = export_model(PVT, weights=weights, out=tmp_path / "a").config
    steps = tmp_path / "broken"
    steps.mkdir()
    (steps / "static_program.py").write_text("import os; print('a long story'); os.abort()")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(conversion, "STEPS_PACKAGE", "broken")
    with pytest.raises(ExportError, match="'build the static Paddle program' was killed by SIGABRT") as caught:
        export_model(PVT, weights=weights, out=tmp_path / "a")
    assert "a long story" in caught.value.log
    after = read_artifact(tmp_path / "a")
    after.verify()
    assert after.config == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "broken"]


def test_an_export_that_a_shipped_model_hides_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Before anything is read: here, a checkpoint that is not there."""
    monkeypatch.setenv("ONNXZOO_CACHE", str(tmp_path / "cache"))
    with pytest.raises(CheckpointError):
        export_model(find("pvt_v2_nano_fashion"), weights=tmp_path / "none.pdparams")
    assert "the model pvt_v2_nano_fashion that ships with the package goes before the export" in caplog.text
    caplog.clear()
    with pytest.raises(CheckpointError):
        export_model(find("pvt_v2_nano_fashion"), weights=tmp_path / "none.pdparams", out=tmp_path / "mine")
    assert caplog.text == ""


def test_the_command_that_a_refused_artifact_names_makes_it_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the class names and the image size of the old one, in its place."""
    names = [f"thing {number}" for number in range(10)]
    (tmp_path / "names.txt").write_text("\n".join(names), encoding="utf-8")
    given = {"labels_file": tmp_path / "names.txt", "image_size": 64}
    old = old_input(export_model(find(NANO.stem), weights=NANO, out=tmp_path / "a model", **given).folder)
    with pytest.raises(ArtifactError) as caught:
        onnxzoo.load(old)
    words = shlex.split(str(caught.value).rpartition("make it again: ")[2])
    monkeypatch.chdir(NANO.parent)
    result = CliRunner().invoke(main, words[1:], prog_name="onnxzoo", catch_exceptions=False)
    assert result.exit_code == 0, result.output
    artifact = read_artifact(old)
    artifact.verify()
    assert artifact.id2label == tuple(names)
    assert artifact.image_size == 64
