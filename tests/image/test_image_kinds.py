"""Images of every kind give the same pixels: modes, bit depths, orientation, arrays, file objects."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from pictures import BLUE, GREEN, RED, SMALL, encoded, expected_input, photo, refused, with_alpha
from PIL import Image, ImageFile, ImageOps

from onnxzoo.errors import ImageError
from onnxzoo.image import load_rgb, preprocess
from onnxzoo.registry import Preprocess

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


# Kinds of images: all give the pixels on the right


def kinds() -> dict[str, tuple[bytes, Image.Image]]:
    """Encoded image -> the RGB pixels that it stands for."""
    rgb, grey = photo(), photo().convert("L")
    palette, rgba = rgb.quantize(64), with_alpha(rgb)
    jpeg = encoded(rgb, "JPEG", quality=90)
    cmyk = Image.merge("CMYK", [grey, *rgb.split()])
    frames = [Image.new("RGB", (30, 20), colour) for colour in (RED, GREEN, BLUE)]
    lab = Image.new("LAB", (9, 9), (128, 128, 128))  # half lightness, no colour
    rest = {"save_all": True, "append_images": frames[1:]}
    black_white = grey.point(lambda value: 255 * (value > 99))
    return {
        "rgb": (encoded(rgb), rgb),
        "jpeg": (jpeg, Image.open(io.BytesIO(jpeg)).convert("RGB")),
        "bmp": (encoded(rgb, "BMP"), rgb),
        "webp": (encoded(rgb, "WEBP", lossless=True), rgb),
        "grey": (encoded(grey), Image.merge("RGB", [grey] * 3)),
        "grey jpeg": (encoded(grey, "JPEG"), Image.open(io.BytesIO(encoded(grey, "JPEG"))).convert("RGB")),
        "1 bit": (encoded(black_white.convert("1")), Image.merge("RGB", [black_white] * 3)),
        "palette": (encoded(palette), palette.convert("RGB")),
        "palette with one transparent colour": (encoded(palette, transparency=3), palette.convert("RGB")),
        "palette with alpha": (encoded(palette, transparency=bytes(range(64))), palette.convert("RGB")),
        "rgba": (encoded(rgba), rgb),
        "grey and alpha": (encoded(rgba.convert("LA")), Image.merge("RGB", [grey] * 3)),
        "cmyk jpeg": (encoded(cmyk, "JPEG"), Image.open(io.BytesIO(encoded(cmyk, "JPEG"))).convert("RGB")),
        "cmyk tiff": (encoded(cmyk, "TIFF"), cmyk.convert("RGB")),
        "lab tiff": (encoded(lab, "TIFF"), Image.new("RGB", lab.size, (119, 119, 119))),
        "animated gif": (encoded(frames[0], "GIF", **rest), frames[0]),
        "animated png": (encoded(frames[0], "PNG", **rest), frames[0]),
        "animated webp": (encoded(frames[0], "WEBP", **rest, lossless=True), frames[0]),
        "many-page tiff": (encoded(frames[0], "TIFF", **rest), frames[0]),
        "one pixel": (encoded(Image.new("RGB", (1, 1), BLUE)), Image.new("RGB", (1, 1), BLUE)),
    }  # fmt: skip


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.filterwarnings("error")
def test_every_kind_is_read_to_its_pixels(kind: str, tmp_path: Path, spec: Preprocess) -> None:
    data, expected = kinds()[kind]
    path = tmp_path / "image"
    path.write_bytes(data)
    with Image.open(io.BytesIO(data)) as opened, path.open("rb") as file:
        for image in (data, path, str(path), file, opened):
            rgb = load_rgb(image)
            assert rgb.mode == "RGB"
            np.testing.assert_array_equal(np.asarray(rgb), np.asarray(expected))
        np.testing.assert_allclose(preprocess(data, spec), expected_input(expected, spec), rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "CMYK", "RGBX", "RGBA", "LA", "L", "P", "PA", "1", "La", "RGBa"])
@pytest.mark.filterwarnings("error")
def test_pil_images_of_every_mode(mode: str) -> None:
    rgb, grey = photo(), photo().convert("L").convert("RGB")
    if mode in ("La", "RGBa"):
        opaque = (grey if mode == "La" else rgb).convert({"La": "LA", "RGBa": "RGBA"}[mode])
        image, expected = opaque.convert(mode), opaque.convert("RGB")
    elif mode in ("PA", "LA"):
        image, expected = (
            rgb.convert({"PA": "P", "LA": "L"}[mode]).convert(mode),
            rgb.convert({"PA": "P", "LA": "L"}[mode]),
        )
    else:
        image = rgb.convert(mode)
        expected = image.convert("RGB")
    np.testing.assert_array_equal(np.asarray(load_rgb(image)), np.asarray(expected.convert("RGB")))


@pytest.mark.parametrize("mode", ["La", "RGBa"])
def test_colours_multiplied_by_alpha_come_back(mode: str) -> None:
    """Half transparent, the pixels hold half the colour; the image means the whole."""
    plain = {"La": "LA", "RGBa": "RGBA"}[mode]
    colour = (200, 128) if mode == "La" else (200, 100, 40, 128)
    image = Image.new(plain, (4, 4), colour).convert(mode)
    expected = (200, 200, 200) if mode == "La" else (200, 100, 40)
    np.testing.assert_allclose(np.asarray(load_rgb(image))[0, 0], expected, atol=1)


VALUES_16_BIT = np.array([[0, 128, 129, 257, 32767, 32768, 65406, 65407, 65535]], dtype=np.uint16)
VALUES_8_BIT = np.array([[0, 0, 1, 1, 127, 128, 254, 255, 255]], dtype=np.uint8)


@pytest.mark.parametrize("format_", ["PNG", "TIFF", "PGM"])
def test_16_bit_grey_files_are_scaled_not_clipped(format_: str) -> None:
    pgm = b"P5 9 1 65535\n" + VALUES_16_BIT.astype(">u2").tobytes()
    rgb = load_rgb(pgm if format_ == "PGM" else encoded(Image.fromarray(VALUES_16_BIT), format_))
    np.testing.assert_array_equal(np.asarray(rgb), np.stack([VALUES_8_BIT] * 3, axis=2))


@pytest.mark.parametrize("mode", ["I", "I;16", "I;16B"])
def test_16_bit_pil_images_are_scaled_not_clipped(mode: str) -> None:
    dtype = {"I": "<i4", "I;16": "<u2", "I;16B": ">u2"}[mode]
    image = Image.frombytes(mode, (9, 1), VALUES_16_BIT.astype(dtype).tobytes(), "raw", mode)
    np.testing.assert_array_equal(np.asarray(load_rgb(image)), np.stack([VALUES_8_BIT] * 3, axis=2))


def test_16_bit_photo_equals_its_8_bit_original(spec: Preprocess) -> None:
    grey = np.asarray(photo().convert("L"))
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    np.testing.assert_array_equal(preprocess(encoded(deep), spec), preprocess(Image.fromarray(grey), spec))


def test_float_pixels_are_0_to_255() -> None:
    values = np.array([[0, 1.4, 1.6, 254.9, 255]], dtype=np.float32)
    rgb = load_rgb(encoded(Image.fromarray(values), "TIFF"))
    assert np.asarray(rgb)[0, :, 0].tolist() == [0, 1, 2, 255, 255]
    assert np.asarray(load_rgb(Image.new("F", (2, 2), 0))).max() == 0


@pytest.mark.parametrize("value", [-1.0, 256.0, float("nan"), float("inf"), 0.5])
def test_float_pixels_of_another_range_are_refused(value: float) -> None:
    with pytest.raises(ImageError, match=r"PIL image of 2 x 2 pixels in mode F has float values .* expected 0\.\.255"):
        load_rgb(Image.new("F", (2, 2), value))


@pytest.mark.parametrize("value", [-1, 70_000])
def test_32_bit_grey_values_are_refused(value: int) -> None:
    with pytest.raises(ImageError, match=r"mode I has grey values .* expected 16 bits"):
        load_rgb(Image.new("I", (2, 2), value))


# EXIF orientation


def asymmetric() -> Image.Image:
    image = Image.new("RGB", (48, 32), (90, 90, 90))
    image.paste(RED, (0, 0, 16, 16))
    image.paste(GREEN, (32, 0, 48, 16))
    image.paste(BLUE, (0, 16, 16, 32))
    return image


STORED_FROM_UPRIGHT = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def tagged(upright: Image.Image, orientation: int, format_: str) -> bytes:
    method = STORED_FROM_UPRIGHT[orientation]
    stored = upright if method is None else upright.transpose(method)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, format_, exif=exif, **({"quality": 95, "subsampling": 0} if format_ == "JPEG" else {}))


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_gives_the_upright_image(orientation: int, format_: str, tmp_path: Path) -> None:
    data = tagged(asymmetric(), orientation, format_)
    path = tmp_path / "tagged"
    path.write_bytes(data)
    with Image.open(path) as opened:
        by_pillow = ImageOps.exif_transpose(opened)
        for image in (data, path, opened):
            rgb = load_rgb(image)
            assert rgb.size == (48, 32)
            np.testing.assert_allclose(np.asarray(rgb), np.asarray(asymmetric()), atol=12)
            np.testing.assert_array_equal(np.asarray(rgb), np.asarray(by_pillow))
    np.testing.assert_allclose(preprocess(data, SMALL), preprocess(asymmetric(), SMALL), atol=0.3)


def test_an_image_turned_upright_by_the_caller_is_not_turned_again() -> None:
    with Image.open(io.BytesIO(tagged(asymmetric(), 6, "PNG"))) as opened:
        upright = ImageOps.exif_transpose(opened)
    np.testing.assert_array_equal(np.asarray(load_rgb(upright)), np.asarray(asymmetric()))


def test_orientation_of_a_16_bit_image() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray(np.asarray(asymmetric().convert("L")).astype(np.uint16) * 257)
    data = encoded(deep.transpose(Image.Transpose.ROTATE_90), exif=exif)
    np.testing.assert_array_equal(np.asarray(load_rgb(data)), np.asarray(asymmetric().convert("L").convert("RGB")))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00II*\x00\xff\xff\xff\xff", b"Exif\x00\x00"])
def test_damaged_exif_leaves_the_pixels_as_they_are(exif: bytes) -> None:
    assert load_rgb(encoded(asymmetric(), "JPEG", exif=exif)).size == (48, 32)


# Arrays, file objects, paths


def test_array_views_are_read_as_they_look() -> None:
    pixels = skimage.data.coffee()[:90, :120]
    views = {
        "reversed rows": pixels[::-1],
        "reversed columns": pixels[:, ::-1],
        "reversed channels": pixels[:, :, ::-1],
        "every other": pixels[::2, ::3],
        "transposed": pixels.transpose(1, 0, 2),
        "fortran": np.asfortranarray(pixels),
        "broadcast": np.broadcast_to(pixels[:1], (30, 120, 3)),
        "read-only": pixels.view(),
    }
    views["read-only"].flags.writeable = False
    for name, view in views.items():
        np.testing.assert_array_equal(np.asarray(load_rgb(view)), view, err_msg=name)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4,), np.uint8),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((4, 0), np.uint8),
        np.zeros((4, 5), np.uint16),
        np.zeros((3, 4, 5), np.uint8),
        np.zeros((1, 4, 5, 3), np.uint8),
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5, 3), np.int64),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros((5, 0, 3), np.uint8),
        np.zeros((), np.uint8),
    ],
    ids=lambda array: f"{array.shape} {array.dtype}",
)
def test_other_arrays_are_refused_with_expected_and_got(array: np.ndarray) -> None:
    with pytest.raises(ImageError) as caught:
        load_rgb(array)
    message = str(caught.value)
    assert f"array of shape {array.shape} and dtype {array.dtype}" in message
    assert "expected uint8 of shape (H, W, 3)" in message


def test_grey_arrays_are_images() -> None:
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    assert np.array_equal(np.asarray(load_rgb(grey)), np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_encoded_images_of_every_kind_of_bytes(kind: type) -> None:
    data = encoded(photo())
    assert load_rgb(kind(data)).tobytes() == load_rgb(data).tobytes()
    assert refused(kind(b"nothing")).startswith(f"{kind.__name__} object of 7 bytes is not an image")


def test_file_object_is_read_from_its_position_and_stays_open() -> None:
    file = io.BytesIO(b"header " + encoded(photo()))
    file.seek(len(b"header "))
    np.testing.assert_array_equal(np.asarray(load_rgb(file)), np.asarray(photo()))
    assert not file.closed
    with pytest.raises(ImageError, match="file object BytesIO is empty"):
        load_rgb(file)


def test_a_pipe_is_an_image_file_too() -> None:
    code = "import sys; from onnxzoo.image import load_rgb; print(load_rgb('/dev/stdin').size)"
    if not Path("/dev/stdin").exists():
        pytest.skip("no /dev/stdin here")
    done = subprocess.run([sys.executable, "-P", "-c", code], input=encoded(photo()), capture_output=True, check=True)
    assert done.stdout.decode().strip() == "(61, 40)"


def test_no_file_is_left_open(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    good, cut, text = tmp_path / "good.gif", tmp_path / "cut.jpg", tmp_path / "text.png"
    frames = [Image.new("RGB", (30, 20), colour) for colour in (RED, GREEN)]
    good.write_bytes(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    cut.write_bytes(encoded(photo(), "JPEG")[:-200])
    text.write_text("not an image")
    load_rgb(good)
    for path in (cut, text):
        with pytest.raises(ImageError):
            load_rgb(path)
    if Path("/proc/self/fd").exists():
        open_files = {str(link.resolve()) for link in Path("/proc/self/fd").iterdir()}
        assert not open_files & {str(good), str(cut), str(text)}
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]


def test_the_callers_image_is_not_changed() -> None:
    image = with_alpha(photo())
    before = image.tobytes()
    preprocess(image, SMALL)
    assert (image.mode, image.tobytes()) == ("RGBA", before)


def test_pillows_global_settings_stay_as_they_are() -> None:
    before = Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    preprocess(photo(), SMALL)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_importing_the_module_does_not_load_pillow() -> None:
    code = "import onnxzoo.image, sys; raise SystemExit('PIL' in sys.modules)"
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
