"""How large images may be, and how many are read at a time."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from onnxzoo import image_bytes, image_memory, image_reading
from onnxzoo.errors import ImageError, InputError
from onnxzoo.image import load_rgb, preprocess, preprocess_batch
from onnxzoo.image_memory import MAX_PIXELS, MemoryBudget, bytes_per_pixel, max_pixels, pixel_limit
from onnxzoo.registry import find

SPEC = find("pvt_v2_b0").preprocess
HUGE_GIF = b"GIF89a\xff\xff\x14\x05\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;"


def encoded(size: tuple[int, int], format_: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.new(mode, size).save(buffer, format_, **options)
    return buffer.getvalue()


def png_that_declares(width: int, height: int, colour: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 4) + b"IDAT" + bytes(8)


def test_formats_that_take_more_memory_may_have_fewer_pixels() -> None:
    def allowed(data: bytes) -> float:
        with PIL.Image.open(io.BytesIO(data)) as image:
            return pixel_limit(image, MAX_PIXELS) / 1e6

    size = (8, 8)
    assert allowed(encoded(size, "JPEG")) == allowed(encoded(size, "PNG")) == MAX_PIXELS / 1e6
    found = [
        allowed(encoded(size, "JPEG", progressive=True)),
        allowed(encoded(size, "PNG", "RGBA")),
        allowed(encoded(size, "GIF", "P")),
        allowed(encoded(size, "WEBP")),
        allowed(encoded(size, "JPEG2000")),
    ]
    assert found == sorted(found, reverse=True)
    assert found[0] > 50, "a camera's photo"
    assert found[3] > 24, "a camera's photo"


def test_a_small_file_of_a_huge_image_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(ImageError, match=r"65535 x 1300 pixels, the limit is \d+ in all for GIF in .*--max-pixels"):
        load_rgb(HUGE_GIF)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's peak of memory")
@pytest.mark.parametrize("format_", ["JPEG", "WEBP", "GIF", "JPEG2000", "PNG"])
def test_reading_takes_no_more_memory_than_is_counted(tmp_path: Path, format_: str) -> None:
    file = tmp_path / "image"
    file.write_bytes(encoded((3000, 2000), format_, "P" if format_ == "GIF" else "RGB"))
    code = (
        "import sys, PIL.Image; from onnxzoo.image import preprocess; from onnxzoo.registry import find\n"
        "from onnxzoo.image_memory import bytes_per_pixel\n"
        "spec = find('pvt_v2_b0').preprocess; small = PIL.Image.new('RGB', (300, 300)); preprocess(small, spec)\n"
        "cost = bytes_per_pixel(PIL.Image.open(sys.argv[1])); PIL.Image.open(sys.argv[1]).load\n"
        "peak = lambda: int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) * 1024\n"
        "open('/proc/self/clear_refs', 'w').write('5'); before = peak(); preprocess(sys.argv[1], spec)\n"
        "print((peak() - before) / (3000 * 2000), cost)"
    )
    result = subprocess.run([sys.executable, "-P", "-c", code, str(file)], capture_output=True, text=True, check=True)
    used, counted = map(float, result.stdout.split())
    # The decoder's own code is loaded in between.
    assert used < counted + 2.0


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def message(**options: int) -> str:
        with pytest.raises(ImageError) as caught:
            load_rgb(png_that_declares(12000, 9000, 2), **options)
        return str(caught.value)

    assert "12000 x 9000 pixels, the limit is 89478485" in message()
    assert "too large" not in message(pixels=108_000_000), "108 megapixels are read, and found to be cut short"
    monkeypatch.setenv("ONNXZOO_MAX_PIXELS", "108000000")
    assert "too large" not in message()
    assert "the limit is 5 in all" in message(pixels=5), "what is asked for goes before the environment"


@pytest.mark.parametrize("value", ["0", "-1", "many", "1e8", "9" * 5000])
def test_a_limit_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ONNXZOO_MAX_PIXELS", value)
    with pytest.raises(InputError, match="ONNXZOO_MAX_PIXELS must be a whole number from 1"):
        max_pixels()
    with pytest.raises(InputError, match="max_pixels must be a whole number from 1"):
        max_pixels(0)


def test_large_images_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve images, memory for two: never more than two are read at a time, and all are right."""
    data = encoded((400, 400), "PNG")
    with PIL.Image.open(io.BytesIO(data)) as image:
        each = 400 * 400 * (bytes_per_pixel(image) + image_memory.UPRIGHT_BYTES)
    budget = MemoryBudget(int(2.5 * each))
    monkeypatch.setattr(image_reading, "BUDGET", budget)
    monkeypatch.setattr("onnxzoo.image.worker_threads", lambda: 8)
    running, most, lock = 0, 0, threading.Lock()
    decode = image_reading._decode

    def counted(*arguments: object) -> PIL.Image.Image:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return decode(*arguments)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(image_reading, "_decode", counted)
    batch = preprocess_batch([image for _ in range(6) for image in (data, io.BytesIO(data))], SPEC)
    assert most <= 2
    assert np.array_equal(batch, np.stack([preprocess(data, SPEC)] * 12))
    assert budget._used == 0


def test_an_image_larger_than_the_budget_is_read_alone_and_errors_give_the_memory_back() -> None:
    budget = MemoryBudget(10)
    with budget.share(1000):
        assert budget._used == 10
    with pytest.raises(RuntimeError), budget.share(4):
        raise RuntimeError
    assert budget._used == 0


def test_an_image_that_pillow_refuses_by_itself_names_our_limit() -> None:
    with pytest.raises(ImageError, match=r"900000000 pixels, the limit is 89478485 in all; .*--max-pixels"):
        load_rgb(png_that_declares(30_000, 30_000, 2))


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that opens and cannot be read")
def test_a_file_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ImageError, match=r"/proc/self/mem cannot be read: .*Input/output error"):
        load_rgb("/proc/self/mem")


def test_pipes_and_devices_are_read_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_bytes, "MAX_ENCODED_BYTES", 1000)
    with pytest.raises(ImageError, match=r"/dev/zero has more than 1000 bytes, the limit for pipes, devices"):
        load_rgb("/dev/zero")
    with pytest.raises(ImageError, match=r"file object BytesIO has more than 1000 bytes"):
        load_rgb(io.BytesIO(bytes(1001)))
    small = encoded((4, 4), "PNG")
    assert load_rgb(io.BytesIO(small)).size == (4, 4)
    reader, writer = os.pipe()
    os.write(writer, small)
    os.close(writer)
    assert load_rgb(f"/dev/fd/{reader}").size == (4, 4)
    os.close(reader)


def test_heic_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ImageError, match="is in the format HEIC; to read it: pip install pillow-heif"):
        load_rgb(b"\0\0\0\x18ftypheic" + bytes(40))
