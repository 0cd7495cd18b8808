"""Draws window_order.svg, the picture of README.md, from the export form's own functions.

python -m onnxzoo.exports.window_order_picture exports/window_order.svg
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from html import escape
from pathlib import Path

import numpy as np

from ..families.swinv2.constants import Order, reorder_index, window_order

SIDE, WINDOW, SHIFT = 8, 4, 2
TOKENS_OF_WINDOW = WINDOW * WINDOW

# One colour per window of the unshifted block; a token keeps its colour in all parts of the picture.
COLOURS = ("#f6c28b", "#a9d18e", "#9dc3e6", "#d5a6d9")
INK, FAINT, PAPER = "#1f2328", "#59636e", "#ffffff"

KEY = "Colour: its window in the plain (unshifted) block. Disc: number of the block's window."

WIDTH, MARGIN = 960, 32
CELL, GRID_TOP = 32, 84
GRID = SIDE * CELL
GAP = (WIDTH - 2 * MARGIN - 3 * GRID) / 2
STRIP_CELL, STRIP_HEIGHT = (WIDTH - 2 * MARGIN) / SIDE**2, 24
STRIP_TOP, STRIP_GAP = 488, 150
HEIGHT = STRIP_TOP + STRIP_GAP + STRIP_HEIGHT + 78


def picture() -> str:
    """The whole SVG: the map in three orders, and the stream before and after the Gather."""
    plain, shifted = window_order(SIDE, WINDOW, 0), window_order(SIDE, WINDOW, SHIFT)
    colour = colours_by_token(plain)
    row_major: Order = np.arange(SIDE**2, dtype=np.int64)
    parts = [
        text(MARGIN, 30, f"An {SIDE} x {SIDE} map, windows of {WINDOW}, shift {SHIFT}", size=17, weight="bold"),
        text(MARGIN, 50, f"Number: the token's place in the stream. {KEY}", fill=FAINT),
        *panel(0, "Row-major (textbook)", row_major, colour, 0),
        *panel(1, "Window order of a plain block", plain, colour, 0),
        *panel(2, "Window order of a shifted block", shifted, colour, SHIFT),
        *caption(0, ["Around each attention: roll, cut", "into windows, put back, roll back."]),
        *caption(1, ["Each window is 16 neighbours in", "the stream: cutting is a reshape."]),
        *caption(2, ["Here too. Windows 1, 2 and 3 join", "opposite edges: the mask parts them."]),
        *streams(plain, shifted, colour),
    ]  # fmt: skip
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        f'font-family="Helvetica, Arial, sans-serif" fill="{INK}">\n'
        f"<title>Window order of Swin Transformer tokens</title>\n"
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="{PAPER}"/>\n{body}\n</svg>\n'
    )


def colours_by_token(order: Order) -> Callable[[int], str]:
    """The colour of a token, given by its row-major number."""
    window = np.argsort(order) // TOKENS_OF_WINDOW
    return lambda token: COLOURS[int(window[token])]


def panel(column: int, title: str, order: Order, colour: Callable[[int], str], shift: int) -> list[str]:
    """The map, with the position of each cell's token in a stream of this order."""
    left = MARGIN + column * (GRID + GAP)
    place = np.argsort(order)
    parts = [text(left, GRID_TOP - 12, title, size=14, weight="bold")]
    for token in range(SIDE**2):
        x, y = left + token % SIDE * CELL, GRID_TOP + token // SIDE * CELL
        parts.append(rect(x, y, CELL, CELL, colour(token), PAPER, 1))
        parts.append(text(x + CELL - 5, y + CELL - 6, str(place[token]), size=11, anchor="end"))
    parts.append(rect(left, GRID_TOP, GRID, GRID, "none", INK, 2))
    if column:
        cuts = sorted({(shift + step) % SIDE for step in range(0, SIDE, WINDOW)} - {0})
        for cut in cuts:
            parts.append(line(left + cut * CELL, GRID_TOP, left + cut * CELL, GRID_TOP + GRID, INK, 2.5))
            parts.append(line(left, GRID_TOP + cut * CELL, left + GRID, GRID_TOP + cut * CELL, INK, 2.5))
        for row in (0, *cuts):
            for start in (0, *cuts):
                window = int(place[row * SIDE + start]) // TOKENS_OF_WINDOW
                parts += badge(left + start * CELL + 9, GRID_TOP + row * CELL + 9, str(window))
    return parts


