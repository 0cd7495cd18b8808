"""`load(..., engine="paddle")`: the reference model from its checkpoint, labels and preprocessing from an artifact."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny import LABELS, MEAN, SIZE, STD, write_artifact

from onnxzoo import registry
from onnxzoo.artifact.folder import INPUT_NAME, read_artifact
from onnxzoo.errors import CheckpointError, InputError, MissingDependencyError
from onnxzoo.files import checkpoints_dir, sha256_of
from onnxzoo.loading import load
from onnxzoo.registry import ModelEntry, Preprocess, WeightsSource


@pytest.fixture
def entry(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> ModelEntry:
    """A registry that has one model: the architecture that the tiny artifact says it has."""
    made = dataclasses.replace(
        registry.models()["pvt_v2_b0"],
        name="tiny",
        aliases=(),
        architecture=read_artifact(tiny).architecture,
        image_size=SIZE,
        preprocess=Preprocess(36, SIZE, "bicubic", MEAN, STD),
        source=WeightsSource("https://example.org/tiny_pretrained.pdparams", "example/tiny"),
    )
    monkeypatch.setattr(registry, "models", lambda: {"tiny": made})
    return made


@pytest.fixture
def weights(entry: ModelEntry, tmp_path: Path) -> Path:
    pytest.importorskip("paddle")
    from onnxzoo.reference.paddle.saving import save_seeded_checkpoint

    return save_seeded_checkpoint(entry, tmp_path / "tiny.pdparams", seed=0, num_classes=len(LABELS))


@pytest.mark.paddle
def test_the_reference_runs_the_checkpoint_with_the_artifacts_labels(tiny, entry, weights, photos, batch):
    from onnxzoo.families import ModelSpec
    from onnxzoo.reference.paddle.engine import PaddleEngine
    from onnxzoo.weights.checkpoint import read_checkpoint

    with load(tiny, engine="paddle", weights=str(weights)) as model:
        assert (model.engine.name, model.engine.precision) == ("paddle", "fp32")
        assert model.labels == LABELS
        assert {one.label for one in model.predict(photos / "red.png").top} == set(LABELS)
        logits = model.logits(batch)
    reference = PaddleEngine.open(
        ModelSpec(entry.architecture, SIZE, len(LABELS)), read_checkpoint(weights, entry).state
    )
    np.testing.assert_array_equal(logits, reference.run({INPUT_NAME: batch})["logits"])


@pytest.mark.paddle
def test_without_weights_the_registrys_checkpoint_must_be_the_artifacts_own(tiny, weights):
    cached = checkpoints_dir() / "tiny_pretrained.pdparams"
    cached.parent.mkdir(parents=True)
    weights.rename(cached)
    with pytest.raises(CheckpointError, match=r"not made from the registry's checkpoint .* expected sha256 0{64}, got"):
        load(tiny, engine="paddle")
    config = json.loads((tiny / "config.json").read_text())
    config["source"]["sha256"] = sha256_of(cached)
    (tiny / "config.json").write_text(json.dumps(config))
    with load(tiny, engine="paddle") as model:
        assert model.engine.name == "paddle"


@pytest.mark.paddle
def test_a_checkpoint_of_another_model_is_refused(tiny, entry, weights, tmp_path):
    from onnxzoo.reference.paddle.saving import save_seeded_checkpoint

    other = save_seeded_checkpoint(entry, tmp_path / "other.pdparams", seed=0, num_classes=7)
    with pytest.raises(CheckpointError, match=r"holds another model than .*num_classes=7.*, expected .*num_classes=4"):
        load(tiny, engine="paddle", weights=other)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load(tiny, engine="paddle", weights=tmp_path / "missing.pdparams")


def test_weights_are_for_the_reference_only(tiny, tmp_path):
    with pytest.raises(
        InputError, match=r"weights are for the engine 'paddle' or 'exact', .* 'onnxruntime' runs the artifact's"
    ):
        load(tiny, engine="onnxruntime", weights=tmp_path / "tiny.pdparams")


def test_the_reference_has_one_precision(tiny):
    with pytest.raises(InputError, match="computes in fp32 only, got precision 'fp16'"):
        load(tiny, engine="paddle", precision="fp16")


def test_without_paddle_it_says_how_to_get_it(tmp_path, monkeypatch):
    folder = write_artifact(tmp_path / "b0", name="pvt_v2_b0")
    monkeypatch.setattr("onnxzoo.reference.paddle.importing.importlib.util.find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'onnxzoo\[export\]'"):
        load(folder, engine="paddle")
