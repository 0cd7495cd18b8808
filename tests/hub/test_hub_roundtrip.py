"""From a maintainer's folder to the Hub and into a user's cache: the same bytes, the same numbers, few requests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from found import find_artifact
from hub_server import WRITE_TOKEN, LoopbackHub
from recorded import SHIPPED, copy

import onnxzoo
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cli import main
from onnxzoo.hub import lookup
from onnxzoo.hub.publish import publish

PHOTO = Path(__file__).parents[1] / "data/fashion_mnist_sample/Sneaker/0009.png"
MODEL_DATA = r"GET /objects/"


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_published_then_loaded_by_name_elsewhere(
    name: str, tmp_path: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    monkeypatch.setenv("ONNXZOO_NAMESPACE", "onnxzoo")
    folder = copy(name, tmp_path / "mine")
    publish(folder, f"onnxzoo/{name}")
    # The user has no token, nothing in any cache, and for the sake of this test a package without models.
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(lookup, "SHIPPED_DIR", tmp_path / "nothing")
    loopback.log.clear()
    with onnxzoo.load(name, engine="openvino") as model:
        found = model.predict(PHOTO, top_k=10).top
        there = model.artifact.folder
    first = loopback.log.all()
    size = sum((folder / name).stat().st_size for name in ("onnx/model.onnx", "conformance.npz"))
    assert loopback.log.sent(MODEL_DATA) == size
    assert not any(one.authorized for one in first)
    # Of files only three; the rest are HEADs, without a body, most of them the client's own before each file.
    assert [one.method for one in first].count("GET") == 3
    assert loopback.log.sent() == size + (folder / "config.json").stat().st_size
    assert len(first) <= 14, [(one.method, one.path) for one in first]

    # What was downloaded is what was published, bit by bit; the card was not needed.
    for path in ("config.json", "onnx/model.onnx", "conformance.npz"):
        assert (there / path).read_bytes() == (folder / path).read_bytes()
    assert not (there / "README.md").exists()

    with onnxzoo.load(folder, engine="openvino") as local:
        assert local.predict(PHOTO, top_k=10).top == found

    loopback.log.clear()
    with onnxzoo.load(name, engine="openvino") as model:
        assert model.predict(PHOTO, top_k=10).top == found
    # One question, which the Hub answers with a redirect: is this still the commit?
    assert [(one.method, one.sent) for one in loopback.log.all()] == [("HEAD", 0)] * 2

    loopback.log.clear()
    with onnxzoo.load(name, engine="openvino", offline=True) as model:
        assert model.predict(PHOTO, top_k=10).top == found
    assert loopback.log.all() == []

    result = CliRunner().invoke(main, ["validate", "--all", "--engine", "openvino"], prog_name="onnxzoo")
    assert result.exit_code == 0, result.output
    assert (there / "conformance.npz").read_bytes() == (folder / "conformance.npz").read_bytes()
    loopback.log.clear()
    assert find_artifact(name, offline=True) == there
    assert loopback.log.all() == []
    read_artifact(there).verified("conformance.npz")


@pytest.mark.slow
def test_an_edition_of_a_branch(tmp_path: Path, loopback: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    repo = "someone/two"
    one = publish(copy("pvt_v2_nano_fashion", tmp_path / "one"), repo)
    loopback.store.repos[repo].branches["next"] = loopback.store.repos[repo].branches["main"]
    publish(copy("swinv2_nano_fashion", tmp_path / "two"), repo, revision="next", replace=True)
    batch = np.zeros((1, 3, 32, 32), dtype=np.float32)
    for wanted, name in ((repo, "pvt_v2"), (f"{repo}@{one.commit}", "pvt_v2"), (f"{repo}@next", "swinv2")):
        with onnxzoo.load(wanted, engine="openvino") as model:
            assert model.name == f"{name}_nano_fashion"
            if name == "pvt_v2":
                assert model.logits(batch).shape == (1, 10)
