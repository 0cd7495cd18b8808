"""The C++ client makes the same pixels of an image as Python, bit for bit, or refuses it with the same meaning."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from client_images import (
    PHOTOS,
    SMALL,
    altered_images,
    artifact_for,
    bad_images,
    cut_images,
    damaged_scan,
    differences,
    filter_specs,
    golden_cases,
    jpeg_kinds,
    oriented_kinds,
    png_kinds,
    raw_profiles,
    shapes,
    written,
)
from cpp_client import CppClient
from pictures import SPECS
from PIL import Image
from tiny import MEAN, STD

from onnxzoo.errors import ImageError
from onnxzoo.image import preprocess
from onnxzoo.registry import INTERPOLATIONS, Preprocess

pytestmark = pytest.mark.slow


def assert_equal_to_python(cpp: CppClient, spec: Preprocess, images: Mapping[str, bytes], folder: Path) -> None:
    found = cpp.tensors(artifact_for(spec, folder), written(images, folder))
    assert differences(spec, images, found) == {}


@pytest.mark.parametrize("spec", golden_cases(), ids=str)
def test_the_golden_cases(cpp: CppClient, spec: Preprocess, tmp_path: Path) -> None:
    assert_equal_to_python(cpp, spec, golden_cases()[spec], tmp_path)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_photos(cpp: CppClient, spec: Preprocess, tmp_path: Path) -> None:
    assert len(PHOTOS) > 5
    assert_equal_to_python(cpp, spec, {path.name: path.read_bytes() for path in PHOTOS}, tmp_path)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_every_filter_and_shape(cpp: CppClient, interpolation: str, tmp_path: Path) -> None:
    for spec in filter_specs(interpolation):
        assert_equal_to_python(cpp, spec, shapes(), tmp_path / str(spec.crop_size))


def test_every_kind_of_png(cpp: CppClient, tmp_path: Path) -> None:
    images = dict(png_kinds())
    assert_equal_to_python(cpp, SMALL, images, tmp_path)


def test_every_kind_of_jpeg(cpp: CppClient, tmp_path: Path) -> None:
    assert_equal_to_python(cpp, SMALL, dict(jpeg_kinds()), tmp_path)


# Orientation


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_orientation_as_in_python(cpp: CppClient, format_: str, tmp_path: Path) -> None:
    """Good, damaged and contradicting metadata: EXIF counts before XMP, and damaged EXIF hides XMP."""
    images = oriented_kinds(format_)
    assert_equal_to_python(cpp, SMALL, images, tmp_path)


def test_raw_profiles_of_imagemagick(cpp: CppClient, tmp_path: Path) -> None:
    assert_equal_to_python(cpp, SMALL, raw_profiles(), tmp_path)


# Bad images


@pytest.mark.filterwarnings("ignore")
def test_bad_images_are_refused_by_name_as_in_python(cpp: CppClient, tmp_path: Path) -> None:
    cases = bad_images()
    paths = written({name: data for name, (data, _) in cases.items()}, tmp_path)
    paths += [tmp_path, tmp_path / "missing.jpg", Path(f"{tmp_path}/{'x' * 5000}")]
    reasons = [reason for _, reason in cases.values()] + ["is a folder", "does not exist", "cannot be opened"]
    unidentified = [paths[list(cases).index(name)] for name in ("jpeg, 12 bits", "png, unknown compression of a text")]
    spec = Preprocess(384, 384, "bicubic", MEAN, STD)
    for path, reason, got in zip(paths, reasons, cpp.tensors(artifact_for(spec, tmp_path), paths), strict=True):
        assert isinstance(got, str), path
        assert got.startswith(str(path)[:200])
        assert reason in got
        if path == paths[list(cases).index("gif")]:
            continue  # Pillow reads more formats
        if path in unidentified:
            reason = "is not an image"  # Pillow takes it for another format
        with pytest.raises(ImageError) as caught:
            preprocess(path, spec)
        assert reason.partition(":")[0] in str(caught.value)


def test_data_that_python_accepts_and_this_client_does_not(cpp: CppClient, tmp_path: Path) -> None:
    """libjpeg warns of damaged data and goes on with grey pixels: no answer is given from those."""
    images = {str(position): damaged_scan(position) for position in (0.5, 0.9)}
    for got in cpp.tensors(artifact_for(SMALL, tmp_path), written(images, tmp_path)):
        assert isinstance(got, str)
        assert "is damaged or incomplete" in got
    grey_below = np.asarray(Image.open(io.BytesIO(images["0.5"])).convert("RGB"))[-1]
    assert grey_below.max() - grey_below.min() == 0


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_files_cut_anywhere_are_refused(cpp: CppClient, format_: str, tmp_path: Path) -> None:
    images = cut_images(format_)
    found = cpp.tensors(artifact_for(SMALL, tmp_path), written(images, tmp_path))
    assert [end for end, got in zip(images, found, strict=True) if not isinstance(got, str)] == []


@pytest.mark.parametrize("format_", ["JPEG", "PNG"])
def test_altered_bytes_give_pythons_pixels_or_a_refusal(cpp: CppClient, format_: str, tmp_path: Path) -> None:
    images = altered_images(format_)
    found = cpp.tensors(artifact_for(SMALL, tmp_path), written(images, tmp_path))
    read = 0
    for altered, got in zip(images.values(), found, strict=True):
        if isinstance(got, str):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert preprocess(altered, SMALL).tobytes() == got.tobytes()
        read += 1
    assert 0 < read < 300
