"""Images of all kinds, good and bad, on which clients in other languages are compared with Python."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from pictures import encoded, photo, png_chunk, png_that_declares, with_alpha
from PIL import Image, PngImagePlugin
from tiny import MEAN, STD, write_artifact

import onnxzoo.data
from onnxzoo.image import preprocess
from onnxzoo.registry import Preprocess
from onnxzoo.results import Array

SMALL = Preprocess(36, 32, "bicubic", MEAN, STD)
PHOTOS = sorted((Path(onnxzoo.data.__file__).parent / "photos").glob("*.jpg"))
GOLDEN = Path(__file__).parents[1] / "validators" / "golden" / "cases.npz"


def artifact_for(spec: Preprocess, folder: Path) -> Path:
    """An artifact with this preprocessing."""
    described = {
        "resize_size": spec.resize_size,
        "crop_size": spec.crop_size,
        "interpolation": spec.interpolation,
        "mean": list(spec.mean),
        "std": list(spec.std),
    }
    name = f"{spec.resize_size}-{spec.crop_size}-{spec.interpolation}"
    return write_artifact(folder / name, changes={"preprocess": described, "image_size": spec.crop_size})


def written(images: Mapping[str, bytes], folder: Path) -> list[Path]:
    paths = []
    for number, data in enumerate(images.values()):
        paths.append(folder / f"{number}.image")
        paths[-1].write_bytes(data)
    return paths


def golden_cases() -> dict[Preprocess, dict[str, bytes]]:
    with np.load(GOLDEN) as cases:
        found: dict[Preprocess, dict[str, bytes]] = {}
        for number, (name, text) in enumerate(zip(cases["names"], cases["specs"], strict=True)):
            resize, crop, interpolation = str(text).split()
            spec = Preprocess(int(resize), int(crop), interpolation, MEAN, STD)
            found.setdefault(spec, {})[str(name)] = cases[f"image_{number}"].tobytes()
        return found


def png(values: np.ndarray, depth: int, colour_type: int, *chunks: bytes, palette: bytes = b"") -> bytes:
    """A PNG of any bit depth and colour type; `values` [H, W] or [H, W, channels]; `chunks` stand before the pixels."""
    height, width = values.shape[:2]
    flat = values.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        bits = np.unpackbits(flat.astype(np.uint8)[:, :, None], axis=2)[:, :, 8 - depth :]
        rows = [np.packbits(row).tobytes() for row in bits.reshape(height, -1)]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0))
    colours = png_chunk(b"PLTE", palette) if palette else b""
    data = png_chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + colours + b"".join(chunks) + data + png_chunk(b"IEND", b"")


def png_kinds() -> Iterable[tuple[str, bytes]]:
    random = np.random.default_rng(2)
    palette = random.integers(0, 256, 3 * 256, np.uint8).tobytes()
    for colour_type, channels in {0: 1, 2: 3, 4: 2, 6: 4}.items():
        for depth in (1, 2, 4, 8, 16) if colour_type == 0 else (8, 16):
            values = random.integers(0, 2**depth, (40, 45, channels))
            yield f"colour type {colour_type}, {depth} bits", png(values, depth, colour_type)
    edges = np.array([[0, 128, 129, 257, 32767, 32768, 65406, 65407, 65535]], np.uint16)
    yield "16 bit grey, where rounding turns", png(edges, 16, 0)
    transparent = png_chunk(b"tRNS", b"\x00\x05")
    yield "grey, one level transparent", png(random.integers(0, 256, (9, 9)), 8, 0, transparent)
    yield "16 bit grey, transparent", png(random.integers(0, 65536, (9, 9)), 16, 0, transparent)
    yield "RGB, transparent", png(random.integers(0, 9, (9, 9, 3)), 8, 2, png_chunk(b"tRNS", bytes(6)))
    for depth in (1, 2, 4, 8):
        indices = random.integers(0, 2**depth, (40, 45))
        yield f"palette, {depth} bits", png(indices, depth, 3, palette=palette[: 3 * 2**depth])
    yield "palette, too short", png(random.integers(0, 256, (40, 45)), 8, 3, palette=palette[:30])
    yield "palette, alpha", png(indices, 8, 3, png_chunk(b"tRNS", bytes(range(200))), palette=palette)
    gamma = png_chunk(b"gAMA", struct.pack(">I", 30000)) + png_chunk(b"sBIT", bytes([5, 6, 5]))
    yield "gamma and significant bits", png(random.integers(0, 256, (9, 9, 3)), 8, 2, gamma)
    yield "unknown chunk", png(random.integers(0, 256, (9, 9, 3)), 8, 2, png_chunk(b"prVt", b"x" * 99))
    frames = [photo((30, 20)), photo((30, 20)).convert("L").convert("RGB")]
    yield "animated", encoded(frames[0], "PNG", save_all=True, append_images=frames[1:])
    yield "interlaced", interlaced(photo())
    yield "alpha", encoded(with_alpha(photo()))
    yield "quantised", encoded(photo().quantize(64))


def interlaced(image: Image.Image) -> bytes:
    """A PNG in Adam7 order, which Pillow reads but does not write."""
    values = np.asarray(image.convert("RGB"))
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    parts = [values[top::down, left::across] for top, left, down, across in passes]
    rows = [b"\0" + row.tobytes() for part in parts if part.size for row in part]
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", image.width, image.height, 8, 2, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(b"".join(rows))) + png_chunk(b"IEND", b"")


def jpeg_kinds() -> Iterable[tuple[str, bytes]]:
    for size in ((61, 40), (64, 64), (17, 33), (8, 8), (1, 9), (200, 133)):
        for sampling in (0, 1, 2, "4:4:0" if size == (61, 40) else 2):
            options = {"subsampling": sampling} if isinstance(sampling, int) else {"subsampling": "4:2:0"}
            yield f"{size}, sampling {sampling}", encoded(photo(size), "JPEG", quality=88, **options)
            yield f"{size}, progressive {sampling}", encoded(photo(size), "JPEG", progressive=True, **options)
    grey, rgb = photo().convert("L"), photo()
    cmyk = Image.merge("CMYK", [grey, *rgb.split()])
    yield "grey", encoded(grey, "JPEG", quality=70)
    yield "grey, progressive", encoded(grey, "JPEG", progressive=True)
    yield "CMYK", encoded(cmyk, "JPEG", quality=95)
    yield "CMYK, progressive", encoded(cmyk, "JPEG", progressive=True)
    yield "stored as RGB", encoded(rgb, "JPEG", keep_rgb=True)
    yield "restart markers", encoded(rgb, "JPEG", restart_marker_blocks=3)
    yield "worst quality", encoded(rgb, "JPEG", quality=1)
    yield "optimised", encoded(rgb, "JPEG", quality=100, optimize=True)
    yield "bytes after the end", encoded(rgb, "JPEG") + b"and more" * 50
    yield "colour profile and comment", encoded(rgb, "JPEG", icc_profile=bytes(200_000), comment=b"x" * 999)


XMP = '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {}/></x:xmpmeta>'


def tiff(*entries: tuple[int, int, int, bytes], order: str = "<", head: bytes = b"", extra: bytes = b"") -> bytes:
    """EXIF data with one directory of (tag, type, count, four bytes); `extra` follows it."""
    start = head or (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    fields = b"".join(struct.pack(f"{order}HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"Exif\0\0" + start + struct.pack(f"{order}H", len(entries)) + fields + bytes(4) + extra


def exif_kinds() -> dict[str, bytes | None]:
    def short(value: int, order: str = "<") -> bytes:
        return struct.pack(f"{order}HH", value, 0)

    def whole(value: int) -> bytes:
        return struct.pack("<I", value)

    tag = 0x0112
    kinds: dict[str, bytes | None] = {f"orientation {value}": tiff((tag, 3, 1, short(value))) for value in range(11)}
    return kinds | {
        "none": None,
        "big-endian": tiff((tag, 3, 1, short(6, ">")), order=">"),
        "after other tags": tiff((0x010F, 2, 4, b"abc\0"), (tag, 3, 1, short(6)), (tag, 3, 1, short(3))),
        "long": tiff((tag, 4, 1, whole(6))),
        "signed": tiff((tag, 9, 1, whole(8))),
        "signed byte": tiff((tag, 6, 1, b"\x06\0\0\0")),
        "negative": tiff((tag, 8, 1, struct.pack("<hh", -6, 0))),
        "byte": tiff((tag, 1, 1, b"\x06\0\0\0")),
        "text": tiff((tag, 2, 2, b"6\0\0\0")),
        "float": tiff((tag, 11, 1, struct.pack("<f", 6))),
        "rational": tiff((tag, 5, 1, whole(26)), extra=struct.pack("<II", 6, 1)),
        "two values": tiff((tag, 3, 2, struct.pack("<HH", 6, 3))),
        "three values, elsewhere": tiff((tag, 3, 3, whole(26)), extra=struct.pack("<HHH", 8, 3, 1)),
        "no value": tiff((tag, 3, 0, short(6))),
        "unknown type": tiff((tag, 99, 1, short(6))),
        "unknown type, then a good one": tiff((tag, 99, 1, short(6)), (tag, 3, 1, short(8))),
        "another tag points outside": tiff((0x010F, 2, 900, whole(99999)), (tag, 3, 1, short(6))),
        "another tag ends outside": tiff((0x010F, 2, 20, whole(30)), (tag, 3, 1, short(6))),
        "directory outside": tiff(head=b"II*\0\xff\xff\xff\xff"),
        "directory elsewhere": tiff((tag, 3, 1, short(3)), head=b"II*\0" + whole(10) + b"ab"),
        "cut": tiff((tag, 3, 1, short(6)))[:-8],
        "more entries than there are": tiff((tag, 3, 1, short(6))).replace(b"\x01\0\x12\x01", b"\x09\0\x12\x01"),
        "other order of the mark": tiff((tag, 3, 1, short(6)), head=b"II\0*" + whole(8)),
        "garbage": b"Exif\0\0garbage",
        "empty": b"Exif\0\0",
        "twice the prefix": b"Exif\0\0" + tiff((tag, 3, 1, short(6))),
    }


def xmp_kinds() -> dict[str, str]:
    return {
        "attribute": XMP.format('tiff:Orientation="6"'),
        "element": "<tiff:Orientation>3</tiff:Orientation>",
        "second": 'tiff:Orientation = 6 tiff:Orientation="8"',
        "two digits": 'tiff:Orientation="65"',
        "zero": 'tiff:Orientation="0"',
        "none": XMP.format(""),
        "cut": 'tiff:Orientation="',
    }


def oriented(exif: bytes | None, xmp: str, format_: str, upright: Image.Image) -> bytes:
    options: dict[str, object] = {} if exif is None else {"exif": exif}
    if format_ == "JPEG" and xmp:
        options["xmp"] = xmp.encode()
    elif xmp:
        information = PngImagePlugin.PngInfo()
        information.add_itxt("XML:com.adobe.xmp", xmp, zip=len(xmp) % 2 == 0)
        options["pnginfo"] = information
    return encoded(upright, format_, **options)


def raw_profiles() -> dict[str, bytes]:
    """PNG files with EXIF data as ImageMagick stores it."""
    exif = tiff((0x0112, 3, 1, struct.pack("<HH", 6, 0)))
    texts = {
        "whole": f"\nexif\n{len(exif):8d}\n{exif.hex()}\n",
        "in lines": f"\nexif\n{len(exif):8d}\n{exif[:10].hex()}\n{exif[10:].hex().upper()}\n",
        "not hexadecimal": "\nexif\n 3\nxyz\n",
        "odd": "\nexif\n 3\nabc\n",
        "no lines": "exif",
    }
    images = {}
    for name, text in texts.items():
        for compressed in (False, True):
            information = PngImagePlugin.PngInfo()
            information.add_text("Raw profile type exif", text, zip=compressed)
            images[f"{name}, {compressed}"] = encoded(photo((40, 61)), pnginfo=information)
    return images


def damaged_scan(position: float) -> bytes:
    """A JPEG with a marker that ends its data too early, after which libjpeg would paint grey."""
    data = bytearray(encoded(photo((300, 200)), "JPEG", quality=90))
    at = int(len(data) * position)
    data[at : at + 2] = b"\xff\xd9"
    return bytes(data)


def png_with_a_long_chunk(kind: bytes) -> bytes:
    """A PNG with a chunk that claims 1.8 GB."""
    whole = encoded(photo((9, 8)))
    return whole[:33] + struct.pack(">I", 0x6C610035) + kind + whole[33:]


def bad_images() -> dict[str, tuple[bytes, str]]:
    """Encoded image, and what the message must say."""
    jpeg, whole = encoded(photo((300, 200)), "JPEG"), encoded(photo((300, 200)))
    damaged = "is damaged or incomplete"
    wrong = bytearray(whole)
    wrong[len(wrong) // 2] ^= 1
    short_rows = png(np.zeros((9, 9, 3)), 8, 2)
    return {
        "empty": (b"", "is empty"),
        "text": (b"hello, this is text\n" * 20, "is not an image"),
        "one byte": (b"\xff", "is not an image"),
        "jpeg, cut": (jpeg[:-300], damaged),
        "jpeg, half": (jpeg[:3000], damaged),
        "jpeg, without its last byte": (jpeg[:-1], damaged),
        "jpeg, 12 bits": (jpeg.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"), damaged),
        "png, cut": (whole[:-3000], damaged),
        "png, a wrong bit": (bytes(wrong), damaged),
        "png, too little data": (png_that_declares(50, 50), damaged),
        "png, wrong checksum of the pixels": (
            short_rows.replace(zlib.compress(bytes(9 * 28)), bytes([*zlib.compress(bytes(9 * 28))[:-1], 0x77])),
            damaged,
        ),
        **{
            f"png, {kind.decode()} claims 1.8 GB": (png_with_a_long_chunk(kind), "")
            for kind in (b"iTXt", b"zTXt", b"iCCP", b"eXIf", b"sPLT", b"PLTE", b"IDAT", b"prVt", b"PrVT")
        },
        "png, unknown compression of a text": (
            png(np.zeros((9, 9, 3)), 8, 2, png_chunk(b"zTXt", b"any key\0\x05abc")),
            damaged,
        ),
        "png, a text that unpacks to 2 MB": (
            png(
                np.zeros((9, 9, 3)),
                8,
                2,
                png_chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(bytes(2**21))),
            ),
            damaged,
        ),
        "bomb": (png_that_declares(60_000, 60_000), "is too large: 60000 x 60000 pixels, the limit is 89478485"),
        "narrow": (encoded(Image.new("L", (60_000, 1))), "is too narrow"),
        "no pixels": (png_that_declares(0, 5), ""),
        "gif": (encoded(photo(), "GIF"), "is not an image in a format"),
    }


def with_checksums(data: bytearray) -> bytes:
    """The PNG with the right checksum for every chunk, so that what was altered in it reaches the decoder."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack(">I", data[at : at + 4])[0]
        if end + 4 > len(data):
            break
        data[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(data)


def oriented_kinds(format_: str) -> dict[str, bytes]:
    """Good, damaged and contradicting metadata: EXIF counts before XMP, and damaged EXIF hides XMP."""
    picture = photo((40, 61))
    images = {f"EXIF: {name}": oriented(exif, "", format_, picture) for name, exif in exif_kinds().items()}
    images |= {f"XMP: {name}": oriented(None, xmp, format_, picture) for name, xmp in xmp_kinds().items()}
    sideways = xmp_kinds()["attribute"]
    return images | {f"both: {name}": oriented(exif, sideways, format_, picture) for name, exif in exif_kinds().items()}


def shapes() -> dict[str, bytes]:
    """Enlarged and reduced, one side kept, sizes whose share ends in a half, extremes."""
    sizes = [(36, 36), (36, 50), (50, 36), (32, 32), (1, 1), (2, 3), (3, 700), (700, 3), (72, 73), (73, 72), (151, 97)]
    sizes += [(8, 9), (9, 8), (24, 35), (1000, 37), (35, 36), (361, 720), (64, 1)]
    noise = np.random.default_rng(1)
    return {
        f"{width} x {height}": encoded(Image.fromarray(noise.integers(0, 256, (height, width, 3), np.uint8)))
        for width, height in sizes
    }


def filter_specs(interpolation: str) -> tuple[Preprocess, ...]:
    return Preprocess(36, 32, interpolation, MEAN, STD), Preprocess(33, 33, interpolation, (0.5,) * 3, (0.1, 1, 9))


def cut_images(format_: str) -> dict[str, bytes]:
    """The beginnings of a file."""
    data = encoded(photo((80, 60)), format_)
    return {str(end): data[:end] for end in range(0, len(data) - 12, max(1, len(data) // 60))}


def altered_images(format_: str) -> dict[str, bytes]:
    """A file with three bytes altered, in 300 ways."""
    picture = photo((80, 60)) if format_ == "JPEG" else photo((80, 60)).quantize(64)
    exif = tiff((0x0112, 3, 1, struct.pack("<HH", 6, 0)))
    data, stream = encoded(picture, format_, exif=exif), np.random.default_rng(1)
    images = {}
    for number in range(300):
        altered = bytearray(data)
        for position in stream.integers(0, 700 if format_ == "JPEG" else 300, 3):
            altered[position] = stream.integers(256)
        images[str(number)] = with_checksums(altered) if format_ == "PNG" else bytes(altered)
    return images


def differences(spec: Preprocess, images: Mapping[str, bytes], found: Sequence[Array | str]) -> dict[str, str]:
    """How what a client made of images, flat float32 or a refusal, differs from Python, signs of zeros included."""
    differing = {}
    for (name, data), got in zip(images.items(), found, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about damaged metadata
            expected = preprocess(data, spec).ravel()
        if isinstance(got, str):
            differing[name] = got
        elif got.tobytes() != expected.tobytes():
            differing[name] = f"{np.abs(got - expected).max():g} off, {(got != expected).sum()} of {got.size} values"
    return differing


def webp_kinds() -> dict[str, bytes]:
    """WebP images, which only browsers read: with alpha, metadata, a colour profile, several frames."""
    rgb, exif = photo((40, 61)), tiff((0x0112, 3, 1, struct.pack("<HH", 6, 0)))
    alpha = with_alpha(rgb)
    return {
        "WebP": encoded(rgb, "WEBP", quality=80),
        "WebP, lossless": encoded(rgb, "WEBP", lossless=True),
        "WebP, alpha": encoded(alpha, "WEBP", quality=80),
        "WebP, alpha, lossless": encoded(alpha, "WEBP", lossless=True, exact=True),
        "WebP, EXIF": encoded(rgb, "WEBP", exif=exif),
        "WebP, XMP": encoded(rgb, "WEBP", xmp=xmp_kinds()["attribute"].encode()),
        "WebP, colour profile": encoded(rgb, "WEBP", icc_profile=bytes(999)),
        "WebP, animated": encoded(rgb, "WEBP", save_all=True, append_images=[rgb.convert("L").convert("RGB")]),
    }
