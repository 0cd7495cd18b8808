"""Reading the fields of an artifact's config.json with checks of their types and ranges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from ..text import beginning

MAX_TEXT = 1000
SHOWN = 60


class Fields:
    """An object of the document. Methods raise ValueError naming the field, the expected value and the actual one."""

    def __init__(self, values: object, path: str = "") -> None:
        """`path`: location of the object in the document, "" for the document itself."""
        if not isinstance(values, dict):
            raise ValueError(f"{path} must be an object, got {shown(values)}")
        self.values: Mapping[str, Any] = values
        self._path = path

    def value(self, key: str) -> Any:
        """Any value; raises if the field is missing."""
        if key not in self.values:
            raise ValueError(f"{self.named(key)!r} is missing")
        return self.values[key]

    def named(self, key: str) -> str:
        """The field's name from the top of the document."""
        return f"{self._path}.{key[:SHOWN]}" if self._path else key[:SHOWN]

    def whole(self, key: str, least: int, most: int) -> int:
        """A whole number; true and 1.0 are refused."""
        value = self.value(key)
        if type(value) is not int or not least <= value <= most:
            expected = f"{least}" if least == most else f"a whole number from {least} to {most}"
            raise ValueError(f"{self.named(key)} must be {expected}, got {shown(value)}")
        return value

    def number(self, key: str, least: float = -math.inf, most: float = math.inf) -> float:
        """A finite number."""
        value = self.value(key)
        if type(value) not in (int, float) or not least <= value <= most:
            bounds = "" if least == -math.inf else f" from {least:g} to {most:g}"
            raise ValueError(f"{self.named(key)} must be a number{bounds}, got {shown(value)}")
        return float(value)

    def text(self, key: str, *, least: int = 0) -> str:
        """Text of `least` to MAX_TEXT characters."""
        value = self.value(key)
        if not isinstance(value, str) or not least <= len(value) <= MAX_TEXT:
            raise ValueError(f"{self.named(key)} must be text of {least} to {MAX_TEXT} characters, got {shown(value)}")
        return value

    def object(self, key: str) -> Fields:
        """An object within this one."""
        return Fields(self.value(key), self.named(key))

    def objects(self, key: str) -> Iterator[Fields]:
        """The objects of a list; none if the field is missing."""
        values = self.values.get(key, [])
        if not isinstance(values, list):
            raise ValueError(f"{self.named(key)} must be a list, got {shown(values)}")
        return (Fields(value, f"{self.named(key)}[{place}]") for place, value in enumerate(values))

    def plain(self, key: str) -> Mapping[str, Any]:
        """An object of texts, numbers, true, false and null."""
        inside = self.object(key)
        for name, value in inside.values.items():
            if isinstance(value, dict | list) or (isinstance(value, str) and len(value) > MAX_TEXT):
                raise ValueError(
                    f"{inside.named(name)} must be text of up to {MAX_TEXT} characters, a number or null, "
                    f"got {shown(value)}"
                )
        return inside.values


def shown(value: object) -> str:
    """The beginning of a value, for an error message."""
    return beginning(repr(value), SHOWN)
