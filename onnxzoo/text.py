"""Text from outside (file names, labels, messages of libraries) made fit for one line that a person reads."""

from __future__ import annotations

MAX_MESSAGE = 500
"""Characters of a message at most. What is longer is cut in its middle: the end says how to fix it."""

MAX_SHOWN = 80
"""Characters of a name or value that a message quotes; what is longer shows its beginning."""

# Invisible, but letters of Persian and Indic words and of many emoji are joined or kept apart by them.
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"

# Of a message that is cut, this share of what is left is its beginning.
HEAD_SHARE = 0.7


def escaped(text: str) -> str:
    r"""The text with every character that is not printable spelled as in a Python string: `\n`, `\x1b`, `\u202e`.

    That is C0 and C1 control characters, bidirectional controls, line and paragraph separators and lone surrogates,
    which could clear a screen, forge a line or cannot be written at all. Joiners within words stay.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text in at most `limit` characters: of a longer one the beginning, how much is left out, and the end."""
    if len(text) <= limit:
        return text
    room = limit - len(gap := f" [... {len(text)} characters ...] ")
    if room < 2:
        return text[:limit]
    head = round(room * HEAD_SHARE)
    return text[:head] + gap + text[len(text) - (room - head) :]


def beginning(text: str, limit: int = MAX_SHOWN) -> str:
    """The text, or its first `limit` characters and an ellipsis: for what a message quotes."""
    return text if len(text) <= limit else f"{text[:limit]}..."


def one_line(error: object) -> str:
    """The message of an exception as one short, printable line without its line breaks; its type where it has none."""
    return shortened(escaped(" ".join(str(error).split()))) or type(error).__name__
