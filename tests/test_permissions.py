"""What the user may not read is named with the reason; it is neither taken for a bug nor for an empty folder."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from command_line import is_one_error_line, run
from permissions import forbid
from PIL import Image
from tiny import write_artifact

import onnxzoo
from onnxzoo.data.layouts import open_dataset
from onnxzoo.data.walk import NoImages, find_images
from onnxzoo.errors import ArtifactError, DatasetError, InputError
from onnxzoo.hub.inventory import EXPORT, CacheEntry, verify

DENIED = "cannot be read: Permission denied"


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with images in it and in two folders, of which `closed` may not be opened."""
    folder = tmp_path / "pictures"
    for name in ("a.png", "closed/b.png", "open/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), "red").save(folder / name)
    forbid(folder / "closed", monkeypatch)
    return folder


@pytest.fixture
def closed_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache whose folder of models may not be opened."""
    (cache / "models" / "pvt_v2_b0").mkdir(parents=True)
    forbid(cache / "models", monkeypatch)
    return cache


def test_an_image_in_a_closed_folder_is_named_and_the_others_are_classified(tiny: Path, pictures: Path) -> None:
    done = run("predict", tiny, pictures / "a.png", pictures / "closed" / "b.png", pictures / "open" / "c.png")
    assert done.exit_code == 1
    assert is_one_error_line(done.stderr)
    assert f"{pictures / 'closed' / 'b.png'} cannot be opened: Permission denied" in done.stderr
    assert [line for line in done.stdout.splitlines() if line.endswith("png")] == [
        str(pictures / "a.png"),
        str(pictures / "open" / "c.png"),
    ]


@pytest.mark.parametrize("argument", ["closed", "closed/", "closed/*.png", "closed/**/*.png"])
def test_a_closed_folder_is_not_called_empty(tiny: Path, pictures: Path, argument: str) -> None:
    done = run("predict", tiny, f"{pictures}/{argument}")
    assert done.exit_code == InputError.exit_code
    assert is_one_error_line(done.stderr)
    assert DENIED in done.stderr
    assert "no images" not in done.stderr


def test_a_closed_folder_inside_a_folder_is_named(tiny: Path, pictures: Path) -> None:
    refused = NoImages(str(pictures / "closed"), os.strerror(errno.EACCES))
    assert list(find_images([str(pictures)])) == [
        str(pictures / "a.png"),
        refused,
        str(pictures / "open" / "c.png"),
    ]
    done = run("predict", tiny, pictures)
    assert done.exit_code == 1
    assert str(refused) in done.stderr
    assert done.stdout.count(".png") == 2


def test_labelled_images_in_a_closed_folder_are_an_error(pictures: Path) -> None:
    with pytest.raises(DatasetError, match=f"closed {DENIED}"):
        open_dataset(pictures, "val")
    with pytest.raises(DatasetError, match=DENIED):
        open_dataset(pictures / "closed" / "within", "val")


@pytest.mark.parametrize(
    "arguments",
    [
        ["list"],
        ["info", "pvt_v2_b0"],
        ["predict", "pvt_v2_b0", "x.png"],
        ["cache", "list"],
        ["cache", "verify"],
        ["cache", "remove", "--all", "--yes"],
        ["cache", "remove", "pvt_v2_b0", "--yes"],
    ],
    ids=" ".join,
)
def test_a_closed_cache_is_not_a_bug(closed_cache: Path, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == ArtifactError.exit_code
    assert is_one_error_line(done.stderr)
    assert f"{closed_cache / 'models'}" in done.stderr
    assert f"{DENIED}; check its permissions" in done.stderr
    assert "bug" not in done.stderr


def test_a_closed_cache_raises_an_error_of_ours(closed_cache: Path) -> None:
    with pytest.raises(ArtifactError, match=DENIED):
        onnxzoo.load("pvt_v2_b0")
    with pytest.raises(ArtifactError, match=DENIED):
        onnxzoo.load("swinv2_base_w24", offline=True)
    with pytest.raises(InputError, match="Permission denied"):
        onnxzoo.load(closed_cache / "models" / "mine")
    assert onnxzoo.load("pvt_v2_nano_fashion").name == "pvt_v2_nano_fashion", "a shipped model needs no cache"


def test_a_relative_folder_that_is_closed_is_not_taken_for_a_name_on_the_hub(
    closed_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(closed_cache)
    with pytest.raises(InputError, match="'models/mine' is neither a model nor a folder: Permission denied"):
        onnxzoo.load("models/mine")


def test_a_model_with_a_closed_folder_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_artifact(tmp_path / "model")
    entry = CacheEntry(EXPORT, folder.name, folder, 0)
    assert verify(entry) == []
    forbid(folder / "onnx", monkeypatch)
    with pytest.raises(ArtifactError, match=DENIED):
        onnxzoo.load(folder)
    assert run("info", folder).exit_code == ArtifactError.exit_code
    [problem] = verify(entry)
    assert DENIED in problem


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC])
def test_what_the_system_refuses_anywhere_is_not_called_a_bug(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refused(*_: object) -> None:
        raise OSError(number, os.strerror(number), "/some/where")

    monkeypatch.setattr("onnxzoo.registry.list_models", refused)
    done = run("list")
    assert done.exit_code == 1
    assert done.stderr.startswith(f"onnxzoo: error: /some/where: {os.strerror(number)}; check the path")
    assert "bug" not in done.stderr
    monkeypatch.setattr("onnxzoo.registry.list_models", lambda _: 1 // 0)
    assert "this is a bug in onnxzoo" in run("list").stderr


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read anything")
def test_the_real_thing(tiny: Path, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()
    shutil.copytree(tiny, closed / "tiny")
    closed.chmod(0)
    try:
        assert list(find_images([str(closed)])) == [NoImages(str(closed), os.strerror(errno.EACCES))]
        assert list(find_images([str(closed / "a.png")])) == [str(closed / "a.png")]
        with pytest.raises(InputError, match="Permission denied"):
            onnxzoo.load(closed / "tiny")
    finally:
        closed.chmod(0o755)
