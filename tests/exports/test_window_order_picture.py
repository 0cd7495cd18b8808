"""The picture in exports/README.md shows what the export form computes."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

pytest.importorskip("paddle", reason="needs the export extra")

from onnxzoo.exports.window_order_picture import picture

pytestmark = pytest.mark.paddle

DRAWN = Path(__file__).parents[2] / "exports" / "window_order.svg"


def test_the_picture_in_the_repository_is_the_one_that_the_code_draws() -> None:
    assert picture() == DRAWN.read_text(encoding="utf-8"), (
        f"draw it again: python -m onnxzoo.exports.window_order_picture {DRAWN}"
    )


def test_the_picture_holds_every_token_in_every_order() -> None:
    root = ET.fromstring(picture())  # noqa: S314 - our own text
    numbers = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text") if element.text.isdigit()]
    # Three maps and two streams of 64 tokens each. Discs name the four windows of the plain map once, and the windows
    # of the shifted map once per part: 1 + 2 + 2 + 4.
    assert len(numbers) == 5 * 64 + 4 + 9
    assert all(numbers.count(str(token)) == 5 for token in range(4, 64))
