"""The text of a file that people wrote on any system."""

from __future__ import annotations

import codecs
from pathlib import Path

MAX_TEXT_BYTES = 256 * 2**20
"""Of a list file: a line for each of ImageNet-22k's 14 million images has less."""

_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_text(file: Path) -> str:
    """The text of a file in UTF-8, UTF-16 with a byte order mark, or GB18030, of which GBK is a part.

    The order is PaddleClas's, which reads labels as UTF-8 and else as GBK. Raises OSError when the file cannot be read,
    ValueError, with the reason, for other bytes.
    """
    with file.open("rb") as stream:
        data = stream.read(MAX_TEXT_BYTES + 1)
    if len(data) > MAX_TEXT_BYTES:
        raise ValueError(f"it has more than {MAX_TEXT_BYTES} bytes")
    encodings = ["utf-16"] if data.startswith(_UTF16_MARKS) else ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        return text
    raise ValueError("it is not text in UTF-8, GBK or UTF-16 with a byte order mark; save it as UTF-8")
