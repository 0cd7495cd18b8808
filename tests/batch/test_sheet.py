"""Contact sheets: which images they show, what is drawn, and that text from elsewhere stays text."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from onnxzoo.batch import sheet as sheet_module
from onnxzoo.batch.sheet import MAX_ERRORS, MAX_IMAGES, Sample, cell_of, refuse_sheet, write_sheet
from onnxzoo.batch.sheet_html import html_sheet
from onnxzoo.batch.sheet_parts import PICTURE_PIXELS, RIGHT_BAR, WRONG_BAR, Cell, Sheet
from onnxzoo.batch.sheet_png import ANSWERS_WIDTH, BAR_HEIGHT, fitted, png_sheet
from onnxzoo.errors import ImageError, InputError
from onnxzoo.image_reading import ImageInput
from onnxzoo.results import ClassScore, Prediction
from onnxzoo.stream import Result
from onnxzoo.web_page import BEST_BAR

HOSTILE = '"><script>alert(1)</script><img src=http://x onerror=y>\x1b[2J\u202egpj.exe\n</figure>'


def prediction(*shares: tuple[str, float]) -> Prediction:
    return Prediction(tuple(ClassScore(number, label, share) for number, (label, share) in enumerate(shares)))


CAT = prediction(("cat", 0.75), ("dog", 0.2), ("eel", 0.05), ("fox", 0.0))


def good(index: int, image: ImageInput | None = None, best: Prediction = CAT) -> Result:
    return Result(index, np.zeros((4, 4, 3), np.uint8) if image is None else image, best)


def bad(index: int, message: str = "x.png is empty") -> Result:
    return Result(index, "x.png", error=ImageError(message))


def drawn(sheet: Sheet) -> Image.Image:
    return Image.open(io.BytesIO(png_sheet(sheet)))


def pixels_of(sheet: Sheet, colour: str) -> int:
    wanted = ImageColor.getrgb(colour)
    return sum(count for count, value in drawn(sheet).getcolors(2**24) if value == wanted)


class Parsed(HTMLParser):
    """The elements and the text of a page, as a browser takes it."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


# which images


def test_few_images_are_all_shown_in_the_order_of_the_run():
    sample = Sample()
    for index in range(10):
        sample.add(f"{index}.png", bad(index) if index % 4 == 2 else good(index), "tiny")
    sheet = sample.sheet("tiny", "a note")
    assert [cell.name for cell in sheet.cells] == [f"{index}.png" for index in range(10)]
    assert sheet.notes == ("all 10 images; 2 cannot be read", "a note")


