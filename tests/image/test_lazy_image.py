"""Encoded images that are read when their turn comes, on any thread, within a budget of memory."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pictures import SMALL
from PIL import Image

from onnxzoo import image_bytes
from onnxzoo.errors import ImageError
from onnxzoo.image import LazyImage, describe, load_rgb, preprocess, preprocess_batch
from onnxzoo.image_memory import MemoryBudget


def encoded() -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.arange(40 * 50 * 3, dtype=np.uint8).reshape(40, 50, 3)).save(stream, "PNG")
    return stream.getvalue()


def first_bytes(data: bytes) -> Callable[[int], bytes]:
    return lambda limit: data[:limit]


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_the_pixels_are_those_of_its_bytes(known, held):
    data = encoded()
    image = LazyImage("a.tar::b.png", first_bytes(data), len(data) if known else None, len(data) if held else 0)
    np.testing.assert_array_equal(np.asarray(load_rgb(image)), np.asarray(load_rgb(data)))
    np.testing.assert_array_equal(preprocess(image, SMALL), preprocess(data, SMALL))
    np.testing.assert_array_equal(preprocess_batch([image] * 3, SMALL), preprocess_batch([data] * 3, SMALL))
    assert describe(image) == "a.tar::b.png"


def test_messages_name_it():
    assert describe(LazyImage("a\nb", first_bytes(b""))) == r"'a\nb'"
    for data, message in (
        (b"", "x.zip::y is empty"),
        (b"text", "x.zip::y is not an image"),
        (encoded()[:60], "damaged"),
    ):
        with pytest.raises(ImageError, match=message):
            load_rgb(LazyImage("x.zip::y", first_bytes(data)))
    with pytest.raises(ImageError, match="returns str instead of bytes"):
        load_rgb(LazyImage("x", lambda limit: "text"))  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize("error", [OSError("connection reset"), KeyError("gone"), ImageError("a.tar::b is cut short")])
def test_what_its_reading_raises_is_an_error_of_the_image(error):
    def read(limit: int) -> bytes:
        raise error

    with pytest.raises(ImageError) as caught:
        load_rgb(LazyImage("a.tar::b", read))
    assert str(caught.value) in (
        "a.tar::b is cut short",
        "a.tar::b cannot be read: connection reset; check that it is still there",
        "a.tar::b cannot be read: 'gone'; check that it is still there",
    )


def test_too_many_bytes_are_refused_without_reading_them(monkeypatch):
    monkeypatch.setattr(image_bytes, "MAX_ENCODED_BYTES", 1000)
    monkeypatch.setattr(image_bytes, "FIRST_BYTES", 100)
    asked: list[int] = []

    def endless(limit: int) -> bytes:
        asked.append(limit)
        return bytes(limit)

    with pytest.raises(ImageError, match="has more than 1000 bytes"):
        load_rgb(LazyImage("bomb", endless, size=1001))
    assert asked == []
    for size, expected in ((None, [101, 1001]), (20, [21, 1001])):
        asked.clear()
        with pytest.raises(ImageError, match="has more than 1000 bytes"):
            load_rgb(LazyImage("bomb", endless, size))
        assert asked == expected, "also one that is larger than was said"


def test_a_larger_one_of_unknown_size_is_read_again_as_a_whole(monkeypatch):
    data = encoded()
    monkeypatch.setattr(image_bytes, "FIRST_BYTES", 10)
    np.testing.assert_array_equal(np.asarray(load_rgb(LazyImage("x", first_bytes(data)))), np.asarray(load_rgb(data)))


def test_the_bytes_of_all_threads_stay_within_the_budget(monkeypatch):
    data = encoded()
    monkeypatch.setattr(image_bytes, "ENCODED_BUDGET", MemoryBudget(2 * len(data)))
    lock, now, most = threading.Lock(), 0, 0
    two = threading.Barrier(2, timeout=30)

    def read(limit: int) -> bytes:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        two.wait()  # two at a time do run
        with lock:
            now -= 1
        return data[:limit]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: preprocess(LazyImage("x", read, len(data)), SMALL), range(16)))
    assert most == 2
