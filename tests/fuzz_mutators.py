"""Mutators: bytes in, other bytes out. Blind ones for anything, others that know a format and keep its rest whole.

All draw from the `random.Random` they are given and nothing else.
"""

from __future__ import annotations

import io
import json
import lzma
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from random import Random
from typing import Any

Mutator = Callable[[bytes, Random], bytes]

INTEGERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
MOST_BYTES = 4 * 2**20
"""Of a mutant: small files that ask for much are what is looked for, not large files."""
MOST_ADDED_BYTES = 10**6
"""By one change to JSON: a list of long lists, lengthened again, would grow without bound."""

TEXTS = (
    "",
    "\x00",
    "\x1b[2J\x1b]0;title\x07",
    "a\nb\r\nc",
    "\ud800",
    "\u202e\u2028",
    "../../etc/passwd",
    "9" * 5000,
    "x" * 5000,
)
NUMBERS = (0, -1, 1, 2, 3, 17, 10**6, 10**9, 10**12, 2**63, 10**30, -96, 0.5, -0.0, 1e308, float("inf"), float("nan"))


# Blind


def flip_bits(data: bytes, random: Random) -> bytes:
    changed = bytearray(data or b"\0")
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def remove_range(data: bytes, random: Random) -> bytes:
    start, stop = _range(data, random)
    return data[:start] + data[stop:]


def repeat_range(data: bytes, random: Random) -> bytes:
    start, stop = _range(data, random)
    return data[:stop] + data[start:stop] * random.choice((1, 2, 100)) + data[stop:]


def overwrite_range(data: bytes, random: Random) -> bytes:
    start, stop = _range(data, random)
    kind = random.randrange(3)
    filling = random.randbytes(stop - start) if kind == 2 else bytes([255 * kind]) * (stop - start)
    return data[:start] + filling + data[stop:]


def splice(data: bytes, random: Random) -> bytes:
    """A part of the file at another place of it."""
    start, stop = _range(data, random)
    place = random.randrange(len(data))
    return data[:place] + data[start:stop] + data[place + random.choice((0, stop - start)) :]


def set_integer(data: bytes, random: Random) -> bytes:
    """Lengths, sizes and counts: another number in 1, 2, 4 or 8 bytes, more often near the beginning."""
    width = random.choice((1, 2, 4, 8))
    place = random.randrange(min(len(data), random.choice((32, 128, len(data)))))
    value = random.choice(INTEGERS) & ((1 << 8 * width) - 1)
    return data[:place] + value.to_bytes(width, random.choice(("little", "big"))) + data[place + width :]


BLIND: tuple[Mutator, ...] = (
    flip_bits,
    truncate,
    remove_range,
    repeat_range,
    overwrite_range,
    splice,
    set_integer,
    set_integer,
)


def _range(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data))
    return start, min(len(data), start + random.choice((1, 2, 4, 16, 256, 4096)))


# JSON


def mutate_json(data: bytes, random: Random) -> bytes:
    """One or more values replaced, removed, renamed or nested; it may be what json.loads takes and no standard has."""
    try:
        document = json.loads(data)
    except ValueError:
        return flip_bits(data, random)
    for _ in range(random.choice((1, 1, 1, 2, 5))):
        document = _changed_json(document, random)
    text = json.dumps(document)
    if random.random() < 0.05:  # two equal keys
        text = re.sub(r'("\w+": [^,{}\[\]]+)', r"\1, \1", text, count=1)
    return text.encode("utf-8", "surrogatepass")


def _changed_json(value: Any, random: Random) -> Any:
    inner = list(value) if isinstance(value, dict) else list(range(len(value))) if isinstance(value, list) else []
    if not inner or random.random() < 0.12:
        return _json_value(value, random)
    key = random.choice(inner)
    action = random.random()
    if action < 0.08:
        del value[key]
    elif action < 0.16 and isinstance(value, dict):
        value[random.choice([*TEXTS, f"{key} ", str(key).upper(), "9"])] = value.pop(key)
    elif action < 0.2 and isinstance(value, list):
        most = MOST_ADDED_BYTES // len(json.dumps(value[key]))
        value.extend([value[key]] * min(random.choice((1, 20, 2000)), most))
    else:
        value[key] = _changed_json(value[key], random)
    return value


