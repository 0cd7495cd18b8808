"""Images in zip and tar archives: which members, their pixels, and archives that are cut short or hostile."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import struct
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from found_images import BLUE, GREEN, RED, colours, photo

from onnxzoo.batch.archives import MAX_HEADER_BYTES
from onnxzoo.batch.sources import open_source
from onnxzoo.errors import ImageError, InputError
from onnxzoo.image import LazyImage

MEMBERS = {"a/red.png": photo("red"), "a/red.json": b"{}", "blue.png": photo("blue"), "é犬.png": photo("green")}
"""In WebDataset's layout, an image has files of other kinds beside it."""
IMAGES = {"a/red.png": RED, "blue.png": BLUE, "é犬.png": GREEN}
TARS = {".tar": "w:", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz", ".TAR": "w:"}


def write_tar(path: Path, members: dict[str, bytes] = MEMBERS, **options: object) -> Path:
    mode = next(mode for suffix, mode in TARS.items() if path.name.endswith(suffix))
    with tarfile.open(path, mode, **options) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, members: dict[str, bytes] = MEMBERS, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_hard_link_in_a_tar_is_an_error(here):
    with tarfile.open("x.tar", "w") as archive:
        for name, linked in (("a.png", ""), ("b.png", "a.png")):
            info = tarfile.TarInfo(name)
            content = b"" if linked else photo("red")
            info.size, info.linkname, info.type = len(content), linked, tarfile.LNKTYPE if linked else tarfile.REGTYPE
            archive.addfile(info, io.BytesIO(content))
    first, second = open_source(["x.tar"])
    assert isinstance(first.image, LazyImage)
    assert "x.tar::b.png is a hard link in its archive, to 'a.png'" in str(second.image)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*arguments: str) -> dict[str, object]:
    entries = list(open_source(arguments))
    return dict(zip([entry.path for entry in entries], colours(entries), strict=True))


@pytest.mark.parametrize("suffix", TARS)
@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_the_images_of_a_tar(here, suffix, layout):
    members = {**MEMBERS, "long/" * 40 + "red.png": photo("red")}
    archive = write_tar(Path(f"x{suffix}"), members, format=layout)
    expected = {**IMAGES, "long/" * 40 + "red.png": RED}
    assert found(str(archive)) == {f"{archive}::{name}": colour for name, colour in expected.items()}
    assert open_source([str(archive)]).count() is None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_the_images_of_a_zip(here, method):
    write_zip(Path("x.zip"), method=method)
    assert found("x.zip") == {f"x.zip::{name}": colour for name, colour in IMAGES.items()}
    assert open_source(["x.zip"]).count() == 3