def caption(column: int, lines: list[str]) -> list[str]:
    """Lines of text below a panel."""
    left = MARGIN + column * (GRID + GAP)
    return [text(left, GRID_TOP + GRID + 20 + 17 * n, words, size=13, fill=FAINT) for n, words in enumerate(lines)]


def streams(before: Order, after: Order, colour: Callable[[int], str]) -> list[str]:
    """The stream in both orders and the Gather between them, with one window of the second one emphasised."""
    index = reorder_index(before, after)
    below = STRIP_TOP + STRIP_GAP
    parts = [
        text(MARGIN, STRIP_TOP - 50, "Between the two blocks: one Gather over the token axis", size=14, weight="bold"),
        text(MARGIN, STRIP_TOP - 31, "Number: the token's row-major place in the map.", size=13, fill=FAINT),
    ]
    strong: list[str] = []
    for target, source in enumerate(index.tolist()):
        x1, x2 = (MARGIN + (place + 0.5) * STRIP_CELL for place in (source, target))
        first = target < TOKENS_OF_WINDOW
        drawn = line(
            x1, STRIP_TOP + STRIP_HEIGHT, x2, below, INK if first else FAINT, 1.3 if first else 0.7, 1 if first else 0.3
        )
        (strong if first else parts).append(drawn)
    parts += strong
    for top, order in ((STRIP_TOP, before), (below, after)):
        for place, token in enumerate(order.tolist()):
            x = MARGIN + place * STRIP_CELL
            parts.append(rect(x, top, STRIP_CELL, STRIP_HEIGHT, colour(token), PAPER, 0.7))
            parts.append(text(x + STRIP_CELL / 2, top + 15, str(token), size=8, anchor="middle"))
        for window in range(len(COLOURS)):
            x = MARGIN + window * TOKENS_OF_WINDOW * STRIP_CELL
            parts.append(rect(x, top, TOKENS_OF_WINDOW * STRIP_CELL, STRIP_HEIGHT, "none", INK, 1.8))
            y = top - 6 if top == STRIP_TOP else top + STRIP_HEIGHT + 17
            middle = x + TOKENS_OF_WINDOW * STRIP_CELL / 2
            kind = "plain" if top == STRIP_TOP else "shifted"
            parts.append(text(middle, y, f"{kind} window {window}", size=12, anchor="middle", fill=FAINT))
    parts.append(
        text(
            MARGIN, below + STRIP_HEIGHT + 48,
            "Shifted window 0 (strong lines) takes four tokens from each plain window. In the graph: "
            "Gather(stream, argsort(plain)[shifted], axis=1).",
            size=13,
        )
    )  # fmt: skip
    return parts


def badge(x: float, y: float, words: str) -> list[str]:
    """The number of a window on a dark disc."""
    return [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{INK}"/>',
        text(x, y + 3.6, words, size=10, weight="bold", fill=PAPER, anchor="middle"),
    ]


def text(
    x: float, y: float, words: str, *, size: int = 13, weight: str = "normal", fill: str = INK, anchor: str = "start"
) -> str:
    """Text with its baseline at y."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )


def rect(x: float, y: float, width: float, height: float, fill: str, stroke: str, thickness: float) -> str:
    """A rectangle with an outline."""
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}" '
        f'stroke="{stroke}" stroke-width="{thickness}"/>'
    )


def line(x1: float, y1: float, x2: float, y2: float, stroke: str, thickness: float, opacity: float = 1.0) -> str:
    """A straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{stroke}" '
        f'stroke-width="{thickness}" stroke-opacity="{opacity}"/>'
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(picture(), encoding="utf-8")
