"""Files: the cache folder, hashes, and nothing half-written."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import stat
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from interrupts import interrupted_at

from onnxzoo import files, temporary
from onnxzoo.errors import InputError

INSIDE = {temporary.__file__, files.__file__, contextlib.__file__}
"""The modules that write."""


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
    with pytest.raises(InputError, match=r"there is no cache folder .*home directory.*; set ONNXZOO_CACHE to"):
        files.models_dir()
    monkeypatch.setenv("ONNXZOO_CACHE", "~no such user/x")
    with pytest.raises(
        InputError, match=r"ONNXZOO_CACHE='~no such user/x' is not a usable folder .*; set ONNXZOO_CACHE to"
    ):
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


@pytest.mark.parametrize("kind", ["file", "folder", "scratch"])
@pytest.mark.parametrize("replaced", [False, True])
def test_an_interrupt_at_any_moment_leaves_nothing(tmp_path, monkeypatch, kind, replaced):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    # An interrupt in the last lines of a lock leaves it to the end of the process, which here goes on.
    monkeypatch.setattr(temporary, "PATIENCE_S", 0.0)
    target = tmp_path / "model"

    def write() -> None:
        if kind == "scratch":
            with temporary.scratch_folder("doctor") as folder:
                (folder / "one").touch()
        elif kind == "folder":
            replace_folder(target, "new", 1)
        else:
            replace_file(target, "new", 1)

    if replaced:
        write()
    moments = 0
    while interrupted_at(moments, write, INSIDE):
        moments += 1
        assert names_in(tmp_path) in ([], ["model"]), f"at moment {moments}"
    assert moments > 30, "the interrupts came while it was written"


def test_a_rename_that_fails_brings_the_old_folder_back(tmp_path, monkeypatch):
    target = tmp_path / "model"
    target.mkdir()
    (target / "old").touch()
    rename = os.replace
    monkeypatch.setattr(temporary, "exchange", lambda one, other: False)

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


# Several writers, killed writers

FORK = multiprocessing.get_context("fork") if os.name == "posix" else multiprocessing.get_context()


def replace_folder(target: Path, content: str, times: int) -> None:
    for _ in range(times):
        with files.atomic_folder(target) as folder:
            for name in ("one", "two", "three"):
                (folder / name).write_text(content, encoding="utf-8")


def replace_file(target: Path, content: str, times: int) -> None:
    for _ in range(times):
        with files.atomic_write(target) as file:
            file.write(content.encode())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="names are exchanged in one step on Linux only")
@pytest.mark.parametrize("start", ["nothing", "an empty folder", "an earlier folder"])
def test_many_threads_and_processes_replace_one_folder_while_others_read_it(tmp_path, start):
    target = tmp_path / "model"
    if start != "nothing":
        target.mkdir()
    if start == "an earlier folder":
        (target / "one").write_text("earlier", encoding="utf-8")
    writers = [FORK.Process(target=replace_folder, args=(target, f"process {n}", 40)) for n in range(3)]
    for process in writers:
        process.start()
    seen, missing, done = 0, [], threading.Event()

    def read() -> None:
        nonlocal seen
        while not done.is_set():
            try:
                missing.extend([] if (target / "one").read_text(encoding="utf-8") else ["an empty file"])
                seen += 1
            except OSError as error:
                missing.append(str(error))

    reader = threading.Thread(target=read)
    if start == "an earlier folder":
        reader.start()
    with ThreadPoolExecutor(4) as pool:
        for one in [pool.submit(replace_folder, target, f"thread {n}", 40) for n in range(4)]:
            one.result()
    for process in writers:
        process.join()
    done.set()
    if start == "an earlier folder":
        reader.join()
        assert seen > 0
    assert [process.exitcode for process in writers] == [0, 0, 0]
    assert not missing
    assert names_in(target) == ["one", "three", "two"]
    assert len({path.read_text(encoding="utf-8") for path in target.iterdir()}) == 1
    assert names_in(tmp_path) == ["model"]


def test_many_threads_replace_one_file(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        for one in [pool.submit(replace_file, tmp_path / "file", str(n) * 1000, 50) for n in range(8)]:
            one.result()
    assert len(set((tmp_path / "file").read_text(encoding="utf-8"))) == 1
    assert names_in(tmp_path) == ["file"]


def hang_while_writing(target: Path, scratch: Path, ready: Connection) -> None:
    tempfile.tempdir = str(scratch)
    with (
        files.atomic_folder(target) as folder,
        files.atomic_write(target.with_name("file")),
        temporary.scratch_folder("export") as work,
    ):
        (folder / "weights").touch()
        (work / "weights").touch()
        ready.send("ready")
        signal.pause()


@pytest.mark.skipif(os.name != "posix", reason="needs the locks of POSIX")
def test_what_a_killed_process_leaves_is_swept_and_what_a_living_one_writes_is_not(tmp_path, monkeypatch):
    target, scratch = tmp_path / "model", tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=hang_while_writing, args=(target, scratch, sender))
    process.start()
    try:
        assert receiver.recv() == "ready"
        there = {*names_in(tmp_path), *names_in(scratch)}
        assert len(there) == 4  # three that are being written, and the folder `scratch`
        replace_folder(target, "new", 1)
        replace_file(tmp_path / "file", "new", 1)
        with temporary.scratch_folder("doctor"):
            pass
        assert {*names_in(tmp_path), *names_in(scratch)} == there | {"model", "file"}
        assert not temporary.abandoned(tmp_path)
        assert not temporary.abandoned_scratch()
    finally:
        process.kill()
        process.join()
    assert len(temporary.abandoned(tmp_path)) == 2
    assert len(temporary.abandoned_scratch()) == 1
    replace_folder(target, "newer", 1)
    replace_file(tmp_path / "file", "newer", 1)
    with temporary.scratch_folder("doctor"):
        pass
    assert names_in(tmp_path) == ["file", "model", "scratch"]
    assert names_in(scratch) == []


@pytest.mark.skipif(os.name != "posix", reason="needs the locks of POSIX")
def test_a_folder_that_lost_its_name_when_a_process_was_killed_gets_it_back(tmp_path):
    retired = tmp_path / ".model.0123456789ab.old"
    retired.mkdir()
    (retired / "weights").touch()
    assert temporary.abandoned(tmp_path) == [retired]
    files.sweep(tmp_path / "model")
    assert names_in(tmp_path / "model") == ["weights"]
    retired.mkdir()
    files.sweep(tmp_path / "model")
    assert names_in(tmp_path) == ["model"]


@pytest.mark.skipif(os.name != "posix", reason="needs the locks of POSIX")
def test_only_names_of_ours_are_swept(tmp_path):
    others = [".model.tmp", ".model.0123456789ab.bak", "model.0123456789ab.tmp", ".model2.0123456789ab.tmp"]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / ".model.ba9876543210.tmp").symlink_to(tmp_path / others[0])
    replace_folder(tmp_path / "model", "new", 1)
    assert names_in(tmp_path) == sorted([*others, ".model.ba9876543210.tmp", "model"])


def test_without_exchange_a_folder_is_replaced_by_two_renames(tmp_path, monkeypatch):
    monkeypatch.setattr(temporary, "exchange", lambda one, other: False)
    for content in ("first", "second"):
        replace_folder(tmp_path / "model", content, 1)
        assert (tmp_path / "model" / "one").read_text(encoding="utf-8") == content
    assert names_in(tmp_path) == ["model"]


def test_without_locks_nothing_is_taken_for_abandoned(tmp_path, monkeypatch):
    monkeypatch.setattr(temporary, "fcntl", None)
    (tmp_path / ".model.0123456789ab.tmp").mkdir()
    replace_folder(tmp_path / "model", "new", 2)
    assert names_in(tmp_path) == [".model.0123456789ab.tmp", "model"]


def test_only_one_user_of_a_file_at_a_time(tmp_path):
    path = tmp_path / "lock"
    with temporary.sole_user(path) as first, temporary.sole_user(path) as second:
        assert (first, second) == (True, False)
    with temporary.sole_user(path) as again:
        assert again


def test_a_lock_on_a_file_that_was_removed_meanwhile_does_not_count(tmp_path, monkeypatch):
    """The user before removes the file between our opening it and our locking it."""
    path = tmp_path / "lock"
    lock = temporary._lock
    opened: list[int] = []

    def late(descriptor: int) -> bool | None:
        opened.append(descriptor)
        if len(opened) == 1:
            path.unlink()
        return lock(descriptor)

    monkeypatch.setattr(temporary, "_lock", late)
    with temporary.sole_user(path) as alone:
        assert alone
        assert len(opened) == 2
        assert path.exists()
        monkeypatch.undo()
        with temporary.sole_user(path) as second:
            assert not second