def test_many_images_are_sampled_evenly_and_errors_are_among_them(monkeypatch):
    made = []
    monkeypatch.setattr(sheet_module, "_picture", lambda image: made.append(image))
    sample = Sample()
    total = 20_000
    for index in range(total):
        sample.add(f"{index}.png", bad(index) if index % 100 == 0 else good(index), "tiny")
    sheet = sample.sheet("tiny")
    assert sheet.notes == (f"60 of 20,000 images, a random sample; 200 cannot be read, {MAX_ERRORS} of them shown",)
    assert len(sheet.cells) == MAX_IMAGES
    assert sum(bool(cell.error) for cell in sheet.cells) == MAX_ERRORS
    indices = [int(cell.name.removesuffix(".png")) for cell in sheet.cells]
    assert indices == sorted(set(indices))
    # A sample, not the beginning or the end: each fifth of the run has some of it.
    assert {index * 5 // total for index in indices} == {0, 1, 2, 3, 4}
    assert len(made) < 20 * MAX_IMAGES, "an image is read again only if it is kept, for now at least"


def test_the_same_images_are_shown_whatever_the_order_of_results():
    chosen = []
    for order in (range(300), reversed(range(300))):
        sample = Sample()
        for index in order:
            sample.add(f"{index}.png", good(index), "tiny")
        chosen.append([cell.name for cell in sample.sheet("tiny").cells])
    assert chosen[0] == chosen[1]
    assert len(chosen[0]) == MAX_IMAGES


@pytest.mark.parametrize(("readable", "errors", "shown"), [(10, 100, 50), (100, 3, 3), (0, 100, 60), (55, 20, 15)])
def test_errors_fill_only_the_places_that_are_left_or_theirs(readable, errors, shown):
    sample = Sample()
    for index in range(readable + errors):
        sample.add(f"{index}.png", good(index) if index < readable else bad(index), "tiny")
    cells = sample.sheet("tiny").cells
    assert sum(bool(cell.error) for cell in cells) == shown
    assert len(cells) == min(MAX_IMAGES, readable + errors)


def test_one_name_twice_is_two_images():
    sample = Sample()
    for index in range(3):
        sample.add("a.png", good(index), "tiny")
    assert len(sample.sheet("tiny").cells) == 3


# pictures


def test_a_picture_is_fitted_and_its_pixels_stay_what_they_were():
    small = cell_of("a", good(0, np.full((10, 7, 3), (9, 99, 199), np.uint8)), "tiny").picture
    assert small is not None
    assert small.size == (7 * 16, 10 * 16)
    assert small.getcolors() == [(7 * 16 * 10 * 16, (9, 99, 199))]
    large = cell_of("a", good(0, Image.new("L", (1000, 500), 77)), "tiny").picture
    assert large is not None
    assert large.size == (PICTURE_PIXELS, PICTURE_PIXELS // 2)


@pytest.mark.parametrize("draw", [png_sheet, html_sheet])
def test_a_file_that_has_gone_has_its_classes_without_its_picture(tmp_path, draw):
    cell = cell_of("gone.png", good(0, tmp_path / "gone.png"), "tiny")
    assert cell.picture is None
    assert [one.label for one in cell.answers[0][1].top] == ["cat", "dog", "eel"]
    page = draw(Sheet("tiny", (), (cell,)))
    if draw is html_sheet:
        assert "no longer readable" in Parsed(page).text
    else:
        assert Image.open(io.BytesIO(page)).height > PICTURE_PIXELS


# PNG


def test_bars_are_as_long_as_the_shares():
    sheet = Sheet("tiny", ("all 1 images",), (cell_of("a.png", good(0), "tiny"),))
    assert pixels_of(sheet, BEST_BAR) == round(0.75 * ANSWERS_WIDTH) * BAR_HEIGHT
    assert pixels_of(sheet, RIGHT_BAR) == pixels_of(sheet, WRONG_BAR) == 0


def test_with_the_truth_the_right_bar_is_green_and_a_wrong_best_red():
    picture = Image.new("RGB", (8, 8))
    right = Sheet("tiny", (), (Cell("a", picture, (("tiny", CAT),), "cat"),))
    wrong = Sheet("tiny", (), (Cell("a", picture, (("tiny", CAT),), "dog"),))
    assert pixels_of(right, RIGHT_BAR) == round(0.75 * ANSWERS_WIDTH) * BAR_HEIGHT
    assert pixels_of(right, WRONG_BAR) == 0
    assert pixels_of(wrong, WRONG_BAR) == round(0.75 * ANSWERS_WIDTH) * BAR_HEIGHT
    assert pixels_of(wrong, RIGHT_BAR) == round(0.2 * ANSWERS_WIDTH) * BAR_HEIGHT


def test_an_error_is_red_and_its_message_stays_in_its_cell():
    error = cell_of("x.png", bad(0, "word " * 400), "tiny")
    sheet = Sheet("tiny", (), (cell_of("a.png", good(0), "tiny"), error))
    height = drawn(sheet).height
    assert height == drawn(Sheet("tiny", (), (cell_of("a.png", good(0), "tiny"),))).height
    assert pixels_of(sheet, "#fdeceb") > 10_000
    assert pixels_of(sheet, "#b3261e") > 1_000


def test_a_sheet_of_nothing_and_one_of_hostile_text_can_be_drawn():
    assert drawn(Sheet("tiny", ("all 0 images",), ())).width > 100
    wide = prediction((HOSTILE * 50, 0.5), ("犬", 0.3), ("", 0.2))
    cells = [cell_of(name, good(0, best=wide), HOSTILE) for name in (HOSTILE, "caf\udce9.png", "", "x" * 10_000)]
    sheet = Sheet(HOSTILE * 100, (HOSTILE,), (*cells, cell_of("y", bad(1, HOSTILE * 99), "tiny")))
    one = Sheet("tiny", ("a",), (*(cell_of("a", good(0), "tiny") for _ in range(5)),))
    assert drawn(sheet).size == drawn(one).size


def test_a_long_text_is_cut_where_it_says_less():
    short = fitted("great white shark, white shark, man-eater", 14, 90)
    assert re.fullmatch(r"great.*[^ ]…", short)
    end = fitted("/data/holiday/2026/beach/IMG_0001.jpg", 14, 120, keep_end=True)
    assert re.fullmatch(r"….*IMG_0001\.jpg", end)
    assert fitted("cat", 14, 90) == "cat"
    assert fitted("żółw, Çağ", 14, 200) == "zołw, Cag", "the letters that the font has"


# HTML


def test_the_page_contains_everything_and_loads_nothing():
    page = Parsed(
        html_sheet(Sheet("tiny", ("all 2 images",), (cell_of("a.png", good(0), "t"), cell_of("x", bad(1), "t"))))
    )
    images = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 1
    assert str(images[0]).startswith("data:image/jpeg;base64,")
    assert not {"script", "link", "iframe", "a"} & {tag for tag, _ in page.tags}
    policy = next(attributes for tag, attributes in page.tags if attributes.get("http-equiv"))
    assert str(policy["content"]).startswith("default-src 'none'")
    for words in ("all 2 images", "a.png", "cat", "75.0%", "x.png is empty", "not readable"):
        assert words in page.text
    assert "width:75.0%" in [part for _, a in page.tags for part in str(a.get("style")).split(";")]


def test_hostile_names_and_labels_are_text():
    cells = (
        cell_of(HOSTILE, good(0, best=prediction((HOSTILE, 0.5))), HOSTILE),
        Cell(HOSTILE, None, ((HOSTILE, CAT), (HOSTILE, CAT)), HOSTILE),
        cell_of(HOSTILE, bad(1, HOSTILE), HOSTILE),
    )
    raw = html_sheet(Sheet(HOSTILE, (HOSTILE,), cells))
    page = Parsed(raw)
    allowed = {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "main", "figure", "figcaption"}
    assert {tag for tag, _ in page.tags} <= allowed | {"b", "bdi", "div", "img", "span"}
    assert all(str(attributes["src"]).startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count("alert(1)") >= 8
    assert not {"\x1b", "\u202e"} & set(raw.decode())


# files


@pytest.mark.parametrize("name", ["sheet.jpg", "sheet", "sheet.png.txt", ".png"])
def test_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"a contact sheet is a \.png or \.html file, got"):
        refuse_sheet(tmp_path / name)


def test_a_sheet_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "new" / "sheet.HTML"
    refuse_sheet(path)
    assert not path.parent.exists()
    write_sheet(path, Sheet("first", (), ()))
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="the contact sheet cannot be written to"):
        refuse_sheet(tmp_path / "file" / "sheet.png")

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left on device; make room, or name another file"):
        write_sheet(path, Sheet("second", (), ()))
    assert "first" in path.read_text(encoding="utf-8")
    assert [each.name for each in path.parent.iterdir()] == ["sheet.HTML"]


def test_both_kinds_are_what_their_suffix_says(tmp_path: Path):
    sheet = Sheet("tiny", ("note",), (cell_of("a.png", good(0), "tiny"),))
    for name, start in {"a.png": b"\x89PNG", "a.htm": b"<!doctype html>", "a.PNG": b"\x89PNG"}.items():
        write_sheet(tmp_path / name, sheet)
        assert (tmp_path / name).read_bytes().startswith(start)
