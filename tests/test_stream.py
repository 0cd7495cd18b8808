"""Streams: any iterable of images in, results as they come out, errors as values, each image read once."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import COLOURS, LABELS, tiny_outputs

import onnxzoo
from onnxzoo import stream as stream_module
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.engines.fake import FakeEngine
from onnxzoo.errors import EngineError, ImageError, InputError
from onnxzoo.model import Model
from onnxzoo.results import Array
from onnxzoo.stream import Result

WAIT_S = 30


def colour(name: str) -> np.ndarray:
    return np.full((40, 48, 3), COLOURS[name], dtype=np.uint8)


def png(name: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(colour(name)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(tiny_outputs)


@pytest.fixture
def model(tiny: Path, engine: FakeEngine) -> Model:
    return Model(read_artifact(tiny), engine, batch_size=3)


def labels(results: list[Result]) -> list[str]:
    return [result.prediction.label if result.prediction else "-" for result in results]


# What goes in, what comes out


def test_results_come_in_order_with_the_image_they_are_about(model, engine):
    images = [png(LABELS[i % 4]) for i in range(7)]
    results = list(model.stream(images))
    assert labels(results) == [LABELS[i % 4] for i in range(7)]
    assert [result.index for result in results] == list(range(7))
    assert all(result.image is image for result, image in zip(results, images, strict=True))
    assert all(results)
    assert {result.error for result in results} == {None}
    assert engine.batches == [3, 3, 1]


def test_every_kind_of_image_and_iterable(model, photos):
    path = photos / "red.png"
    kinds = [
        path,
        str(path),
        png("red"),
        io.BytesIO(png("red")),
        Image.open(path),
        colour("red"),
        colour("red")[..., 0],
    ]
    assert labels(list(model.stream(iter(kinds)))) == ["red"] * 6 + [labels([*model.stream([kinds[6]])])[0]]
    assert labels(list(model.stream(np.stack([colour(name) for name in LABELS])))) == list(LABELS)
    assert labels(list(model.stream(dict.fromkeys(sorted(photos.iterdir())).keys()))) == [
        "black",
        "blue",
        "green",
        "red",
    ]
    assert list(model.stream([])) == []


def test_what_a_file_object_or_pil_image_holds_when_it_is_taken_counts(model):
    """The caller may read or draw on while the pool is at work, and hand over the same object again."""
    picture = Image.new("RGB", (40, 40), COLOURS["red"])
    file = io.BytesIO(png("red"))

    def images() -> Iterator[object]:
        yield picture
        yield file  # its end is reached now, so that it is empty the second time
        yield file

    first, second, third = model.stream(images())
    assert labels([first, second]) == ["red", "red"]
    assert "is empty" in str(third.error)


def test_the_classes_are_those_of_predict_and_the_features_those_of_embed(model, engine):
    images = [png(name) for name in LABELS]
    results = list(model.stream(images, top_k=2, embed=True))
    assert engine.batches == [3, 1], "one run gives both"
    assert [result.prediction for result in results] == model.predict(images, top_k=2)
    np.testing.assert_array_equal(np.stack([result.embedding for result in results]), model.embed(images))
    assert [result.embedding for result in model.stream(images)] == [None] * 4


def test_another_batch_size_changes_nothing_but_the_runs(model, engine):
    images = [png(LABELS[i % 4]) for i in range(5)]
    assert list(model.stream(images, batch_size=2)) == list(model.stream(images, batch_size=100))
    assert engine.batches == [2, 2, 1, 5]


def test_the_public_name():
    assert onnxzoo.Result is Result


# Errors as values


def test_an_image_that_cannot_be_read_is_a_result_beside_its_image(model, engine, photos):
    bad = photos / "bad.png"
    bad.write_bytes(b"no image")
    images = [photos / "red.png", bad, photos / "blue.png", photos / "missing.png", photos / "green.png"]
    results = list(model.stream(images, embed=True))
    assert labels(results) == ["red", "-", "blue", "-", "green"]
    assert [bool(result) for result in results] == [True, False, True, False, True]
    assert results[1].image == bad
    assert str(bad) in str(results[1].error)
    assert "does not exist" in str(results[3].error)
    assert (results[3].prediction, results[3].embedding) == (None, None)
    assert engine.batches == [2, 1], "an unreadable image takes no place in a run"


def test_what_is_not_an_image_is_a_result_too(model):
    results = list(model.stream([None, 3, colour("red").astype(np.float32), "", colour("red")]))
    assert labels(results) == ["-"] * 4 + ["red"]
    assert all("is not an image" in str(result.error) for result in results[:3])


def test_an_error_of_the_source_comes_back_in_its_place(model):
    lost = ImageError("member 2 of a.zip is cut short; get the archive again")
    results = list(model.stream([png("red"), lost, png("blue")]))
    assert labels(results) == ["red", "-", "blue"]
    assert results[1].error is lost


def test_without_a_readable_image_the_engine_does_not_run(model, engine):
    assert labels(list(model.stream([b"x"] * 7))) == ["-"] * 7
    assert engine.batches == []


@pytest.mark.parametrize("ordered", [True, False])
def test_no_image_is_read_twice(model, monkeypatch, ordered):
    names: list[str] = []
    original = stream_module.preprocess_into

    def counted(out: Array, image: object, name: str, *rest: object) -> None:
        names.append(name)
        original(out, image, name, *rest)

    monkeypatch.setattr(stream_module, "preprocess_into", counted)
    images = [png("red") if i % 3 else b"x" * (i + 1) for i in range(10)]
    results = list(model.stream(images, ordered=ordered))
    assert sorted(result.index for result in results) == list(range(10))
    assert len(names) == 10


def test_a_source_that_fails_gives_what_came_before_first(model):
    def images() -> Iterator[bytes]:
        yield from [png("red")] * 4
        raise ConnectionError("the bucket is gone")

    results = model.stream(images())
    assert labels([next(results) for _ in range(4)]) == ["red"] * 4
    with pytest.raises(ConnectionError, match="bucket"):
        next(results)


def test_an_engine_that_fails_is_not_an_error_of_an_image(tiny):
    def fail(_batch: Array) -> dict[str, Array]:
        raise RuntimeError("out of memory")

    model = Model(read_artifact(tiny), FakeEngine(fail))
    with pytest.raises(EngineError, match="out of memory"):
        list(model.stream([png("red")]))


def test_a_closed_model_says_so(model):
    results = model.stream([png("red")] * 9)
    assert next(results).prediction.label == "red"
    model.close()
    with pytest.raises(EngineError, match="closed"):
        list(results)


@pytest.mark.parametrize("one", ["cat.jpg", b"bytes", Path("cat.jpg"), io.BytesIO(), {"a": 1}, 3, None, colour("red")])
def test_a_single_image_is_refused_before_anything_runs(model, one):
    with pytest.raises(InputError, match=r"stream\(\) takes an iterable of images, got"):
        model.stream(one)


@pytest.mark.parametrize("options", [{"top_k": 0}, {"top_k": True}, {"batch_size": 0}, {"batch_size": 1.5}])
def test_numbers_are_checked_at_once(model, options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be a whole number from 1"):
        model.stream([], **options)


# Ahead of the engine, but not without bounds


def test_images_are_read_while_the_engine_runs(tiny, monkeypatch):
    """The run of the first batch waits until an image of the second one was read."""
    later = threading.Event()
    original = stream_module.preprocess_into

    def noticed(out: Array, image: object, name: str, *rest: object) -> None:
        original(out, image, name, *rest)
        if image == png("blue"):
            later.set()

    def compute(batch: Array) -> dict[str, Array]:
        assert later.wait(WAIT_S), "nothing was read while the engine ran"
        return tiny_outputs(batch)

    monkeypatch.setattr(stream_module, "preprocess_into", noticed)
    model = Model(read_artifact(tiny), FakeEngine(compute), batch_size=2)
    assert labels(list(model.stream([png("red")] * 2 + [png("blue")]))) == ["red", "red", "blue"]


@pytest.mark.parametrize("threads", [1, 2, 16])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_a_source_is_taken_a_bounded_number_of_images_ahead(model, monkeypatch, size, threads):
    monkeypatch.setattr(stream_module, "worker_threads", lambda: threads)
    taken = 0

    def images() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield red

    red = png("red")
    # The batch that runs, and those ahead of it: two, or as many as give every thread two images.
    most = size + max(2 * size, 2 * threads + size - 1)
    for result in model.stream(images(), batch_size=size):
        assert taken - result.index <= most
    assert taken == 100


def test_large_batches_are_read_one_ahead(model, monkeypatch):
    monkeypatch.setattr(stream_module, "MAX_AHEAD_BYTES", 1)
    taken = 0

    def images() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(20):
            taken += 1
            yield red

    red = png("red")
    assert all(taken - result.index <= 6 for result in model.stream(images()))


@pytest.mark.parametrize("kind", ["bytes", "file", "array", "picture"])
def test_images_in_memory_have_a_budget(model, engine, monkeypatch, kind):
    """Of images that are not files, no more are held than fit into it, but for one."""
    make: Callable[[], object] = {
        "bytes": lambda: png("red") + b"\0" * 900,
        "file": lambda: io.BytesIO(png("red") + b"\0" * 900),
        "array": lambda: colour("red")[:20, :20],
        "picture": lambda: Image.fromarray(colour("red")[:20, :15]),
    }[kind]
    monkeypatch.setattr(stream_module, "BUDGET_BYTES", 2500)
    taken = 0

    def images() -> Iterator[object]:
        nonlocal taken
        for _ in range(12):
            taken += 1
            yield make()

    results = []
    for result in model.stream(images(), batch_size=8):
        assert taken - result.index <= 5
        results.append(result)
    assert labels(results) == ["red"] * 12
    assert max(engine.batches) <= 3


def test_a_stream_that_is_left_takes_nothing_more(model):
    taken = []

    def images() -> Iterator[bytes]:
        for number in range(1000):
            taken.append(number)
            yield red

    red = png("red")
    results = model.stream(images())
    next(results)
    results.close()
    assert len(taken) < 30
    assert list(results) == []


def test_the_first_error_of_predict_leaves_the_rest_untouched(model):
    taken = []

    def images() -> Iterator[bytes]:
        for number in range(10):
            taken.append(number)
            yield b"x" if number == 0 else png("red")

    with pytest.raises(ImageError, match="not an image"):
        model.predict(images())
    assert len(taken) == 3


def test_in_any_order_a_slow_image_holds_up_its_own_batch_only(model, monkeypatch):
    monkeypatch.setattr(stream_module, "worker_threads", lambda: 2)
    release = threading.Event()
    original = stream_module.preprocess_into
    slow = png("blue")

    def held(out: Array, image: object, *rest: object) -> None:
        if image == slow:
            assert release.wait(WAIT_S)
        original(out, image, *rest)

    monkeypatch.setattr(stream_module, "preprocess_into", held)
    images = [png("red")] * 3 + [slow, png("red"), png("red")] + [png("green")] * 3
    results = model.stream(images, ordered=False)
    first = [next(results) for _ in range(6)]
    assert [result.index for result in first] == [0, 1, 2, 6, 7, 8]
    release.set()
    rest = list(results)
    assert [result.index for result in rest] == [3, 4, 5]
    assert labels(rest) == ["blue", "red", "red"]


def test_many_threads_stream_with_one_model(model):
    images = [png(LABELS[i % 4]) for i in range(20)]
    found: dict[int, list[str]] = {}

    def work(number: int) -> None:
        found[number] = labels(list(model.stream(images)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert found == {number: [LABELS[i % 4] for i in range(20)] for number in range(4)}


# predict stands on it


def test_predict_skips_unreadable_images_on_request(model, engine, photos, caplog):
    images = [photos / "red.png", photos / "missing.png", photos / "blue.png"]
    first, second, third = model.predict(images, on_error="skip")
    assert (first.label, second, third.label) == ("red", None, "blue")
    assert [record.getMessage() for record in caplog.records] == [
        f"{images[1]} does not exist; check the path; it is skipped"
    ]
    assert model.predict(images[1], on_error="skip") is None
    assert model.predict(images[0], on_error="skip").label == "red"
    for wanted in (images, images[1]):
        with pytest.raises(ImageError, match="does not exist"):
            model.predict(wanted, on_error="raise")
    with pytest.raises(InputError, match="on_error must be 'raise' or 'skip', got 'ignore'"):
        model.predict(images, on_error="ignore")


def test_the_limit_of_pixels_holds_in_a_stream(tiny):
    model = Model(read_artifact(tiny), FakeEngine(tiny_outputs), max_pixels=100)
    (result,) = model.stream([png("red")])
    assert "the limit is 100" in str(result.error)
