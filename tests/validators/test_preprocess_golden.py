"""`--preprocess`: golden images pass here, and every kind of change that moves a pixel is caught."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import PIL.Image
import pytest
from artifacts import SWIN, configure, copy_shipped
from onnxzoo.validators.preprocess import check_description, check_preprocess

from onnxzoo import image, image_reading
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import ImageError

KINDS = ("odd sizes", "JPEG", "CMYK", "EXIF orientation 6", "palette", "grey, 16 bit", "RGB, 16 bit", "alpha", "60 : 1")


def failing() -> dict[str, str]:
    return {check.case: check.problem for check in check_preprocess() if not check}


def test_the_pipeline_gives_the_golden_tensors() -> None:
    checks = list(check_preprocess())
    assert failing() == {}
    assert max(check.max_abs for check in checks) < 1e-6
    names = " / ".join(check.case for check in checks)
    assert all(kind in names for kind in KINDS)
    assert len({check.case for check in checks}) == len(checks) >= 25


def patched(monkeypatch: pytest.MonkeyPatch, change: Callable[..., Any]) -> None:
    """Replace the resizing of Pillow's images."""
    original = PIL.Image.Image.resize
    monkeypatch.setattr(PIL.Image.Image, "resize", lambda self, *args, **kw: change(original, self, *args, **kw))


def test_another_filter_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, lambda resize, self, size, _, *rest: resize(self, size, PIL.Image.Resampling.LANCZOS, *rest))
    found = failing()
    assert len(found) > 20
    assert f"Pillow {PIL.__version__}, recorded with Pillow " in found["RGB, odd sizes"]
    assert "values moved, by up to" in found["RGB, odd sizes"]
    assert "RGB, one pixel" not in found


def test_one_level_in_one_pixel_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(resize: Callable[..., PIL.Image.Image], self: PIL.Image.Image, *args: Any) -> PIL.Image.Image:
        result = resize(self, *args)
        middle = result.width // 2, result.height // 2
        red, green, blue = result.getpixel(middle)
        result.putpixel(middle, (red, green - 1 if green else 1, blue))
        return result

    patched(monkeypatch, change)
    found = failing()
    assert len(found) == len(list(check_preprocess()))
    assert "1 of 3072 values moved, by up to 0.0175 (1.0 of 255)" in found["RGB, odd sizes"]


def test_blue_green_red_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    original = image_reading._to_rgb
    swapped = lambda picture, name: PIL.Image.merge("RGB", original(picture, name).split()[::-1])  # noqa: E731
    monkeypatch.setattr(image_reading, "_to_rgb", swapped)
    found = failing()
    assert "RGB, odd sizes" in found
    assert "grey" not in found, "grey has no order"


@pytest.mark.parametrize(
    ("name", "replacement", "case"),
    [
        ("_upright", lambda picture, _orientation: picture, "EXIF orientation 6"),
        ("_eight_bits", lambda values, _name: (values // 256).astype(np.uint8), "grey, 16 bit"),
    ],
)
def test_a_case_left_out_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, replacement: Callable[..., Any], case: str
) -> None:
    monkeypatch.setattr(image_reading, name, replacement)
    found = failing()
    assert case in found
    assert "RGB, odd sizes" not in found


def test_a_batch_that_differs_from_single_images_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    original = image.preprocess_batch
    monkeypatch.setattr(image, "preprocess_batch", lambda images, spec: original(images, spec) + np.float32(1e-3))
    assert "3072 of 3072 values moved" in failing()["RGB, odd sizes"]


def test_an_image_that_can_no_longer_be_read_fails_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: object, spec: object) -> None:
        raise ImageError("bytes object is damaged")

    monkeypatch.setattr(image, "preprocess", refuse)
    assert "is damaged; Pillow" in failing()["palette"]


def test_a_tensor_of_another_shape_or_dtype_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "preprocess", lambda _source, _spec: np.zeros((3, 32, 32), np.float64))
    assert "expected float32 (3, 32, 32)" in failing()["palette"]


# What an artifact says about its preprocessing


def test_the_description_of_a_shipped_model_passes(tmp_path: Path) -> None:
    checks = list(check_description(read_artifact(copy_shipped(tmp_path / "a"))))
    assert [check.case for check in checks] == ["config.json", "conformance.npz: black", "conformance.npz: saturated"]
    assert all(checks)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"interpolation": "bilinear"}, "interpolation is bilinear, expected bicubic (the registry's "),
        ({"mean": [0.406, 0.456, 0.485]}, "mean is (0.406, 0.456, 0.485), expected (0.485, 0.456, 0.406)"),
        ({"std": [0.5, 0.5, 0.5]}, "std is (0.5, 0.5, 0.5)"),
    ],
)
def test_a_description_that_was_altered_fails(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    folder = copy_shipped(tmp_path / "a", SWIN)
    spec = dataclasses.asdict(read_artifact(folder).preprocess)
    configure(folder, preprocess={**spec, **change})
    checks = list(check_description(read_artifact(folder)))
    assert problem in checks[0].problem
    assert all(checks[1:]) is ("interpolation" in change), "plain images show mean and std, but not the filter"


def test_an_unknown_model_is_judged_by_its_vectors_alone(tmp_path: Path) -> None:
    folder = copy_shipped(tmp_path / "a")
    configure(folder, name="mine")
    checks = list(check_description(read_artifact(folder)))
    assert all(checks)
    assert "config.json" not in {check.case for check in checks}
