"""Make the golden images and tensors of `onnxzoo validate --preprocess`; run it only to change the cases.

    python validators/golden/make_golden.py

Writes cases.npz next to this script: every image as encoded bytes, its specification, and its tensor from the
evaluation preprocessing of PaddleClas, computed by plain Pillow and float64 without importing onnxzoo. Images are
computed, so that the file depends only on this script and Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from PIL import Image, ImageOps

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# (resize_size, crop_size, filter): with the margin of most models, without a margin as at 384 pixels, another filter.
BICUBIC, WHOLE, BILINEAR = (36, 32, "bicubic"), (32, 32, "bicubic"), (36, 32, "bilinear")
ORIENTATION = 0x0112


def picture(width: int, height: int, seed: int = 1) -> Image.Image:
    """An asymmetric RGB image with soft gradients, an edge and some noise, and different channels."""
    across, down = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    noise = np.random.RandomState(seed).uniform(-25, 25, (height, width, 3))
    red = 230 * across
    green = 60 + 150 * down * (1 - across)
    blue = np.where(across + 0.7 * down > 0.9, 215, 35)
    return Image.fromarray(np.clip(np.stack([red, green, blue], axis=2) + noise, 0, 255).astype(np.uint8))


def saved(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The image as the bytes of a file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def turned(orientation: int) -> bytes:
    """A JPEG with this EXIF orientation."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(picture(53, 38), "JPEG", quality=92, exif=exif)


def png_16_bit(values: np.ndarray[Any, Any], colour_type: int) -> bytes:
    """A PNG of uint16 values, which Pillow cannot write in colour (type 2)."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sixteen(image: Image.Image) -> np.ndarray[Any, Any]:
    """16-bit values around 257 times the 8-bit ones, so that rounding matters."""
    eight = np.asarray(image).astype(np.int64)
    return np.clip(eight * 257 + np.random.RandomState(2).randint(-128, 129, eight.shape), 0, 65535).astype(np.uint16)


def cases() -> dict[str, tuple[bytes, tuple[int, int, str]]]:
    """Encoded image and specification by name."""
    rgb = picture(61, 47)
    alpha = Image.fromarray(np.asarray(picture(61, 47, seed=3))[..., 0])
    palette = rgb.quantize(40)
    return {
        "RGB, odd sizes": (saved(rgb), BICUBIC),
        "RGB, portrait": (saved(picture(47, 90)), BICUBIC),
        "RGB, no margin": (saved(picture(64, 49)), WHOLE),
        "RGB, bilinear": (saved(rgb), BILINEAR),
        "RGB, far larger": (saved(picture(170, 121)), BICUBIC),
        "RGB, enlarged": (saved(picture(9, 7)), BICUBIC),
        "RGB, one pixel": (saved(picture(1, 1)), BICUBIC),
        "RGB, 1 : 40": (saved(picture(3, 120)), BICUBIC),
        "RGB, 60 : 1": (saved(picture(300, 5)), BICUBIC),
        "JPEG, 4:2:0": (saved(picture(75, 50), "JPEG", quality=90, subsampling=2), BICUBIC),
        "JPEG, 4:4:4": (saved(picture(75, 50), "JPEG", quality=90, subsampling=0), BICUBIC),
        "JPEG, CMYK": (saved(picture(50, 60).convert("CMYK"), "JPEG", quality=95), BICUBIC),
        **{f"EXIF orientation {number}": (turned(number), BICUBIC) for number in range(2, 9)},
        "palette": (saved(palette), BICUBIC),
        "palette, transparent": (saved(palette, transparency=3), BICUBIC),
        "grey": (saved(rgb.convert("L")), BICUBIC),
        "grey, alpha": (saved(Image.merge("LA", (rgb.convert("L"), alpha))), BICUBIC),
        "RGB, alpha": (saved(Image.merge("RGBA", (*rgb.split(), alpha))), BICUBIC),
        "black and white": (saved(rgb.convert("1")), BICUBIC),
        "grey, 16 bit": (png_16_bit(sixteen(rgb.convert("L")), 0), BICUBIC),
        "RGB, 16 bit": (png_16_bit(sixteen(rgb), 2), BICUBIC),
    }


def pixels(data: bytes) -> Image.Image:
    """The upright RGB image: alpha dropped, 16-bit grey scaled, 16-bit colour cut to its high byte."""
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            grey = np.rint(np.asarray(upright).astype(np.float64) / 257).astype(np.uint8)
            return Image.fromarray(np.stack([grey] * 3, axis=2))
        if upright.mode in ("P", "LA", "RGBA"):
            return Image.fromarray(np.ascontiguousarray(np.asarray(upright.convert("RGBA"))[..., :3]))
        return upright.convert("RGB")


def tensor(data: bytes, spec: tuple[int, int, str]) -> np.ndarray[Any, Any]:
    """float32 [3, crop, crop], computed in float64."""
    resize, crop, name = spec
    image = pixels(data)
    scale = resize / min(image.size)
    width, height = round(image.width * scale), round(image.height * scale)
    resized = np.asarray(image.resize((width, height), Image.Resampling[name.upper()])).astype(np.float64)
    top, left = (height - crop) // 2, (width - crop) // 2
    normalised = (resized[top : top + crop, left : left + crop] / 255 - np.array(MEAN)) / np.array(STD)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1)).astype(np.float32)


def main() -> None:
    """Write cases.npz."""
    found = cases()
    arrays: dict[str, Any] = {
        "names": np.array(list(found)),
        "specs": np.array([f"{spec[0]} {spec[1]} {spec[2]}" for _, spec in found.values()]),
        "mean": np.array(MEAN),
        "std": np.array(STD),
        "pillow": np.array(PIL.__version__),
        "tensors": np.stack([tensor(data, spec) for data, spec in found.values()]),
    }
    for number, (data, _) in enumerate(found.values()):
        arrays[f"image_{number}"] = np.frombuffer(data, np.uint8)
    np.savez_compressed(Path(__file__).with_name("cases.npz"), **arrays)


if __name__ == "__main__":
    main()
