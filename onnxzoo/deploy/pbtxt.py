"""Protocol Buffers' text format, in which Triton reads a model's configuration.

Source: the Text Format Language Specification of Protocol Buffers. Only what config.pbtxt needs is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias


class Word(str):
    """An enum's value, written without quotes: TYPE_FP32."""

    __slots__ = ()


Value: TypeAlias = "str | int | bool | Mapping[str, Value] | Sequence[Value]"

_ESCAPES = {ord("\\"): r"\\", ord('"'): r"\"", ord("\n"): r"\n", ord("\r"): r"\r", ord("\t"): r"\t"}


def text_format(message: Mapping[str, Value]) -> str:
    """A message in text format: field names with their values. A sequence is a repeated field, a mapping a message."""
    return "\n".join(_lines(message, "")) + "\n"


def entries(values: Mapping[str, Value]) -> list[Value]:
    """A map field: as the format has it, a repeated message of key and value."""
    return [{"key": key, "value": value} for key, value in values.items()]


def _lines(message: Mapping[str, Value], indent: str) -> Iterator[str]:
    for name, value in message.items():
        many = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        for one in many:
            if isinstance(one, Mapping):
                if one:
                    yield f"{indent}{name} {{"
                    yield from _lines(one, indent + "  ")
                    yield f"{indent}}}"
                else:
                    yield f"{indent}{name} {{}}"
            else:
                yield f"{indent}{name}: {_scalar(one)}"


def _scalar(value: Value) -> str:
    if isinstance(value, Word):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return f'"{_quoted(str(value))}"'


def _quoted(text: str) -> str:
    """The text with escapes; bytes outside printable ASCII in octal, so that the file has one encoding everywhere."""
    return "".join(_ESCAPES.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\{byte:03o}") for byte in text.encode())
