"""Sources: which images the arguments of a command name, in which order, under which names."""

from __future__ import annotations

import io
import os
import shutil
from pathlib import Path

import pytest
from found_images import BLUE, RED, colours
from PIL import Image

from onnxzoo.batch.rows import unicode_path
from onnxzoo.batch.sources import open_source
from onnxzoo.errors import ImageError, InputError


@pytest.fixture
def here(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder above `photos`, which is the current one."""
    monkeypatch.chdir(photos.parent)
    return photos.parent


def paths(*arguments: str, **options: object) -> list[str]:
    return [entry.path for entry in open_source(arguments, **options)]  # type: ignore[arg-type]


ALL = ["photos/black.png", "photos/blue.png", "photos/green.png", "photos/red.png"]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["photos"], ALL),
        (["photos/*e*.png"], [ALL[1], ALL[2], ALL[3]]),
        (["photos/red.png", "photos/blue.png"], [ALL[3], ALL[1]]),
        (["missing.png", "photos/red.png"], ["missing.png", ALL[3]]),
    ],
)
def test_files_folders_and_patterns_are_read_again_in_the_same_order(here, arguments, expected):
    source = open_source(arguments)
    assert [entry.path for entry in source] == [entry.path for entry in source] == expected
    assert source.count() == len(expected)
    assert [entry.image for entry in source] == expected


def test_an_image_that_is_named_again_is_an_entry_again_under_another_name(here):
    Path("photos/red.png#2").touch()
    source = open_source(["photos/red.png", "photos/red.png#2", "photos", "photos/red.png"])
    found = [entry.path for entry in source]
    assert found == ["photos/red.png", "photos/red.png#2", *ALL[:3], "photos/red.png#3", "photos/red.png#4"]
    assert len(set(found)) == source.count() == 7
    assert source.repeated == 2
    assert source.notes[1:] == ["2 images occur again; the path of each has a number: photos/red.png#3"]
    assert [entry.image for entry in source][-2:] == ["photos/red.png"] * 2
    assert paths("photos/red.png", "photos/red.png", unique=False) == ["photos/red.png"] * 2


def test_names_that_are_one_in_unicode_stay_apart(here):
    Path("photos/lat\\xe9.png").touch()
    Path("photos/lat\udce9.png").touch()
    assert len({unicode_path(path) for path in paths("photos")}) == len(ALL) + 2


def test_a_folder_that_does_not_exist_is_no_image(here):
    with pytest.raises(InputError, match="the folder 'phtos/' does not exist; check the path"):
        paths("phtos/")
    assert paths("phtos/", "photos/red.png") == ["phtos/", "photos/red.png"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("within", ["\n", "\r", "\r\n"])
def test_quoted_cells_of_a_list_keep_their_line_ends(here, end, within):
    shutil.copy("photos/red.png", f"photos/new{within}line.png")
    lines = ["path,x", f'"photos/new{within}line.png",1', "photos/blue.png,2", ""]
    Path("list.csv").write_bytes(end.join(lines).encode())
    assert colours(open_source(["list.csv"])) == [RED, BLUE]


def test_a_path_that_is_repeated_very_often(here):
    Path("list.txt").write_text("photos/red.png\n" * 20_000)
    found = paths("list.txt")
    assert (found[0], found[1], found[-1]) == (ALL[3], f"{ALL[3]}#2", f"{ALL[3]}#20000")
    assert len(set(found)) == 20_000


def test_a_source_without_images_is_refused_before_its_first_entry(here):
    Path("empty").mkdir()
    Path("empty/notes.txt").touch()
    for arguments in (["empty"], ["*.jpg", "empty"]):
        with pytest.raises(InputError, match="contains no images"):
            next(iter(open_source(arguments)))
    with pytest.raises(InputError, match=r"skipped 1 file: 1 not an image \(.txt\)"):
        next(iter(open_source(["empty"])))
    first, second = open_source(["empty", "photos/red.png"])
    assert (first.path, second.path) == ("empty", "photos/red.png")
    assert isinstance(first.image, ImageError)
    with pytest.raises(InputError, match="no images were given"):
        open_source([])


def test_the_identity_changes_with_names_sizes_order_and_arguments(here):
    def identity(*arguments: str) -> dict[str, object]:
        return open_source(arguments).identity()

    before = identity("photos")
    assert before == identity("photos")
    assert before["images"] == 4
    assert before["arguments"] == ["photos"]
    assert identity(*ALL)["sha256"] == before["sha256"]
    assert identity(*reversed(ALL))["sha256"] != before["sha256"]
    shutil.copy("photos/red.png", "photos/red2.png")
    assert identity("photos")["sha256"] != before["sha256"]
    Path("photos/red2.png").unlink()
    assert identity("photos") == before
    Image.new("RGB", (500, 40)).save("photos/red.png")
    assert identity("photos")["sha256"] != before["sha256"]


def test_a_source_that_is_used_again_sees_what_has_changed(here):
    source = open_source(["photos"])
    before = source.identity()
    assert len(list(source)) == source.count() == 4
    shutil.copy("photos/red.png", "photos/red2.png")
    assert len(list(source)) == source.count() == 5
    assert source.identity() != before


# Lists


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("photos/red.png\nphotos/missing.png\n\n photos/blue.png \n", "utf-8"),
        ("photos/red.png\r\nphotos/missing.png\r\nphotos/blue.png", "utf-8-sig"),
        ("photos/red.png\rphotos/missing.png\rphotos/blue.png\r", "utf-8"),
        ("photos/red.png\r\nphotos/missing.png\r\nphotos/blue.png\r\n", "utf-16"),
    ],
)
def test_a_list_has_a_path_in_every_line(here, text, encoding):
    Path("images.txt").write_bytes(text.encode(encoding))
    source = open_source(["images.txt"])
    entries = list(source)
    assert [entry.path for entry in entries] == ["photos/red.png", "photos/missing.png", "photos/blue.png"]
    assert source.count() == 3
    assert paths(lists=["images.txt"]) == [entry.path for entry in entries]


def test_paths_in_a_list_start_from_its_folder(here):
    Path("photos/list.txt").write_text(f"red.png\n../photos/blue.png\n{here}/photos/green.png\n")
    entries = list(open_source(["photos/list.txt"]))
    assert [entry.path for entry in entries] == [
        "photos/red.png",
        "photos/../photos/blue.png",
        f"{here}/photos/green.png",
    ]
    assert colours(entries) == [(255, 0, 0), (0, 0, 255), (0, 255, 0)]


def test_a_line_is_one_image_and_never_a_pattern(here):
    shutil.copy("photos/red.png", "photos/[r]ed *.png")
    Path("list.txt").write_text("photos/[r]ed *.png\nphotos\nphotos/*.png\n")
    first, second, third = colours(list(open_source(["list.txt"])))
    assert first == (255, 0, 0)
    assert "photos is a folder" in str(second)
    assert "*.png does not exist" in str(third)


@pytest.mark.parametrize(
    ("name", "text", "column", "expected"),
    [
        ("t.csv", "id,Path\n1,photos/red.png\n2,photos/blue.png\n", None, [ALL[3], ALL[1]]),
        ("t.csv", 'a;b\n1;"photos/red.png"\n', "b", [ALL[3]]),
        ("t.tsv", "image\tlabel\nphotos/red.png\tx y\n", None, [ALL[3]]),
        ("t.csv", "photos/red.png,1\nphotos/blue.png,2\n", "1", [ALL[3], ALL[1]]),
        ("T.CSV", "path\nphotos/red.png\n", None, [ALL[3]]),
        ("t.csv", "id,path\r1,photos/red.png\r", None, [ALL[3]]),
        ("val_list.txt", "photos/red.png 65\nphotos/blue.png\t7\n", "1", [ALL[3], ALL[1]]),
        ("val_list.txt", "65 photos/red.png\n\n", "2", [ALL[3]]),
    ],
)
def test_a_column_of_a_list(here, name, text, column, expected):
    Path(name).write_text(text)
    assert paths(name, column=column) == expected


def test_a_line_without_a_path_is_an_error_and_the_others_are_images(here):
    Path("t.csv").write_text('id,path\n1,photos/red.png\n2\n3,\n\n"4\n",photos/blue.png\n')
    first, short, empty, last = open_source(["t.csv"])
    assert (first.path, last.path) == (ALL[3], ALL[1])
    assert (short.path, empty.path) == ("t.csv:3", "t.csv:4")
    assert str(short.image) == ("the list 't.csv', line 3 has nothing in column 2; expected the path of an image there")
    assert open_source(["t.csv"]).count() == 4


@pytest.mark.parametrize(
    ("name", "content", "column", "message"),
    [
        (
            "t.csv",
            b"id,name\n1,x\n",
            None,
            "has no column named 'path', its headings are 'id', 'name'; name the column",
        ),
        ("t.csv", b"x" * 200_000, None, "has no line of headings: field larger than field limit"),
        ("t.csv", b"id,name\n1,x\n", "image", "has no column 'image', its headings are 'id', 'name'"),
        ("t.txt", b"photos/red.png 65\n", None, "has labels beside its paths; say which column to take: --column 1"),
        ("t.txt", b"photos/red.png 65\n", "path", "its column must be a number from 1, got 'path'"),
        ("t.txt", b"photos/red.png 65\n", "0", "its column must be a number from 1, got '0'"),
        ("t.txt", b"\x89PNG\r\n\x1a\n\0\0", None, "cannot be read: it is not text"),
        ("missing.txt", None, None, "the list 'missing.txt' cannot be read: No such file or directory"),
    ],
)
def test_a_list_that_cannot_be_read_is_refused_at_once(here, name, content, column, message):
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(InputError) as caught:
        open_source([name], column=column)
    assert message in str(caught.value)


def test_a_list_without_lines_has_no_images(here):
    for text in ("", "\n \n"):
        Path("empty.txt").write_text(text)
        with pytest.raises(InputError, match=r"the list 'empty.txt' names no images"):
            list(open_source(["empty.txt"]))


class Stdin:
    """Standard input with these bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("content", [b"photos/red.png\ncaf\xe9.png\n", b"photos/red.png\0caf\xe9.png\0"])
def test_a_list_on_standard_input_is_read_once_and_kept(here, monkeypatch, content):
    shutil.copy("photos/blue.png", b"caf\xe9.png")
    monkeypatch.setattr("sys.stdin", Stdin(content))
    source = open_source([], lists=["-"])
    for _ in range(2):
        entries = list(source)
        assert [os.fsencode(entry.path) for entry in entries] == [b"photos/red.png", b"caf\xe9.png"]
    assert colours(entries) == [(255, 0, 0), (0, 0, 255)]
    assert source.count() == 2


def test_an_image_on_standard_input_is_read_once_and_kept(here, monkeypatch):
    monkeypatch.setattr("sys.stdin", Stdin(Path("photos/blue.png").read_bytes()))
    source = open_source(["-"])
    assert colours(list(source)) == colours(list(source)) == [(0, 0, 255)]
    assert source.count() == 1
    monkeypatch.setattr("sys.stdin", Stdin(Path("photos/red.png").read_bytes()))
    assert open_source(["-"]).identity() != source.identity()


def test_standard_input_is_one_thing_and_may_be_closed(here, monkeypatch):
    with pytest.raises(InputError, match="more than once"):
        open_source(["-"], lists=["-"])
    with pytest.raises(InputError, match="more than once"):
        open_source(["-", "-"])
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(InputError, match="standard input is closed; pipe a list"):
        list(open_source([], lists=["-"]))
