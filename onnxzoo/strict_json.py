"""JSON as the standard has it: reading what others wrote, and results as values that may be written.

What is not plain JSON, or would be read differently elsewhere, is an error: Python's own reader lets through what
RFC 8259 forbids (NaN, Infinity), takes the last of two equal keys, and raises RecursionError for deep nesting.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any, NoReturn

MAX_DIGITS = 40
"""Of a whole number: no count or size comes near."""

MAX_DEPTH = 100
"""Of lists and objects in each other; the documents that are read here need five."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(data: bytes) -> Any:
    """The document in these bytes of UTF-8.

    Raises ValueError, with a reason in one line, for what is not JSON, equal keys in one object, numbers that are not
    finite or of more than MAX_DIGITS digits, text that is not Unicode, and nesting beyond MAX_DEPTH.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8") from None
    _require_shallow(text)
    value = json.loads(
        text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_float, parse_int=_integer
    )
    if _SURROGATE.search(text):
        try:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
        except UnicodeEncodeError:
            raise ValueError("a text holds half of a surrogate pair (\\ud800 to \\udfff)") from None
    return value


def plain(value: Any) -> Any:
    """Any result in JSON's values: dataclasses as objects, and null for NaN and infinity, which JSON does not have."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _require_shallow(text: str) -> None:
    """Before anything recurses; the C scanner of some Python versions does not stop in time."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth, inside = 0, False
    for token in re.finditer(r'\\.|["\[\]{}]', text):
        if (character := token[0]) == '"':
            inside = not inside
        elif not inside and character in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
        elif not inside and character in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Of two equal keys readers take one or the other: nobody knows what was checked."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} is in one object twice")
    return values


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; expected a finite number")


def _float(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"the number {digits[:20]} is too large for a float64")
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a whole number has {len(digits)} digits, expected up to {MAX_DIGITS}")
    return int(digits)