def _json_value(value: Any, random: Random) -> Any:
    kinds: tuple[Callable[[], Any], ...] = (
        lambda: random.choice(NUMBERS),
        lambda: random.choice(NUMBERS),
        lambda: random.choice(TEXTS),
        lambda: random.choice((None, True, False, [], {}, [[]], {"": None})),
        lambda: str(value)[:50],
        lambda: [value],
        lambda: {"0": value},
        lambda: _nested(random.choice((10, 200, 5000))),
        lambda: int("9" * 4000),
    )
    return random.choice(kinds)()


def _nested(depth: int) -> list[Any]:
    outer: list[Any] = []
    for _ in range(min(depth, 900)):  # json.dumps recurses
        outer = [outer]
    return outer


# Zip archives of arrays (.npz)

HEADERS = (
    "{'descr': '|O', 'fortran_order': False, 'shape': (6,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 99999), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<U999999999', 'fortran_order': False, 'shape': (6,), }",
    "{'descr': [('a', '<f4', (10**9,))], 'fortran_order': False, 'shape': (6,), }",
    "{'descr': '<f4', 'fortran_order': 1, 'shape': 6, }",
    "{'descr': '<M8[xy]', 'fortran_order': False, 'shape': (), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (6, 3,",
    "(((((((((((((((((((((((((",
    "'\n  x\n y",
    "{'descr': '\\x00f4', 'fortran_order': False, 'shape': (6L, 3L), }",
    "lambda: 0",
    "",
)


def mutate_npz(data: bytes, random: Random) -> bytes:
    """One member's header, content or name, or the lengths that the archive's directory says."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {info.filename: archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, ValueError, RuntimeError, EOFError, OSError):
        return flip_bits(data, random)
    name = random.choice(list(members))
    content = members[name]
    action = random.randrange(7)
    kind = random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    if action == 0:
        members[name] = _with_header(content, random.choice(HEADERS).encode())
    elif action == 1:
        members[name] = _with_header(content, flip_bits(content[10 : 10 + _header_length(content)] or b" ", random))
    elif action == 2:
        members[name] = random.choice(BLIND)(content or b"x", random)
    elif action == 3:
        # The slow ones are not to take a second each.
        members[name] = content + bytes(random.choice((1, 10**5, 3 * 10**7 if kind == zipfile.ZIP_DEFLATED else 10**6)))
    elif action == 4:
        members[random.choice([*members, "other.npy", "names.npy", "../x.npy"])] = members.pop(name)
    elif action == 5:
        header = content[10 : 10 + _header_length(content)]
        number = str(random.choice(INTEGERS)).encode()
        members[name] = _with_header(content, re.sub(rb"\d+(?=[,)])", number, header, count=random.choice((1, 9))))
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", kind) as archive:
        for key, value in members.items():
            archive.writestr(zipfile.ZipInfo(key), value, compress_type=kind)
    result = bytearray(written.getvalue())
    if action == 6:
        # A field of the central directory: method, checksum, sizes, lengths of names, offset.
        entries = [match.start() for match in re.finditer(rb"PK\x01\x02", result)]
        place = random.choice(entries) + random.randrange(8, 46)
        result[place] = random.randrange(256)
    return bytes(result)


def _header_length(content: bytes) -> int:
    return int.from_bytes(content[8:10], "little")


def _with_header(content: bytes, header: bytes) -> bytes:
    """The .npy file with another header of the format's version 1."""
    values = content[10 + _header_length(content) :]
    padded = header + b" " * (-(10 + len(header) + 1) % 64) + b"\n"
    return content[:8] + struct.pack("<H", min(len(padded), 65535)) + padded + values


# Pickles (.pdparams)

GLOBALS = (
    b"cos\nsystem\n",
    b"cbuiltins\neval\n",
    b"cnumpy\nndarray\n",
    b"cnumpy._core.multiarray\n_reconstruct\n",
    b"cnumpy._core.multiarray\nscalar\n",
    b"ccollections\nOrderedDict\n",
    b"c_codecs\nencode\n",
    b"cpaddle\nTensor\n",
)
OPCODES = tuple(bytes([ord(one.code)]) for one in pickletools.opcodes)


