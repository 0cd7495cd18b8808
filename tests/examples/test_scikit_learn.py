"""A scikit-learn pipeline on a model's features."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn")
sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import scikit_learn as example

import onnxzoo

PVT = "pvt_v2_nano_fashion"


@pytest.mark.slow
def test_ten_images_of_each_class_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    assert example.main(["--model", PVT]) > 0.8  # 0.1 by chance
    first, *rows = capsys.readouterr().out.splitlines()
    assert first.endswith("of 400 images, from 100 (10 for each of 10 classes)")
    assert len(rows) == 10
    assert sum(int(count) for row in rows for count in row.split()[-10:]) == 400


@pytest.mark.slow
def test_the_step_gives_the_features_of_the_model_and_can_be_copied_and_pickled() -> None:
    from sklearn.base import clone

    images, _ = example.labelled(example.SAMPLES)
    step = example.Embedding(PVT)
    features = step.fit_transform(images[:3])
    with onnxzoo.load(PVT) as model:
        np.testing.assert_allclose(features, model.embed(images[:3]), atol=1e-5)
    for other in (clone(step), pickle.loads(pickle.dumps(step))):  # the pickle of this test's own object
        assert not hasattr(other, "_loaded")
        np.testing.assert_allclose(other.transform(images[:3]), features, atol=1e-5)


@pytest.mark.parametrize("arguments", [["--per-class", "0"], ["--per-class", "50"]])
def test_too_few_or_too_many_images_to_learn_from_are_wrong_usage(arguments: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit):
        example.main(arguments)
    assert "--per-class must be at least 1, and leave images of 500" in capsys.readouterr().err


def test_a_folder_without_classes_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has no folders with images"):
        example.main([str(tmp_path)])
