"""Images in repositories of the Hugging Face Hub, from a Hub on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest
from found_images import BLUE, RED, colours, photo
from hub_server import WRITE_TOKEN, LoopbackHub
from huggingface_hub import HfFileSystem

from onnxzoo.batch.sources import open_source
from onnxzoo.errors import DownloadError

FILES = {"red.png": photo("red"), "deep/blue.png": photo("blue"), "README.md": b"# Photos"}


@pytest.fixture
def hub(loopback: LoopbackHub) -> LoopbackHub:
    HfFileSystem.clear_instance_cache()
    loopback.store.add_repo("someone/photos", FILES)
    loopback.store.add_repo("someone/secret", FILES, private=True)
    return loopback


def found(url: str) -> dict[str, object]:
    entries = list(open_source([url]))
    return dict(zip([entry.path for entry in entries], colours(entries), strict=True))


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("hf://someone/photos", {"red.png": RED, "deep/blue.png": BLUE}),
        ("hf://someone/photos/**/*.png", {"deep/blue.png": BLUE, "red.png": RED}),
        ("hf://someone/photos/red.png", {"red.png": RED}),
    ],
)
def test_a_repository_a_pattern_and_a_file(hub, url, expected):
    assert found(url) == {f"hf://someone/photos/{name}": colour for name, colour in expected.items()}


def test_what_is_private_needs_a_token(hub, monkeypatch):
    (message,) = found("hf://someone/secret/red.png").values()
    assert "/red.png does not exist or is private; check the URL, or set HF_TOKEN, or run `hf auth login`" in str(
        message
    )
    monkeypatch.setenv("HF_TOKEN", WRITE_TOKEN)
    HfFileSystem.clear_instance_cache()
    assert list(found("hf://someone/secret/red.png").values()) == [RED]


def test_offline_nothing_is_requested(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(DownloadError, match="offline mode is enabled"):
        list(open_source(["hf://someone/photos"]))
    assert hub.log.all() == []


def test_the_identity_changes_with_a_file_of_the_same_size(hub, tmp_path: Path):
    before = open_source(["hf://someone/photos"]).identity()
    assert open_source(["hf://someone/photos"]).identity() == before
    hub.store.add_repo("someone/photos", {**FILES, "red.png": bytes(len(photo("red")))})
    assert open_source(["hf://someone/photos"]).identity() != before