def mutate_pickle(data: bytes, random: Random) -> bytes:
    """One instruction removed, repeated, exchanged, or given another argument; where they are is read from the file."""
    places = _instructions(data)
    if len(places) < 3:
        return flip_bits(data, random)
    for _ in range(random.choice((1, 1, 2, 4))):
        index = random.randrange(len(places) - 1)
        start, stop = places[index], places[index + 1]
        action = random.randrange(7)
        if action == 0:
            data = data[:start] + data[stop:]
        elif action == 1:
            data = data[:stop] + data[start:stop] * random.choice((1, 3, 3000)) + data[stop:]
        elif action == 2:
            data = data[:start] + random.choice(GLOBALS) + data[stop:]
        elif action == 3:
            data = data[:start] + random.choice(OPCODES) + data[stop:]
        elif action == 4:
            other = random.randrange(len(places) - 1)
            data = data[:start] + data[places[other] : places[other + 1]] + data[stop:]
        elif action == 5:
            nested = random.choice((b"(", b")\x85", b"]", b"}"))
            data = data[:start] + nested * random.choice((1, 100, 20_000)) + data[start:]
        elif stop - start > 1:
            width = min(stop - start - 1, random.choice((1, 2, 4, 8)))
            value = random.choice(INTEGERS) & ((1 << 8 * width) - 1)
            data = data[: start + 1] + value.to_bytes(width, "little") + data[start + 1 + width :]
        places = _instructions(data)
        if len(places) < 3:
            break
    return data


def _instructions(data: bytes) -> list[int]:
    """Where the instructions begin, as far as the file can be read."""
    places = []
    try:
        for _, _, place in pickletools.genops(data[: 2**18]):
            places.append(place or 0)
            if len(places) > 5000:
                break
    except Exception:  # noqa: BLE001 - it was damaged before; what was found serves
        return places
    return places


# safetensors


def mutate_safetensors(data: bytes, random: Random) -> bytes:
    """The header's JSON, with a length that is right, or not."""
    length = int.from_bytes(data[:8], "little")
    header = mutate_json(data[8 : 8 + length], random)
    said = len(header) if random.random() < 0.8 else random.choice((*INTEGERS, len(header) + 1, len(header) - 1))
    return max(said, 0).to_bytes(8, "little") + header + data[8 + length :]


# PNG


def mutate_png(data: bytes, random: Random) -> bytes:
    """One chunk changed, removed, repeated or moved, its checksum right: readers look at what it says then."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    if not chunks:
        return flip_bits(data, random)
    index = random.randrange(len(chunks))
    kind, content = chunks[index]
    action = random.randrange(6)
    if action == 0:
        del chunks[index]
    elif action == 1:
        chunks.insert(random.randrange(len(chunks) + 1), (kind, content))
    elif action == 2:
        chunks[index] = (
            random.choice((b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"PLTE", b"tRNS", b"eXIf", b"acTL")),
            content,
        )
    elif action == 3 and kind == b"IHDR":
        chunks[index] = (kind, set_integer(content, random)[:13].ljust(13, b"\0"))
    elif action == 4:
        bomb = zlib.compress(bytes(random.choice((10**5, 10**7))))
        chunks.insert(index, (random.choice((b"zTXt", b"iCCP")), b"x\0\0" + bomb))
    elif content:
        chunks[index] = (kind, random.choice(BLIND)(content, random))
    return data[:8] + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )


# Lines of text (labels)


def mutate_lines(data: bytes, random: Random) -> bytes:
    """A line removed, repeated, moved or given other words, or the whole in another encoding."""
    lines = data.decode("utf-8", "replace").split("\n")
    index = random.randrange(len(lines))
    action = random.randrange(8)
    if action == 0:
        del lines[index]
    elif action == 1:
        lines[index:index] = [lines[index]] * random.choice((1, 5, 5000))
    elif action == 2:
        random.shuffle(lines)
    elif action == 3:
        lines[index] = random.choice([text.replace("\ud800", "") for text in TEXTS])
    elif action == 4:
        lines[index] = lines[index].replace(" ", random.choice(("\t", "  ", ":", ",")))
    elif action == 5:
        lines[index] = f"{random.choice(NUMBERS)} {lines[index]}"
    text = random.choice(("\n", "\n", "\r\n", "\r", "\n\n")).join(lines)
    return text.encode(
        random.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-16-be", "gbk", "latin-1")), "replace"
    )
