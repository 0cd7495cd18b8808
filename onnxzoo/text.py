"""Make untrusted text (file names, labels, messages of libraries) safe to print on one line."""

from __future__ import annotations

MAX_MESSAGE = 500
"""Maximum length of a message in characters. A longer one is cut in the middle, because its end says how to fix it."""

MAX_SHOWN = 80
"""Maximum length of a name or value quoted in a message; only the beginning of a longer one is shown."""

# Invisible, but Persian and Indic words and many emoji need them to join or separate letters.
JOINERS = "\N{ZERO WIDTH NON-JOINER}\N{ZERO WIDTH JOINER}"

# Share of a shortened message that is taken from its beginning; the rest comes from its end.
HEAD_SHARE = 0.7


def escaped(text: str) -> str:
    r"""The text with every non-printable character escaped as in a Python string: `\n`, `\x1b`, `\u202e`.

    These are C0 and C1 control characters, bidirectional controls, line and paragraph separators and lone surrogates,
    which could clear the screen, forge a line or cannot be encoded at all. Joiners within words are kept.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in JOINERS else c.encode("unicode_escape").decode("ascii") for c in text)


def shortened(text: str, limit: int = MAX_MESSAGE) -> str:
    """The text in at most `limit` characters; the middle of a longer text is replaced by a note of its length."""
    if len(text) <= limit:
        return text
    room = limit - len(gap := f" [... {len(text)} characters ...] ")
    if room < 2:
        return text[:limit]
    head = round(room * HEAD_SHARE)
    return text[:head] + gap + text[len(text) - (room - head) :]


def beginning(text: str, limit: int = MAX_SHOWN) -> str:
    """The text, or its first `limit` characters and an ellipsis; for values quoted in a message."""
    return text if len(text) <= limit else f"{text[:limit]}..."


def one_line(error: object) -> str:
    """The message of an exception as one short, printable line; its type if the message is empty."""
    return shortened(escaped(" ".join(str(error).split()))) or type(error).__name__
