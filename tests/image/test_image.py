"""Images become what a plain Pillow and float64 computation says, alone and in batches."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from pictures import MEAN, RED, SMALL, SPECS, STD, encoded, expected_input, photo, refused
from PIL import Image

from onnxzoo import image as onnxzoo_image
from onnxzoo.errors import ImageError
from onnxzoo.image import load_rgb, preprocess, preprocess_batch
from onnxzoo.registry import Preprocess

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


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


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 5000), (5000, 1)], ids=str)
def test_a_strip_of_1_by_5000_is_exact(size: tuple[int, int]) -> None:
    spec = SPECS["256->224"]
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    np.testing.assert_allclose(preprocess(noise, spec), expected_input(Image.fromarray(noise), spec), rtol=0, atol=1e-6)


@pytest.mark.slow
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
    with pytest.raises(ImageError, match=r"bad\.png does not exist"):
        preprocess_batch([good, good, bad, good], SMALL)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("onnxzoo-image")]


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
