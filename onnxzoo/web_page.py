"""Self-contained HTML for reports and notebooks: escaped text, pictures as data, no scripts, no requests."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from .text import escaped

if TYPE_CHECKING:
    import PIL.Image

JPEG_QUALITY = 85

BEST_BAR, OTHER_BAR = "#3b6ea5", "#a9b6c3"
"""Colours of the bars of the best class and of all others."""


def html_text(text: str) -> str:
    """Text from elsewhere, such as names, labels and messages, as the content of an element or of an attribute."""
    return html.escape(escaped(text), quote=True)


def html_image(picture: PIL.Image.Image, kind: str = "PNG") -> str:
    """An `img` element that contains a picture of mode RGB, encoded as `kind`: PNG, which is exact, or JPEG."""
    stream = io.BytesIO()
    if kind == "JPEG":
        picture.save(stream, kind, quality=JPEG_QUALITY, optimize=True)
    else:
        picture.save(stream, kind, optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img alt="" src="data:image/{kind.lower()};base64,{data}">'


def fitted_picture(rgb: PIL.Image.Image, pixels: int) -> PIL.Image.Image:
    """A copy of at most `pixels` a side; a small picture is enlarged by a whole factor, so that its pixels are seen."""
    import PIL.Image

    if factor := pixels // max(rgb.size):
        return rgb.resize((rgb.width * factor, rgb.height * factor), PIL.Image.Resampling.NEAREST)
    small = rgb.copy()
    small.thumbnail((pixels, pixels))
    return small


def html_page(title: str, style: str, body: str) -> str:
    """A whole document; `title` is text, `style` CSS and `body` HTML.

    Its policy lets a browser load nothing, and run no script that escaping might have missed.
    """
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{html_text(title)}</title><style>{style}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def html_bars(rows: Iterable[tuple[str, float, str]]) -> str:
    """A table of labels with their shares in [0, 1] as bars, each (label, share, colour of the bar in CSS).

    Styled inline, because a notebook gives it no style sheet; text keeps the colour of its surroundings.
    """
    return f'<div style="{_TABLE}">' + "".join(_bar(*row) for row in rows) + "</div>"


def html_prediction(name: str, picture: str, bars: str) -> str:
    """A picture (an element, or nothing) beside bars, under a name if there is one, styled as `html_bars` is."""
    caption = f'<div style="font-size:.85em;overflow-wrap:anywhere"><bdi>{html_text(name)}</bdi></div>' if name else ""
    return (
        f'<div style="max-width:32em">{caption}<div style="display:flex;gap:1em;align-items:flex-start">'
        f'{picture}<div style="flex:1;min-width:0">{bars}</div></div></div>'
    )


_TABLE = "display:grid;grid-template-columns:minmax(0,1fr) auto;column-gap:.6em;font-size:.85em;line-height:1.35"


def _bar(label: str, share: float, colour: str) -> str:
    return (
        f'<bdi style="overflow-wrap:anywhere">{html_text(label)}</bdi>'
        f'<span style="text-align:right;font-variant-numeric:tabular-nums">{share:.1%}</span>'
        '<div style="grid-column:1/3;height:.35em;margin-bottom:.35em;background:rgba(128,128,128,.22)">'
        f'<div style="width:{share:.1%};height:100%;background:{colour}"></div></div>'
    )
