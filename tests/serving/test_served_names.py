"""Models are served under their own names, or those given as NAME=MODEL; two of one name are refused."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import pytest
from tiny import write_artifact

from onnxzoo.errors import InputError


def described(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310 - loopback
        document: dict[str, object] = json.load(answer)
    return document


def test_one_model_under_several_names(start, tmp_path: Path):
    folder = write_artifact(tmp_path / "tiny")
    with start(folder, f"blue-green_2.1={folder}") as address:
        for name in ("tiny", "blue-green_2.1"):
            assert described(f"{address.http}/v2/models/{name}")["name"] == name


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("", ""), "two of the models are called 'tiny', also .*; give one another name, NAME="),
        (("a=", "a="), "two of the models are called 'a'"),
        (("a b=",), "'a b' cannot be a model's name on a server"),
        (("=",), "'' cannot be a model's name on a server"),
    ],
)
def test_names_that_are_refused(start, tmp_path: Path, names, message):
    folder = write_artifact(tmp_path / "tiny")
    with pytest.raises(InputError, match=message), start(*(f"{name}{folder}" for name in names)):
        pass


def test_an_artifact_whose_own_name_is_no_name_there(start, tmp_path: Path):
    folder = write_artifact(tmp_path / "tiny", name="a/b")
    with pytest.raises(InputError, match="'a/b' cannot be a model's name on a server"), start(folder):
        pass
    with start(f"ab={folder}") as address:
        assert described(f"{address.http}/v2/models/ab")["name"] == "ab"
