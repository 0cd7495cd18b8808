"""Files: the cache folder, hashes, and nothing half-written."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from onnxzoo import files
from onnxzoo.errors import InputError


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write_and_raise(target: Path, error: type[BaseException]) -> None:
    with files.atomic_write(target) as file:
        file.write(b"new")
        raise error


def fill_and_raise(target: Path, error: type[BaseException]) -> None:
    with files.atomic_folder(target) as folder:
        (folder / "new").touch()
        raise error


def test_the_cache_is_where_the_variable_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ONNXZOO_CACHE", str(tmp_path / "here"))
    assert files.cache_dir() == tmp_path / "here"
    assert files.models_dir() == tmp_path / "here" / "models"
    assert files.checkpoints_dir() == tmp_path / "here" / "checkpoints"
    assert not (tmp_path / "here").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="XDG is Linux's convention")
def test_the_cache_is_the_users(monkeypatch, tmp_path):
    monkeypatch.delenv("ONNXZOO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert files.cache_dir() == tmp_path / "onnxzoo"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files.cache_dir() == tmp_path / ".cache" / "onnxzoo"


def test_without_a_home_the_variable_is_asked_for(monkeypatch):
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for variable in ("ONNXZOO_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(InputError, match=r"no place for the cache folder .*home directory.*; set ONNXZOO_CACHE to"):
        files.models_dir()
    monkeypatch.setenv("ONNXZOO_CACHE", "~no such user/x")
    with pytest.raises(InputError, match=r"ONNXZOO_CACHE='~no such user/x' names no folder .*; set ONNXZOO_CACHE to"):
        files.cache_dir()


def test_sha256(tmp_path):
    (tmp_path / "empty").touch()
    assert files.sha256_of(tmp_path / "empty") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_file_appears_whole(tmp_path):
    target = tmp_path / "new" / "file"
    with files.atomic_write(target) as file:
        file.write(b"one")
        assert not target.exists()
    assert target.read_bytes() == b"one"
    assert names_in(target.parent) == ["file"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    target = tmp_path / "file"
    target.write_bytes(b"old")
    with pytest.raises(error):
        write_and_raise(target, error)
    assert target.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_a_folder_appears_whole_and_replaces_the_old_one(tmp_path):
    target = tmp_path / "model"
    for name in ("first", "second"):
        with files.atomic_folder(target) as folder:
            (folder / name).touch()
            assert name not in (names_in(target) if target.exists() else [])
        assert names_in(target) == [name]
    assert names_in(tmp_path) == ["model"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_folder_keeps_the_old_one_and_leaves_nothing(tmp_path, error):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(error):
        fill_and_raise(target, error)
    assert names_in(target) == ["old"]
    assert names_in(tmp_path) == ["model"]


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    rename = os.replace

    def fail_on_new(source: Path, destination: Path) -> None:
        if Path(source).name.endswith(".tmp"):
            raise OSError("disk trouble")
        rename(source, destination)

    monkeypatch.setattr(os, "replace", fail_on_new)
    with pytest.raises(OSError, match="disk trouble"), files.atomic_folder(target) as folder:
        (folder / "new").touch()
    assert names_in(target) == ["old"]
    assert names_in(tmp_path) == ["model"]


def test_a_folder_never_replaces_a_file(tmp_path):
    target = tmp_path / "model"
    target.write_bytes(b"precious")
    with pytest.raises(NotADirectoryError, match="is a file"), files.atomic_folder(target):
        pass
    assert target.read_bytes() == b"precious"


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_results_have_the_modes_that_the_user_asked_for(tmp_path):
    mask = os.umask(0o027)
    try:
        with files.atomic_write(tmp_path / "file") as file:
            file.write(b"")
        with files.atomic_folder(tmp_path / "folder"):
            pass
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o750
