"""Text from outside, made fit for one line."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import onnxzoo.cli
from onnxzoo import errors
from onnxzoo.text import MAX_MESSAGE, escaped, one_line, shortened


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ankle boot, Größe 40 €, 鞋, 👟", "Ankle boot, Größe 40 €, 鞋, 👟"),
        ("two  spaces \\ and 'quotes'", "two  spaces \\ and 'quotes'"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\nb\r\nc\td\0", r"a\nb\r\nc\td\x00"),
        ("\x7f\x85\x9b31m", r"\x7f\x85\x9b31m"),
        ("abc\u202ecba\u2066\u200f", r"abc\u202ecba\u2066\u200f"),
        ("line\u2028paragraph\u2029", r"line\u2028paragraph\u2029"),
        ("lone \udcff \ud800", r"lone \udcff \ud800"),
        ("\ufeff\U000e0041", r"\ufeff\U000e0041"),
        ("क्\u200dष 👩\u200d🔬", "क्\u200dष 👩\u200d🔬"),
    ],
)
def test_non_printable_characters_are_escaped(text, shown):
    assert escaped(text) == shown
    assert escaped(shown) == shown
    shown.encode()


def test_long_text_keeps_its_beginning_and_its_end():
    text = "expected a number, got '" + "7" * 5000 + "'; make it a number"
    short = shortened(text)
    assert len(short) == MAX_MESSAGE
    assert short.startswith("expected a number, got '777")
    assert short.endswith("'; make it a number")
    assert f"[... {len(text)} characters ...]" in short
    assert shortened("as it is") == "as it is"
    assert shortened("abcdef", 3) == "abc"


def test_a_message_of_a_library_becomes_one_line():
    assert one_line(ValueError("first\n   second\x1b[31m\n")) == r"first second\x1b[31m"
    assert one_line(ValueError()) == "ValueError"
    assert len(one_line(ValueError("x" * 10_000))) == MAX_MESSAGE


@pytest.mark.parametrize(
    "kind",
    [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.OnnxzooError)],
)
def test_every_error_is_one_printable_line_of_sane_length(kind):
    message = "bad \x1b]0;x\x07 \u202e\n" + "9" * 100_000 + "; fix it"
    error = kind(message)
    assert str(error).isprintable()
    assert len(str(error)) <= MAX_MESSAGE
    assert str(error).startswith(r"bad \x1b]0;x\x07 \u202e\n999")
    assert str(error).endswith("; fix it")
    assert error.args[0] == message


def test_commands_print_through_one_module_only():
    """Which escapes; `click.echo` does not."""
    for path in Path(onnxzoo.cli.__file__).parent.glob("*.py"):
        if path.name != "output.py":
            called = {
                ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
            }
            assert not called & {"click.echo", "click.secho", "print", "sys.stdout.write", "sys.stderr.write"}, path
