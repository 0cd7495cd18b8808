"""The result of a validation as one value: what is true of it, and what it is in JSON."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from artifacts import PVT, SWIN, alter, copy_shipped, scale_initializer
from onnxzoo.validators.environment import environment
from onnxzoo.validators.many import Installed, Summary, validate_many
from onnxzoo.validators.preprocess import PreprocessCheck
from onnxzoo.validators.result import PreprocessResult
from onnxzoo.validators.validate import Validation

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import InputError
from onnxzoo.hub import SHIPPED_DIR

pytest.importorskip("onnxruntime", reason="needs the cpu extra")

CHOICES = {"engines": ["onnxruntime"], "batch_sizes": [1]}
GOOD, BAD = PreprocessCheck("a", 0.0, 0, ""), PreprocessCheck("b", float("nan"), 3, "moved")


def validated(folder: Path) -> Validation:
    validation = Validation(read_artifact(folder), **CHOICES)
    for _ in validation.run():
        pass
    return validation


def test_a_result_is_what_was_found_until_then() -> None:
    validation = Validation(read_artifact(SHIPPED_DIR / PVT), **CHOICES)
    before = validation.result()
    assert (bool(before), before.checks, before.finished) == (False, (), False)
    running = validation.run()
    next(running)
    assert not validation.result(), "a part that passed is no validation that passed"
    list(running)
    after = validation.result()
    assert after
    assert (after.passed_checks, len(after.checks)) == (1, 1)
    assert before.checks == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.seed = 3  # type: ignore[misc]


def test_preprocessing_that_was_asked_for_has_to_pass_too() -> None:
    validation = validated(SHIPPED_DIR / PVT)
    assert validation.result(preprocess=[GOOD])
    assert not validation.result(preprocess=[GOOD, BAD])
    assert not validation.result(preprocess=[]), "nothing that was checked proves nothing"
    assert "preprocess" not in validation.result().to_dict()
    document = validation.result(preprocess=[GOOD, BAD]).to_dict()
    assert [one["passed"] for one in document["preprocess"]] == [True, False]
    assert document["preprocess"][1]["max_abs"] is None
    assert document["passed"] is False
    assert PreprocessResult((GOOD, BAD)).to_dict() == {"preprocess": document["preprocess"], "passed": False}


def test_a_failed_result_is_json_all_the_same(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "a")
    alter(folder, scale_initializer([96, 10], float("nan")))
    document = json.loads(json.dumps(validated(folder).result().to_dict(), allow_nan=False))
    assert document["passed"] is False
    (check,) = document["checks"]
    assert (check["passed"], check["comparison"]["max_abs"]) == (False, None)
    assert check["comparison"]["problems"]
    assert document["environment"] == environment()


def test_of_many_models_each_result_comes_when_it_is_known(tmp_path: Path) -> None:
    broken = copy_shipped(tmp_path / "broken")
    alter(broken, scale_initializer([96, 10], 1.01))
    models = [Installed("cache", "broken", broken), Installed("package", SWIN, SHIPPED_DIR / SWIN)]
    begun = []
    results = validate_many(models, CHOICES, lambda model, number, count: begun.append((model.name, number, count)))
    assert begun == []
    first = next(results)
    assert begun == [("broken", 1, 2)]
    assert not first
    assert first.error.startswith("onnxruntime, conformance, batch 1: 'logits' differs")
    summary = Summary((first, *results))
    assert (bool(summary), summary.failed) == (False, True)
    assert [one["passed"] for one in summary.to_dict()["models"]] == [False, True]
    assert Summary(summary.models[1:])
    assert not Summary(())


def test_choices_that_fit_no_model_are_refused_before_the_first() -> None:
    with pytest.raises(InputError, match="did you mean 'onnxruntime'"):
        validate_many([], {"engines": ["onnxruntme"]})
