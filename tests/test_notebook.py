"""What notebooks show of predictions and results: bars beside a picture, and never a file that is read for it."""

from __future__ import annotations

import base64
import dataclasses
import io
import pickle
import re

import numpy as np
import pytest
from PIL import Image
from tiny import COLOURS, SIZE

from onnxzoo.errors import ImageError
from onnxzoo.loading import load
from onnxzoo.results import PICTURE_PIXELS, ClassScore, Prediction
from onnxzoo.stream import Result

HOSTILE = "<script>alert(1)</script>\x1b[2J"


@pytest.fixture
def best() -> Prediction:
    return Prediction((ClassScore(1, HOSTILE, 0.75), ClassScore(0, "b", 0.25)))


def picture_in(html: str) -> Image.Image:
    (data,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', html)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_one_predicted_image_is_shown_as_the_model_saw_it(tiny, photos):
    with load(tiny) as model:
        best = model.predict(photos / "red.png")
        (photos / "red.png").unlink()
        html = best._repr_html_()
    assert np.array_equal(best.picture, np.full((SIZE, SIZE, 3), COLOURS["red"], np.uint8))
    shown = picture_in(html)
    assert max(shown.size) <= PICTURE_PIXELS
    middle = shown.getpixel((10, 10))
    assert all(abs(seen - real) < 8 for seen, real in zip(middle, COLOURS["red"], strict=True))
    assert ">red</bdi>" in html


def test_the_picture_of_a_large_input_is_reduced_and_keeps_its_colours():
    from onnxzoo.image import pixels_of, preprocess, reduced
    from onnxzoo.registry import Preprocess

    spec = Preprocess(256, 224, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    image = np.zeros((300, 300, 3), np.uint8)
    image[:, 150:] = (200, 100, 50)
    picture = pixels_of(reduced(preprocess(image, spec), PICTURE_PIXELS), spec)
    assert picture.shape == (112, 112, 3)
    assert picture[50, 10].tolist() == [0, 0, 0]
    assert picture[50, 100].tolist() == [200, 100, 50]


def test_predictions_of_many_images_keep_no_pictures(tiny, photos):
    with load(tiny) as model:
        (best,) = model.predict([photos / "red.png"])
    assert best.picture is None
    assert "<img" not in best._repr_html_()


def test_a_picture_changes_nothing_else(best):
    pictured = best.with_picture(np.zeros((4, 4, 3), np.uint8))
    assert pictured == best
    assert hash(pictured) == hash(best)
    assert repr(pictured) == repr(best)
    assert dataclasses.asdict(pictured) == dataclasses.asdict(best)
    assert pickle.loads(pickle.dumps(pictured)) == best
    assert pickle.loads(pickle.dumps(pictured)).picture is None


def test_labels_are_text(best):
    html = best._repr_html_()
    assert "<script" not in html
    assert "\x1b" not in html
    assert "width:75.0%" in html


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_result_shows_an_image_in_memory(best, as_bytes):
    stream = io.BytesIO()
    Image.new("RGB", (400, 300), (0, 0, 255)).save(stream, "PNG")
    image = stream.getvalue() if as_bytes else Image.new("RGB", (400, 300), (0, 0, 255))
    shown = picture_in(Result(3, image, best)._repr_html_())
    assert shown.size == (PICTURE_PIXELS, PICTURE_PIXELS * 3 // 4)
    assert shown.getpixel((5, 5))[2] > 240


def test_a_result_of_a_file_names_it_and_reads_nothing(best, photos, tmp_path):
    html = Result(0, photos / "red.png", best)._repr_html_()
    assert "red.png" in html
    assert "<img" not in html
    assert "gone.png" in Result(0, str(tmp_path / "gone.png"), best)._repr_html_()
    file = io.BytesIO(b"not read")
    Result(0, file, best)._repr_html_()
    assert file.tell() == 0


def test_a_result_without_a_prediction_shows_why(tmp_path):
    html = Result(1, tmp_path / "<b>.png", error=ImageError("<b>.png is empty"))._repr_html_()
    assert "&lt;b&gt;.png is empty" in html
    assert "<b>" not in html
