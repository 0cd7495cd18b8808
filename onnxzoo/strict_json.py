"""Strict JSON: parsing untrusted documents, and converting results to JSON values.

What is not plain JSON, or would be read differently by other parsers, is an error: Python's own parser accepts what
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
"""Maximum length of a whole number, far beyond any count or size."""

MAX_DEPTH = 100
"""Maximum nesting of lists and objects; the documents that are read here need five levels."""

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(data: bytes) -> Any:
    """Parse a JSON document encoded in UTF-8.

    Raises ValueError, with a one-line reason, for invalid JSON, duplicate keys in an object, numbers that are not
    finite or have more than MAX_DIGITS digits, text that is not Unicode, and nesting beyond MAX_DEPTH.
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
    """Any result as JSON values: dataclasses as objects, and null for NaN and infinity, which JSON does not have."""
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
    """Check the nesting before anything recurses; the C scanner of some Python versions does not stop in time."""
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
    """Refuse duplicate keys: parsers disagree on which one counts, so the checked value may not be the used one."""
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice[:80]!r} occurs twice in one object")
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
