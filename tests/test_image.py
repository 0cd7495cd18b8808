"""Images of every kind become what a plain Pillow and float64 computation says; what is no image is refused by name."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from PIL import Image, ImageFile, ImageOps

from onnxzoo import image as onnxzoo_image
from onnxzoo.errors import ImageError
from onnxzoo.image import MAX_PIXELS, describe, load_rgb, preprocess, preprocess_batch
from onnxzoo.registry import Preprocess

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPECS = {
    "256->224": Preprocess(256, 224, "bicubic", MEAN, STD),
    "292->256": Preprocess(292, 256, "bicubic", MEAN, STD),
    "384->384": Preprocess(384, 384, "bicubic", MEAN, STD),
}
SMALL = Preprocess(32, 24, "bicubic", MEAN, STD)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


@pytest.fixture(params=SPECS.values(), ids=SPECS.keys())
def spec(request: pytest.FixtureRequest) -> Preprocess:
    chosen: Preprocess = request.param
    return chosen


def expected_input(rgb: Image.Image, spec: Preprocess) -> np.ndarray:
    """The evaluation preprocessing step by step in plain Pillow and float64."""
    percent = float(spec.resize_size) / min(rgb.width, rgb.height)
    size = round(rgb.width * percent), round(rgb.height * percent)
    assert min(size) == spec.resize_size
    resized = rgb.resize(size, {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR}[spec.interpolation])
    left, top = (size[0] - spec.crop_size) // 2, (size[1] - spec.crop_size) // 2
    cropped = resized.crop((left, top, left + spec.crop_size, top + spec.crop_size))
    values = np.asarray(cropped).astype(np.float64) / 255.0
    values = (values - np.array(spec.mean)) / np.array(spec.std)
    return np.transpose(values, (2, 0, 1))


def encoded(image: Image.Image, format_: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format_, **options)
    return buffer.getvalue()


def photo(size: tuple[int, int] = (61, 40)) -> Image.Image:
    return Image.fromarray(skimage.data.chelsea()).resize(size)


def with_alpha(rgb: Image.Image) -> Image.Image:
    rgba = rgb.convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize(rgb.size))
    return rgba


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_that_declares(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


# Preprocessing


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_photos_match_the_plain_computation(name: str, spec: Preprocess) -> None:
    pixels = getattr(skimage.data, name)()
    out = preprocess(pixels, spec)
    assert out.shape == (3, spec.crop_size, spec.crop_size)
    assert out.dtype == np.float32
    assert out.flags.c_contiguous
    np.testing.assert_allclose(out, expected_input(Image.fromarray(pixels), spec), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 40), (40, 1), (3, 300), (500, 375), (375, 500), (224, 224), (257, 256), (641, 427)], ids=str
)
def test_any_shape_matches_the_plain_computation(size: tuple[int, int], spec: Preprocess) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    np.testing.assert_allclose(preprocess(noise, spec), expected_input(Image.fromarray(noise), spec), rtol=0, atol=1e-6)


def test_every_pixel_value_matches_to_1e_6() -> None:
    spec = Preprocess(256, 256, "bicubic", MEAN, STD)
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 256, axis=0).repeat(3, axis=2)
    np.testing.assert_allclose(preprocess(ramp, spec), expected_input(Image.fromarray(ramp), spec), rtol=0, atol=1e-6)


def test_interpolation_is_the_one_of_the_spec() -> None:
    bilinear = Preprocess(256, 224, "bilinear", MEAN, STD)
    np.testing.assert_allclose(preprocess(photo(), bilinear), expected_input(photo(), bilinear), rtol=0, atol=1e-6)
    assert np.abs(preprocess(photo(), bilinear) - preprocess(photo(), SPECS["256->224"])).max() > 0.01


def test_channels_are_red_green_blue() -> None:
    out = preprocess(Image.new("RGB", (50, 40), RED), SPECS["256->224"])
    for channel, (value, mean, std) in enumerate(zip((1, 0, 0), MEAN, STD, strict=True)):
        np.testing.assert_allclose(out[channel], (value - mean) / std, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)], ids=str)
def test_a_strip_of_1_by_5000_is_exact(size: tuple[int, int]) -> None:
    spec = SPECS["256->224"]
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    np.testing.assert_allclose(preprocess(noise, spec), expected_input(Image.fromarray(noise), spec), rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(40, 1), (3, 700), (500, 375), (375, 500), (10, 10), (900, 7), (1, 300)], ids=str)
def test_resizing_a_few_columns_at_a_time_changes_no_pixel(
    size: tuple[int, int], spec: Preprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    whole = preprocess(noise, spec)
    monkeypatch.setattr(onnxzoo_image, "MAX_WHOLE_RESIZE_PIXELS", 5000)
    np.testing.assert_array_equal(preprocess(noise, spec), whole)


def test_a_hair_is_refused_before_it_fills_the_memory(spec: Preprocess) -> None:
    assert "is too narrow: it would be resized to" in refused(np.zeros((200_000, 1, 3), np.uint8), spec)


def test_batch_holds_each_image_in_order(tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    photo().save(path)
    with path.open("rb") as file:
        kinds = [path, str(path), path.read_bytes(), file, photo(), np.asarray(photo()), photo((20, 90))] * 3
        kinds = [kind for kind in kinds if kind is not file] + [file]
        batch = preprocess_batch(kinds, SMALL)
    assert batch.shape == (19, 3, 24, 24)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    for image, out in zip(kinds[:-1], batch, strict=False):
        np.testing.assert_array_equal(out, preprocess(image, SMALL))
    np.testing.assert_array_equal(batch[-1], preprocess(path, SMALL))


def test_batch_takes_one_lazily_opened_image_many_times() -> None:
    data = encoded(photo((300, 200)), "JPEG")
    with Image.open(io.BytesIO(data)) as lazy:
        batch = preprocess_batch([lazy] * 8, SMALL)
    np.testing.assert_array_equal(batch, np.stack([preprocess(data, SMALL)] * 8))


def test_empty_batch() -> None:
    assert preprocess_batch([], SMALL).shape == (0, 3, 24, 24)


def test_batch_names_the_bad_image_and_leaves_no_thread(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    photo().save(good)
    with pytest.raises(ImageError, match=r"bad\.png: there is no such file"):
        preprocess_batch([good, good, bad, good], SMALL)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("onnxzoo-image")]


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


# What is refused


def refused(image: object, spec: Preprocess | None = None) -> str:
    """The message with which `load_rgb`, or with a spec `preprocess`, refuses the image."""
    with pytest.raises(ImageError) as caught:
        preprocess(image, spec) if spec else load_rgb(image)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(describe(image)[:200])  # of a name that is longer the middle is left out
    return message


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
    assert "there is no such file; check the path" in refused(tmp_path / "missing.jpg")
    assert "there is no such file; download it first" in refused("https://example.org/cat.jpg")
    assert "is a folder" in refused(tmp_path)
    assert "cannot be opened" in refused("a\0b.jpg")
    assert "there is no such file" in refused("")
    assert "cannot be opened" in refused(f"{tmp_path}/{'x' * 5000}")
    assert refused("two\nlines.jpg").startswith("'two\\nlines.jpg'")
    unreadable = tmp_path / "file.jpg" / "beneath.jpg"
    unreadable.parent.write_bytes(b"x")
    assert "cannot be opened" in refused(unreadable)


def test_other_objects_are_refused_by_name() -> None:
    assert "object of type NoneType is not an image; expected a path" in refused(None)
    assert "object of type int is not an image" in refused(3)
    assert "object of type list is not an image" in refused([[1, 2, 3]])
    assert "file object StringIO gives str instead of bytes" in refused(io.StringIO("text"))
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


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_batch_turns_rotated_images_once(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(photo((60, 40)), "JPEG", exif=exif)
    with Image.open(io.BytesIO(data)) as first, Image.open(io.BytesIO(data)) as second:
        batch = preprocess_batch([first, second, io.BytesIO(data), io.BytesIO(data), data], SMALL)
    for out in batch:
        np.testing.assert_array_equal(out, preprocess(data, SMALL))
    assert load_rgb(load_rgb(data)).tobytes() == load_rgb(data).tobytes(), "an upright image stays as it is"
