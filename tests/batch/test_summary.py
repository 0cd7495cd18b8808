"""The summary of a run: classes by count, errors by kind, in bounded memory."""

from __future__ import annotations

import numpy as np
import pytest

from onnxzoo.batch import summary as summary_module
from onnxzoo.batch.summary import MAX_KINDS, OTHER_KIND, Summary, kind_of
from onnxzoo.errors import ImageError
from onnxzoo.image import load_rgb
from onnxzoo.results import ClassScore, Prediction
from onnxzoo.stream import Result

CUT = "the archive x.zip is cut short; get it again"


def of(label: str) -> Prediction:
    return Prediction((ClassScore(0, label, 0.9),))


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(summary_module.time, "monotonic", lambda: now[0])
    return now


def test_images_classes_and_errors_are_counted(clock, tmp_path):
    summary = Summary(began=clock[0])
    for index in range(1500):
        summary.add(f"{index}.png", Result(index, "x", of("cat" if index % 3 else "dog")))
    for name, content in {"a.png": b"", "b.png": b"", "c.png": b"no image"}.items():
        (tmp_path / name).write_bytes(content)
        image = tmp_path / name
        with pytest.raises(ImageError) as caught:
            load_rgb(image)
        clock[0] = 110
        summary.add(name, Result(0, image, error=caught.value))
    assert (summary.images, summary.failed) == (1503, 3)
    assert summary.lines() == [
        "1,503 images in 10.0 s (150.3 images/s); 3 could not be read",
        "2 classes: cat 1,000, dog 500",
        "errors: 'is empty' 2 (a.png), 'is not an image in a format that Pillow supports' 1 (c.png)",
    ]


def test_a_run_of_nothing_and_one_of_embeddings(clock):
    assert Summary(began=clock[0]).lines() == ["0 images in 0.0 s"]
    summary = Summary(began=clock[0])
    clock[0] += 2
    summary.add("a", Result(0, "a", of("cat"), np.zeros(3, np.float32)))
    clock[0] += 99  # what comes after the last result is not its speed
    assert summary.lines() == ["1 image in 2.0 s (0.5 images/s)"], "the classes of a table of embeddings are not shown"


def test_many_classes_and_kinds_are_cut(clock):
    summary = Summary(began=clock[0])
    for index in range(2000):
        summary.add("x", Result(index, "x", of(f"class {index % 40}")))
        summary.add(f"{index}", Result(index, "x", error=ImageError(f"x has {index} legs; cut some off")))
    classes, errors = summary.lines()[1:]
    assert classes == "40 classes: class 0 50, class 1 50, class 2 50, class 3 50, class 4 50, 35 more"
    assert len(summary.errors) == MAX_KINDS + 1
    assert errors == (
        f"errors: '{OTHER_KIND}' {2000 - MAX_KINDS:,} ({MAX_KINDS}), 'has 0 legs' 1 (0), 'has 1 legs' 1 (1), "
        f"'has 2 legs' 1 (2), 'has 3 legs' 1 (3), {MAX_KINDS - 4} more"
    )


@pytest.mark.parametrize(
    ("image", "message", "kind"),
    [
        ("a: b; c.png", "a: b; c.png is damaged or incomplete: broken data stream", "is damaged or incomplete"),
        ("a.png", "a.png does not exist; check the path", "does not exist"),
        (ImageError(CUT), CUT, "the archive x.zip is cut short"),
        ("a.png", "a.png", OTHER_KIND),
        ("a.png", "a.png " + "y" * 400, "y" * 80 + "..."),
    ],
)
def test_the_kind_is_what_messages_of_other_images_have_in_common(image, message, kind):
    assert kind_of(ImageError(message), image) == kind


def test_the_kind_of_an_entry_that_is_an_error_has_no_path_in_it():
    cut = ImageError("x.tar::a.png is incomplete, as the archive is cut short; get it again")
    beyond = ImageError("the archive x.tar cannot be read beyond its first files: wrong header")
    assert kind_of(cut, cut, "x.tar::a.png") == "is incomplete, as the archive is cut short"
    assert kind_of(beyond, beyond, "x.tar") == "the archive cannot be read beyond its first files"


def test_parts_are_summed_up(clock, tmp_path):
    whole = Summary(began=clock[0])
    for part in range(3):
        one = Summary()
        one.add("x", Result(0, "x", of("cat")))
        one.add(f"{part}.png", Result(1, "y", error=ImageError("y is empty; get it again")))
        clock[0] += 1
        whole.merge(one)
    assert whole.lines() == [
        "6 images in 3.0 s (2.0 images/s); 3 could not be read",
        "1 class: cat 3",
        "errors: 'is empty' 3 (0.png)",
    ]
