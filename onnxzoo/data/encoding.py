"""Decoding text files written by people on any system."""

from __future__ import annotations

import codecs
import contextlib
import re
from pathlib import Path

MAX_TEXT_BYTES = 256 * 2**20
"""Maximum size of a list file; ImageNet-1k's training list has 50 MB with the longest paths."""

# The longer mark first, because UTF-32's begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

# Letters of old, phonetic and small scripts, and accents alone: a file has no others only if it is not UTF-8.
_RARE = re.compile("[\u0180-\u036f\u0460-\u052f]")
# In GBK most bytes beyond ASCII come in pairs; a text in which all stand alone is Latin-1.
_HIGH_BYTES = re.compile(rb"[\x80-\xff]+")


def read_text(file: Path) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32 with a byte order mark, or GB18030, of which GBK is a part.

    UTF-8 goes before GBK, as in PaddleClas. Raises OSError when the file cannot be read, ValueError, with the reason,
    for other bytes.
    """
    with file.open("rb") as stream:
        return text_of(stream.read(MAX_TEXT_BYTES + 1))


def text_of(data: bytes) -> str:
    """The text that these bytes of a file are, as `read_text`. Raises ValueError, with the reason, if they are not."""
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"it has more than {MAX_TEXT_BYTES} bytes")
    with contextlib.suppress(UnicodeDecodeError):
        text = _decoded(data)
        if "\0" not in text:
            return text
    raise ValueError("it is not text in UTF-8, GBK or UTF-16 with a byte order mark; save it as UTF-8")


def _decoded(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data.decode(encoding)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if all(len(run) == 1 for run in _HIGH_BYTES.findall(data)):
            raise
        return data.decode("gb18030")
    beyond_ascii = {letter for letter in text if letter > "\x7f"}
    if beyond_ascii and all(_RARE.match(letter) for letter in beyond_ascii):
        # Some GBK is UTF-8 by accident: the bytes of a Chinese boot are also an iotified yus of Old Slavonic.
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode("gb2312")
    return text
