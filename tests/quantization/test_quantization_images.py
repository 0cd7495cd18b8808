"""The images of a quantisation: those of the user's, and the crops of the photos that ship."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from artifacts import PVT, copy_shipped

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.errors import ImageError, InputError
from onnxzoo.hub import SHIPPED_DIR
from onnxzoo.image import preprocess
from onnxzoo.quantization.images import SAMPLES, own_images, shipped_images
from onnxzoo.registry import find

SPEC = dataclasses.replace(find("pvt_v2_b0").preprocess, crop_size=8, resize_size=8)


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8))


def test_two_thirds_calibrate_and_the_others_are_held_out() -> None:
    given = pictures(300)
    found = own_images(given, SPEC, samples=20)
    assert found.calibration.shape == (20, 3, 8, 8)
    assert found.held_out.shape == (10, 3, 8, 8)
    assert not {each.tobytes() for each in found.calibration} & {each.tobytes() for each in found.held_out}
    assert found.calibration[0].tobytes() == preprocess(given[0], SPEC).tobytes()
    last = (found.calibration[-1].tobytes(), found.held_out[-1].tobytes())
    assert preprocess(given[-1], SPEC).tobytes() in last, "spread over all that were given"
    assert found.origin == "30 of 300 images that were given"
    fewer = own_images(given[:15], SPEC)
    assert (len(fewer.calibration), len(fewer.held_out)) == (10, 5)


@pytest.mark.parametrize("count", [0, 1, 11])
def test_too_few_images_are_refused(count: int) -> None:
    with pytest.raises(InputError, match=rf"at least 12 different images, got {count}; give a folder .*--images DIR"):
        own_images(pictures(count), SPEC)


def test_images_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(InputError, match="at least 12 different images, got 50, 1 of them different"):
        own_images(pictures(1) * 50, SPEC)


def test_too_few_samples_are_refused() -> None:
    with pytest.raises(InputError, match="samples must be at least 8, got 7"):
        own_images(pictures(40), SPEC, samples=7)
    with pytest.raises(InputError, match="samples must be at least 8, got 0"):
        shipped_images(dataclasses.replace(read_artifact(SHIPPED_DIR / PVT), name="pvt_v2_b0"), samples=0)


def test_an_unreadable_image_is_named_and_left_out() -> None:
    given = [*pictures(20), b"no image"]
    told: list[ImageError] = []
    found = own_images(given, SPEC, unreadable=told.append)
    assert len(found.calibration) + len(found.held_out) == 20
    assert len(told) == 1
    with pytest.raises(ImageError):
        own_images(given, SPEC)


def test_the_photos_that_ship_are_for_imagenets_models_only(tmp_path: Path) -> None:
    artifact = read_artifact(copy_shipped(tmp_path / "pvt"))
    with pytest.raises(InputError, match=r"not a model of ImageNet.*--images DIR"):
        shipped_images(artifact)
    imagenet = dataclasses.replace(artifact, name="pvt_v2_b0", preprocess=SPEC)
    found = shipped_images(imagenet)
    assert (len(found.calibration), len(found.held_out)) == (SAMPLES, SAMPLES // 2)
    every = [each.tobytes() for each in (*found.calibration, *found.held_out)]
    assert len(set(every)) == len(every), "no crop stands in both, or twice"
    assert "8 photos" in found.origin
    assert shipped_images(imagenet).calibration.tobytes() == found.calibration.tobytes(), "the same at every run"
