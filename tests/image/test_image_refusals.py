"""What is not an image, and images that cannot be read, are refused by name."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, photo, png_that_declares, refused
from PIL import Image

from onnxzoo.errors import ImageError
from onnxzoo.image import MAX_PIXELS, describe, load_rgb

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


BAD_FILES = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is text\n" * 20, "is not an image"),
    "signature only": (b"\x89PNG\r\n\x1a\n", "is not an image"),
    "cut jpeg": (encoded(photo((300, 200)), "JPEG")[:-300], "is damaged or incomplete"),
    "half a jpeg": (encoded(photo((300, 200)), "JPEG")[:3000], "is damaged or incomplete"),
    "cut png": (encoded(photo((300, 200)))[:-3000], "is damaged or incomplete"),
    "cut gif": (encoded(photo((300, 200)), "GIF")[:-3000], "is damaged or incomplete"),
    "cut bmp": (encoded(photo((300, 200)), "BMP")[:-3000], "is damaged or incomplete"),
    "cut tiff": (encoded(photo((300, 200)), "TIFF")[:-3000], ""),
    "cut webp": (encoded(photo((300, 200)), "WEBP")[:-3000], ""),
    "damaged png": (png_that_declares(50, 50), "is damaged or incomplete"),
    "postscript": (encoded(photo(), "EPS"), "is PostScript"),
    "bomb": (png_that_declares(60_000, 60_000), "is too large"),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_bad_file_is_refused_by_name(kind: str, tmp_path: Path) -> None:
    data, reason = BAD_FILES[kind]
    path = tmp_path / "photo of a cat.jpg"
    path.write_bytes(data)
    assert reason in refused(path)
    assert reason in refused(str(path))
    assert f"bytes object of {len(data)} bytes" in refused(data)
    with path.open("rb") as file:
        assert f"file object {path}" in refused(file)
        assert not file.closed


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_a_file_cut_anywhere_raises_nothing_but_image_error(format_: str) -> None:
    data = encoded(photo((80, 60)), format_)
    for end in range(0, len(data) - 64, max(1, len(data) // 60)):
        with pytest.raises(ImageError):
            load_rgb(data[:end])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format_", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_altered_bytes_raise_nothing_but_image_error(format_: str) -> None:
    data, stream = encoded(photo((80, 60)), format_), np.random.default_rng(1)
    for _ in range(150):
        altered = bytearray(data)
        for position in stream.integers(0, min(len(data), 400), 3):
            altered[position] = stream.integers(256)
        with contextlib.suppress(ImageError):
            assert load_rgb(bytes(altered)).mode == "RGB"


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_size_limit_is_checked_before_decoding() -> None:
    just_above = png_that_declares(MAX_PIXELS // 1000 + 1, 1000)
    assert f"89479 x 1000 pixels, the limit is {MAX_PIXELS}" in refused(just_above)
    just_below = png_that_declares(MAX_PIXELS // 1000, 1000)
    assert "too large" not in refused(just_below)


@pytest.mark.filterwarnings("error::PIL.Image.DecompressionBombWarning")
def test_the_size_limit_holds_where_warnings_are_errors() -> None:
    assert "is too large" in refused(png_that_declares(100_000, 1000))


def test_what_is_not_a_file_is_refused_by_name(tmp_path: Path) -> None:
    assert "does not exist; check the path" in refused(tmp_path / "missing.jpg")
    assert "does not exist; download it first" in refused("https://example.org/cat.jpg")
    assert "is a folder" in refused(tmp_path)
    assert "cannot be opened" in refused("a\0b.jpg")
    assert "does not exist" in refused("")
    assert "cannot be opened" in refused(f"{tmp_path}/{'x' * 5000}")
    assert refused("two\nlines.jpg").startswith("'two\\nlines.jpg'")
    unreadable = tmp_path / "file.jpg" / "beneath.jpg"
    unreadable.parent.write_bytes(b"x")
    assert "cannot be opened" in refused(unreadable)


def test_other_objects_are_refused_by_name() -> None:
    assert "object of type NoneType is not an image; expected a path" in refused(None)
    assert "object of type int is not an image" in refused(3)
    assert "object of type list is not an image" in refused([[1, 2, 3]])
    assert "file object StringIO returns str instead of bytes" in refused(io.StringIO("text"))
    closed = io.BytesIO()
    closed.close()
    assert "file object BytesIO cannot be read" in refused(closed)


def test_pil_images_without_pixels_or_closed_are_refused_by_name() -> None:
    assert "PIL image of 0 x 5 pixels in mode RGB has no pixels" in refused(Image.new("RGB", (0, 5)))
    assert "PIL image of 0 x 0 pixels in mode L has no pixels" in refused(Image.new("L", (0, 0)))
    opened = Image.open(io.BytesIO(encoded(photo())))
    opened.close()
    assert "PIL image of 61 x 40 pixels in mode RGB is damaged or incomplete" in refused(opened)


def test_describe_names_the_image(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"
    photo().save(path)
    assert describe(path) == describe(str(path)) == str(path)
    assert describe(b"1234") == "bytes object of 4 bytes"
    assert describe(np.zeros((2, 3, 3), np.uint8)) == "array of shape (2, 3, 3) and dtype uint8"
    with Image.open(path) as opened, path.open("rb") as file:
        assert describe(opened) == f"PIL image of 61 x 40 pixels in mode RGB from {path}"
        assert describe(file) == f"file object {path}"