def test_what_is_not_an_image_is_skipped_and_counted(here):
    write_zip(Path("x.zip"), {**MEMBERS, "__MACOSX/._red.png": b"x", ".hidden/a.png": b"x", "folder.png/": b""})
    with tarfile.open("x.tar", "w") as archive:
        for name, kind in (
            ("link.png", tarfile.SYMTYPE),
            ("pipe.png", tarfile.FIFOTYPE),
            ("./.x.png", tarfile.REGTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type = kind
            archive.addfile(info)
        archive.add(write_zip(Path("inner.zip")))
        Path("red.png").write_bytes(photo("red"))
        archive.add("red.png", "./red.png")
    for name, images, summary in (
        ("x.zip", 3, "skipped 3 files: 2 hidden (x.zip::__MACOSX/._red.png), 1 not an image (.json)"),
        ("x.tar", 1, "skipped 4 files: 2 not a regular file (x.tar::link.png), 1 hidden (x.tar::./.x.png), 1 not an"),
    ):
        source = open_source([name])
        assert len(list(source)) == images
        assert str(source.skipped).startswith(summary)


def test_an_archive_is_read_again_in_the_same_order_and_members_of_one_name_are_kept(here):
    with tarfile.open("x.tar", "w") as archive:
        for colour in ("red", "blue"):
            Path("a.png").write_bytes(photo(colour))
            archive.add("a.png")
    assert found("x.tar") == found("x.tar") == {"x.tar::a.png": RED, "x.tar::a.png#2": BLUE}


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_members_are_read_on_any_thread_and_at_any_time(here, name):
    members = {f"{i}.png": photo(["red", "blue", "green"][i % 3]) for i in range(60)}
    (write_zip if name.endswith("zip") else write_tar)(Path(name), members)
    entries = list(open_source([name]))
    with ThreadPoolExecutor(8) as pool:
        several = list(pool.map(lambda entry: colours([entry])[0], entries * 4))
    assert several == [[RED, BLUE, GREEN][i % 3] for i in range(60)] * 4
    copies = pickle.loads(pickle.dumps(entries))
    assert colours(copies) == several[:60], "also in another process"
    held = sum(entry.image.held for entry in entries)
    assert held == (sum(map(len, members.values())) if name == "x.tar.gz" else 0)


def test_archives_by_a_pattern_and_in_a_list(here):
    for i in range(3):
        write_tar(Path(f"shard-{i}.tar"), {f"{i}.png": photo("red")})
    Path("shards.txt").write_text("shard-2.tar\nshard-0.tar\n")
    assert list(found("shard-*.tar")) == [f"shard-{i}.tar::{i}.png" for i in range(3)]
    assert list(found("shards.txt")) == ["shard-2.tar::2.png", "shard-0.tar::0.png"]
    with pytest.raises(InputError, match=r"the pattern 'z\*.tar' matches no archives"):
        list(open_source(["z*.tar"]))
    Path("folder.zip").mkdir()
    Path("folder.zip/a.png").write_bytes(photo("red"))
    assert list(found("folder.zip")) == ["folder.zip/a.png"]


def test_an_archive_in_a_folder_is_not_opened(here):
    Path("photos").mkdir()
    Path("photos/a.png").write_bytes(photo("red"))
    write_zip(Path("photos/x.zip"))
    source = open_source(["photos"])
    assert [entry.path for entry in source] == ["photos/a.png"]
    assert str(source.skipped) == "skipped 1 file: 1 not an image (.zip)"


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_an_archive_without_images_or_that_is_missing(here, name):
    (write_zip if name.endswith("zip") else write_tar)(Path(name), {"a.txt": b""})
    with pytest.raises(InputError, match=f"the archive '{name}' contains no images; skipped 1 file: "):
        list(open_source([name]))
    Path(name).unlink()
    (entry,) = open_source([name])
    assert entry.path == name
    assert str(entry.image) == f"{name} cannot be read: No such file or directory; check the path and its permissions"
    assert open_source([name]).count() == (1 if name == "x.zip" else None)


# Changes


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_the_identity_changes_with_the_archive_and_not_with_its_time(here, name):
    def identity(members: dict[str, bytes]) -> object:
        (write_zip if name.endswith("zip") else write_tar)(Path(name), members)
        return open_source([name]).identity()["sha256"]

    before = identity(MEMBERS)
    shutil.copy(name, "copy")
    os.replace("copy", name)
    assert open_source([name]).identity()["sha256"] == before
    assert identity({**MEMBERS, "more.png": photo("red")}) != before
    assert identity({**MEMBERS, "blue.png": photo("red")}) != before
    assert identity({key: MEMBERS[key] for key in reversed(MEMBERS)}) != before


# Archives that are cut short, damaged or hostile


def test_a_tar_that_is_cut_short_gives_what_comes_before_and_an_error(here):
    members = {f"{i}.png": photo("red") for i in range(20)}
    whole = write_tar(Path("x.tar"), members).read_bytes()
    starts = [entry.image.read.args[1] for entry in open_source(["x.tar"])]  # type: ignore[union-attr]
    size = len(photo("red"))
    for cut, good, error in (
        (starts[7] + size - 1, 7, "is incomplete"),
        (starts[7] - 1, 7, "cannot be read beyond its first 7 files: "),
        (starts[7] - 512, 7, "cannot be read beyond its first 7 files: it ends without the mark of its end"),
        (100, 0, "cannot be read beyond its first 0 files: "),
        (0, 0, "cannot be read beyond its first 0 files: empty file"),
    ):
        Path("x.tar").write_bytes(whole[:cut])
        rows = list(found("x.tar").values())
        assert rows[:good] == [RED] * good
        assert error in str(rows[good])
        last = "x.tar cannot be read beyond its first"
        assert last in str(rows[-1]), "the archive has an error of its own, as more may be lost than the image"
        assert len(rows) - good == (2 if "incomplete" in error else 1)


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tar.bz2", "x.tar.xz"])
def test_a_compressed_tar_that_is_cut_short(here, name):
    members = {f"{i}.png": os.urandom(300_000) for i in range(12)}
    whole = write_tar(Path(name), members).read_bytes()
    Path(name).write_bytes(whole[: len(whole) * 5 // 8])
    rows = found(name)
    assert list(rows)[:2] == [f"{name}::0.png", f"{name}::1.png"]
    assert "is not an image" in str(rows[f"{name}::0.png"]), "it was read, and is noise"
    assert "beyond its first" in str(rows[name])


def test_damage_in_the_middle_of_a_tar_is_not_its_end(here):
    data = bytearray(write_tar(Path("x.tar")).read_bytes())
    second = next(i for i in range(0, len(data), 512) if data[i:].startswith(b"blue.png"))
    data[second + 150] ^= 1  # in the header's checksum
    Path("x.tar").write_bytes(data)
    rows = found("x.tar")
    assert list(rows) == ["x.tar::a/red.png", "x.tar"]
    assert "beyond its first 2 files: the next header is damaged" in str(rows["x.tar"])


def test_a_zip_that_is_cut_short_is_one_error(here):
    whole = write_zip(Path("x.zip")).read_bytes()
    for cut in (len(whole) - 1, len(whole) // 2, 0):
        Path("x.zip").write_bytes(whole[:cut])
        ((path, error),) = found("x.zip").items()
        assert path == "x.zip"
        assert "the archive x.zip cannot be read" in str(error)


def zip_with(name: str, change: dict[int, int], content: bytes = photo("red")) -> None:
    """A zip of one stored image, of whose directory entry some 32-bit fields are replaced, by offset."""
    write_zip(Path(name), {"a.png": content}, zipfile.ZIP_STORED)
    data = bytearray(Path(name).read_bytes())
    directory = data.rindex(b"PK\1\2")
    for offset, value in change.items():
        struct.pack_into("<I", data, directory + offset, value)
    Path(name).write_bytes(data)


CRC, PACKED, SIZE, START = 16, 20, 24, 42


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({CRC: 1}, "x.zip::a.png is damaged: its checksum is wrong"),
        ({PACKED: 10}, "x.zip::a.png is incomplete"),
        ({SIZE: 10}, None),
        ({PACKED: 2**31, SIZE: 2**28 + 1}, "x.zip::a.png has more than 268435456 bytes"),
        ({PACKED: 2**31, SIZE: 10_000}, "x.zip::a.png is incomplete"),
        ({START: 3}, "x.zip::a.png is not where the archive's directory says"),
    ],
)
def test_a_zip_whose_directory_is_wrong(here, change, message):
    zip_with("x.zip", change)
    (entry,) = open_source(["x.zip"])
    (got,) = colours([entry])
    assert got == RED if message is None else message in str(got)


@pytest.mark.parametrize(("flag", "message"), [(1, "is encrypted"), (0, "is compressed by method 99")])
def test_a_member_that_is_encrypted_or_compressed_otherwise(here, flag, message):
    write_zip(Path("x.zip"), {"a.png": photo("red")}, zipfile.ZIP_STORED)
    data = bytearray(Path("x.zip").read_bytes())
    directory = data.rindex(b"PK\1\2")
    struct.pack_into("<HH", data, directory + 8, flag, 99)
    Path("x.zip").write_bytes(data)
    assert message in str(found("x.zip")["x.zip::a.png"])


def test_a_member_without_a_name(here):
    data = write_zip(Path("x.zip"), {"a": photo("red"), "b.png": photo("blue")}, zipfile.ZIP_STORED).read_bytes()
    directory = data.index(b"PK\1\2")
    Path("x.zip").write_bytes(data[: directory + 46] + b"\0" + data[directory + 47 :])
    assert found("x.zip") == {"x.zip::b.png": BLUE}


def test_a_bomb_is_unpacked_no_further_than_its_directory_says(here, monkeypatch):
    write_zip(Path("x.zip"), {"a.png": bytes(2**26)})
    data = bytearray(Path("x.zip").read_bytes())
    struct.pack_into("<I", data, data.rindex(b"PK\1\2") + SIZE, 1000)
    Path("x.zip").write_bytes(data)
    (entry,) = open_source(["x.zip"])
    assert isinstance(entry.image, LazyImage)
    assert len(entry.image.read(1001)) == 1001
    monkeypatch.setattr("onnxzoo.image_bytes.MAX_ENCODED_BYTES", 2**20)
    assert "a.png has more than 1048576 bytes" in str(colours([entry])[0])


@pytest.mark.parametrize("name", ["x.tar", "x.tar.gz"])
def test_a_header_that_would_fill_the_memory(here, name):
    huge = tarfile.TarInfo("x")
    huge.type, huge.size = tarfile.XHDTYPE, MAX_HEADER_BYTES + 1
    with tarfile.open(name, TARS[name[1:]]) as archive:
        archive.addfile(huge, io.BytesIO(bytes(huge.size)))
    assert "beyond its first 0 files: a header of" in str(found(name)[name])


def test_names_of_members_are_never_paths(here):
    outside = here.parent / "outside.png"
    members = {"../outside.png": photo("red"), str(outside): photo("blue"), "C:\\x.png": photo("red")}
    write_tar(Path("x.tar"), members)
    write_zip(Path("x.zip"), members)
    before = sorted(here.parent.rglob("*"))
    for name in ("x.tar", "x.zip"):
        assert list(found(name).values()) == [RED, BLUE, RED]
    assert sorted(here.parent.rglob("*")) == before


def test_an_archive_that_vanishes_during_a_run(here):
    write_zip(Path("x.zip"))
    write_tar(Path("x.tar"))
    entries = list(open_source(["x.zip", "x.tar"]))
    Path("x.zip").unlink()
    Path("x.tar").unlink()
    assert len(entries) == 6
    assert all("cannot be read: [Errno 2] No such file" in str(error) for error in colours(entries))


def test_a_folder_or_something_else_named_like_an_archive(here):
    Path("list.txt").write_text("x.zip\n")
    Path("x.zip").mkdir()
    assert "x.zip is a folder, not an image" in str(found("list.txt")["x.zip"])
    Path("y.tar").write_bytes(photo("red"))
    assert isinstance(next(iter(open_source(["y.tar"]))).image, ImageError)
