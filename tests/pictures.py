"""Small pictures, the plain computation of what a model gets of them, and the message that refuses one."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import skimage.data
from PIL import Image

from onnxzoo.errors import ImageError
from onnxzoo.image import describe, load_rgb, preprocess
from onnxzoo.registry import Preprocess

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPECS = {
    "256->224": Preprocess(256, 224, "bicubic", MEAN, STD),
    "292->256": Preprocess(292, 256, "bicubic", MEAN, STD),
    "384->384": Preprocess(384, 384, "bicubic", MEAN, STD),
}
SMALL = Preprocess(32, 24, "bicubic", MEAN, STD)
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


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


def refused(image: object, spec: Preprocess | None = None) -> str:
    """The message with which `load_rgb`, or with a spec `preprocess`, refuses the image."""
    with pytest.raises(ImageError) as caught:
        preprocess(image, spec) if spec else load_rgb(image)  # type: ignore[arg-type]
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(describe(image)[:200])  # of a name that is longer the middle is left out
    return message
