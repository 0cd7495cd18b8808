"""The headline: a model of the registry by its name, from the official weights on a Hub on loopback, without Paddle."""

from __future__ import annotations

import dataclasses
import json
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hub_server import LoopbackHub
from huggingface_hub import constants
from official_weights import as_timm, official_file, seeded, write_safetensors

from onnxzoo import assemble, official
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import (
    ArtifactError,
    CheckpointError,
    DownloadError,
    InputError,
    ModelNotFoundError,
)
from onnxzoo.files import sha256_of
from onnxzoo.hub import client
from onnxzoo.hub.official import cached_weights, official_weights
from onnxzoo.official import official_artifact
from onnxzoo.registry import ModelEntry, find

pytestmark = pytest.mark.slow

B0 = find("pvt_v2_b0")
REPO = "timm/pvt_v2_b0.in1k"
FILE = "model.safetensors"


@pytest.fixture(scope="session")
def b0_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of pvt_v2_b0 as timm publishes them, seeded."""
    folder = tmp_path_factory.mktemp("b0")
    official_file(B0, folder / FILE)
    return folder


@pytest.fixture
def hub(loopback: LoopbackHub, b0_file: Path) -> LoopbackHub:
    """The loopback Hub with the weights of pvt_v2_b0 where timm has them."""
    loopback.store.add_repo(REPO, b0_file)
    return loopback


def publish(hub: LoopbackHub, folder: Path, state: dict[str, Any]) -> str:
    """Another file of weights in the repo of pvt_v2_b0; returns its SHA-256."""
    folder.mkdir(exist_ok=True)
    hub.store.change(REPO, write_safetensors(folder / FILE, state).parent)
    return sha256_of(folder / FILE)


def commit_of(hub: LoopbackHub) -> str:
    return hub.store.repos[REPO].branches["main"].sha


def nothing_is_left(cache: Path) -> bool:
    """But the lock."""
    return [path.name for path in (cache / "models").glob("*")] == [".pvt_v2_b0.lock"]


def test_a_name_becomes_an_artifact_with_its_provenance_and_needs_no_request_again(
    hub: LoopbackHub, cache: Path, b0_file: Path
) -> None:
    steps: list[tuple[int, int, str]] = []
    folder = official_artifact(B0, progress=lambda *step: steps.append(step))
    assert folder == cache / "models" / "pvt_v2_b0"
    assert [title for *_, title in steps] == [official.DOWNLOAD, *assemble.STEPS]
    assert [(number, total) for number, total, _ in steps] == [(number, 5) for number in range(1, 6)]
    artifact = read_artifact(folder)
    artifact.verify()
    assert artifact.assembled
    assert artifact.source == {
        "url": None,
        "repo": REPO,
        "commit": commit_of(hub),
        "file": FILE,
        "sha256": sha256_of(b0_file / FILE),
        "bytes": (b0_file / FILE).stat().st_size,
        "framework": "timm",
        "graph_sha256": assemble.graphs()["pvt_v2_b0"].sha256,
    }
    assert artifact.config["license"] == "apache-2.0"
    assert artifact.id2label[281] == "tabby, tabby cat"
    assert {"paddle2onnx", "onnxsim", "onnxzoo", "numpy"} <= artifact.tools.keys()
    card = (folder / "README.md").read_text()
    assert f"Downloaded from `{REPO}` on the Hugging Face Hub" in card
    assert "without Paddle" in card
    assert hub.log.sent() > 14e6
    hub.log.clear()
    assert official_artifact(B0) == folder
    assert official_artifact(B0, offline=True) == folder
    assert hub.log.all() == []
    assert cached_weights(artifact).read_bytes() == (b0_file / FILE).read_bytes()


def test_offline_a_model_is_assembled_from_weights_that_are_here(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelNotFoundError, match="pvt_v2_b0 is not on this machine, nor are its weights"):
        official_artifact(B0, offline=True)
    assert hub.log.all() == []
    weights = official_weights(B0)
    hub.log.clear()
    made: list[Path] = []
    monkeypatch.setattr(official, "assemble", lambda entry, path, folder, **_: made.append(path))
    for offline in (True, None):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
        official_artifact(B0, offline=offline)
    assert made == [weights.path] * 2
    assert hub.log.all() == []
    weights.path.resolve().write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match=r"was altered: .*, and offline, the Hub is not asked"):
        official_artifact(B0, offline=True)


def test_where_the_hub_cannot_be_reached_the_cached_weights_serve(
    hub: LoopbackHub, pauses: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    weights = official_weights(B0)
    hub.fail("HEAD", 99, status=503)
    assert official_weights(B0) == weights
    assert "using the copy in the cache" in caplog.text


def test_pinned_weights_are_asked_for_at_their_commit_and_must_be_those(
    hub: LoopbackHub, cache: Path, b0_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit, digest = commit_of(hub), sha256_of(b0_file / FILE)
    publish(hub, tmp_path / "newer", as_timm(B0, seeded(B0, seed=9)))
    assert commit_of(hub) != commit

    def pinned(sha256: str) -> ModelEntry:
        return dataclasses.replace(B0, source=dataclasses.replace(B0.source, timm_commit=commit, timm_sha256=sha256))

    monkeypatch.setattr(official, "assemble", lambda *_, **__: None)
    with pytest.raises(ArtifactError, match=f"sha256 is {digest}, expected {'0' * 64}, and did again"):
        official_artifact(pinned("0" * 64))
    hub.log.clear()
    official_artifact(pinned(digest))
    assert all(commit in one.path or "/objects/" in one.path for one in hub.log.all())
    hub.log.clear()
    official_artifact(pinned(digest), again=True)
    assert hub.log.all() == []


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda state: state.pop("norm4.weight"), r"missing: norm4\.weight"),
        (lambda state: state.update({"extra.weight": np.zeros(3, np.float32)}), r"unexpected: extra\.weight"),
        (
            lambda state: state.update({"block1.0.norm1.bias": np.zeros(31, np.float32)}),
            r"wrongly shaped: block1\.0\.norm1\.bias \(expected \[32\], got \[31\]\)",
        ),
        (
            lambda state: state["block1.0.norm1.bias"].__setitem__(3, np.nan),
            r"'block1\.0\.norm1\.bias' holds NaN or infinite numbers",
        ),
    ],
    ids=["missing", "extra", "misshapen", "NaN"],
)
def test_weights_with_a_fault_are_refused_in_one_line_and_leave_nothing(
    hub: LoopbackHub, cache: Path, tmp_path: Path, spoil: Callable[[dict[str, Any]], Any], message: str
) -> None:
    state = {name: array.copy() for name, array in seeded(B0).items()}
    spoil(state)
    publish(hub, tmp_path / "bad", as_timm(B0, state))
    with pytest.raises(CheckpointError, match=message) as caught:
        official_artifact(B0)
    assert "\n" not in str(caught.value)
    assert nothing_is_left(cache)


@pytest.mark.parametrize(
    ("other", "hint"),
    [("pvt_v2_b1", "they are weights of pvt_v2_b1$"), ("swinv2_tiny_w8", "of swinv2_tiny_w8 or swinv2_tiny_w16$")],
)
def test_another_models_weights_name_the_model_that_they_fit(tmp_path: Path, other: str, hint: str) -> None:
    path = official_file(find(other), tmp_path / FILE)
    with pytest.raises(CheckpointError, match=hint):
        assemble.assemble(B0, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_number_of_classes_needs_the_export(tmp_path: Path) -> None:
    path = write_safetensors(tmp_path / FILE, as_timm(B0, seeded(B0, classes=7)))
    with pytest.raises(InputError, match=r"has 7 classes, the graph of pvt_v2_b0 that ships has 1000; .*export"):
        assemble.assemble(B0, path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_header_that_lies_about_offsets_is_refused(
    hub: LoopbackHub, cache: Path, b0_file: Path, tmp_path: Path
) -> None:
    content = (b0_file / FILE).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["stages.3.norm.bias"]["data_offsets"] = [0, 1024]
    text = json.dumps(header).encode()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / FILE).write_bytes(len(text).to_bytes(8, "little") + text + content[8 + length :])
    hub.store.change(REPO, tmp_path / "bad")
    with pytest.raises(CheckpointError, match="overlaps the one before"):
        official_artifact(B0)
    assert nothing_is_left(cache)


@pytest.mark.parametrize("fault", [{"wrong_at": 5_000_000}, {"short_by": 1000}, {"cut_after": 100_000}])
def test_a_download_that_arrives_altered_or_short_comes_once_more(
    hub: LoopbackHub, fault: dict[str, int], pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "assemble", lambda entry, path, folder, **_: arrived.append(sha256_of(path)))
    arrived: list[str] = []
    hub.fail("GET /objects/", 1, **fault)
    official_artifact(B0)
    assert arrived == [hub.store.repos[REPO].branches["main"].files[FILE].sha256]


def test_a_download_that_is_altered_every_time_is_refused(hub: LoopbackHub, cache: Path) -> None:
    hub.fail("GET /objects/", 9, wrong_at=5_000_000)
    with pytest.raises(ArtifactError, match=r"was altered: .*, and did again when it was fetched a second time"):
        official_artifact(B0)
    assert nothing_is_left(cache)


def test_a_hub_that_announces_no_hash_is_not_trusted(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = client.remote_file(REPO, FILE, "main")
    for wrong in ({"etag": "0" * 40}, {"etag": None}, {"size": None}):
        said = dataclasses.replace(facts, **wrong)
        monkeypatch.setattr(client, "remote_file", lambda *_, said=said: said)
        with pytest.raises(ArtifactError, match="does not say its size and SHA-256"):
            official_artifact(B0)
    assert nothing_is_left(cache)


def test_a_repo_that_is_not_there(loopback: LoopbackHub, cache: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"timm/pvt_v2_b0\.in1k is not on the Hub"):
        official_artifact(B0)
    assert nothing_is_left(cache)


def test_a_full_disk_in_the_middle_of_assembling_leaves_nothing(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = assemble.fill

    def full(weightless: Any, numbers: Any, out: Any, **more: Any) -> str:
        class Full:
            written = 0

            def write(self, data: bytes) -> int:
                self.written += len(data)
                if self.written > 5_000_000:
                    raise OSError(28, "No space left on device")
                return int(out.write(data))

        return real(weightless, numbers, Full(), **more)  # type: ignore[arg-type]

    monkeypatch.setattr(assemble, "fill", full)
    with pytest.raises(ArtifactError, match=r"cannot be written: No space left on device; free space"):
        official_artifact(B0)
    assert nothing_is_left(cache)


def test_an_engine_that_gives_other_numbers_is_found_before_the_artifact_counts(
    hub: LoopbackHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = assemble.constants

    def wrong(spec: Any, state: Any) -> dict[str, Any]:
        found = dict(real(spec, state))
        found["head.bias"] = found["head.bias"] + np.float32(0.01)
        return found

    monkeypatch.setattr(assemble, "constants", wrong)
    with pytest.raises(ArtifactError, match=r"openvino gives other logits than the exact reference \(by .*e-0"):
        official_artifact(B0)
    assert nothing_is_left(cache)


def test_two_that_want_the_same_model_make_it_once(hub: LoopbackHub, cache: Path) -> None:
    made: list[str] = []
    found: list[Path] = []

    def want() -> None:
        found.append(official_artifact(B0, progress=lambda _n, _t, title: made.append(title)))

    threads = [threading.Thread(target=want) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [cache / "models" / "pvt_v2_b0"] * 3
    assert made == [official.DOWNLOAD, *assemble.STEPS]


@pytest.mark.parametrize("name", ["PVT_V2_B0_pretrained.pdparams", "PVT_V2_B0.pdparams"])
def test_paddleclas_is_the_other_source(cache: Path, name: str) -> None:
    with pytest.raises(DownloadError, match=r"the checkpoint of pvt_v2_b0 is not in .*checkpoints, and offline"):
        official_artifact(B0, source="paddleclas", offline=True)
    checkpoint = cache / "checkpoints" / name
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(pickle.dumps(seeded(B0)))
    artifact = read_artifact(official_artifact(B0, source="paddleclas", offline=True))
    assert (artifact.source["framework"], artifact.source["file"]) == ("paddle", name)
    assert "repo" not in artifact.source
    assert "license" not in artifact.config


def test_what_cannot_be_assembled_says_so() -> None:
    with pytest.raises(InputError, match="the source of weights must be timm or paddleclas, got 'torchvision'"):
        official_artifact(B0, source="torchvision")
    with pytest.raises(InputError, match="pvt_v2_nano_fashion cannot be assembled"):
        official_artifact(find("pvt_v2_nano_fashion"))
