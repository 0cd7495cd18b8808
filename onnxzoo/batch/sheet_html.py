"""A contact sheet as one HTML file, which any browser shows without a network."""

from __future__ import annotations

from ..results import Prediction
from ..web_page import html_bars, html_image, html_page, html_text
from .sheet_parts import Cell, Sheet, bar_colour

STYLE = """
:root { color-scheme: light dark; --page: #eef1f4; --cell: #fff; --line: #d5dbe1; --text: #1c2733; --quiet: #5d6a76;
--bad: #b3261e; --badcell: #fdeceb }
@media (prefers-color-scheme: dark) { :root { --page: #14181c; --cell: #1d2329; --line: #333c45; --text: #e6eaee;
--quiet: #9aa7b3; --bad: #ff8f86; --badcell: #2e1d1c } }
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; background: var(--page); color: var(--text) }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; overflow-wrap: anywhere }
p { margin: 0; color: var(--quiet); overflow-wrap: anywhere }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); gap: .9rem; margin-top: 1.2rem }
figure { margin: 0; padding: .8rem; background: var(--cell); border: 1px solid var(--line); border-radius: .5rem;
display: grid; grid-template-columns: 168px minmax(0, 1fr); gap: .3rem .9rem; align-content: start }
figcaption { grid-column: 1/3; font-size: .85rem; color: var(--quiet); overflow-wrap: anywhere }
figcaption b { color: var(--text); font-size: 1rem; margin-right: .5em }
img { display: block; max-width: 168px }
.none { height: 168px; width: 168px; display: grid; place-items: center; background: var(--line); color: var(--quiet);
font-size: .85rem }
.bad { background: var(--badcell); border-color: var(--bad) } .bad p { color: var(--bad); font-size: .85rem }
h2 { font-size: .8rem; font-weight: normal; color: var(--quiet); margin: 0 0 .1rem }
"""


def html_sheet(sheet: Sheet) -> bytes:
    """The sheet as an HTML document in UTF-8. All text from elsewhere is escaped; nothing is loaded, no script runs."""
    notes = "".join(f"<p>{html_text(note)}</p>" for note in sheet.notes)
    cells = "\n".join(_cell(cell, named=sheet.compares_models) for cell in sheet.cells)
    body = f"<h1>{html_text(sheet.title)}</h1>{notes}\n<main>\n{cells}\n</main>"
    return html_page(sheet.title, STYLE, body).encode("utf-8")


def _cell(cell: Cell, *, named: bool) -> str:
    truth = f"<b>{html_text(cell.truth)}</b>" if cell.truth else ""
    caption = f"<figcaption>{truth}<bdi>{html_text(cell.name)}</bdi></figcaption>"
    if cell.error:
        error = f"<p>{html_text(cell.error)}</p>"
        return f'<figure class="bad">{caption}<div class="none">not readable</div>{error}</figure>'
    picture = '<div class="none">no longer readable</div>'
    if cell.picture is not None:
        picture = f"<div>{html_image(cell.picture, 'JPEG')}</div>"
    answers = "".join(_answer(model, best, cell.truth, named=named) for model, best in cell.answers)
    return f"<figure>{caption}{picture}<div>{answers}</div></figure>"


def _answer(model: str, best: Prediction, truth: str, *, named: bool) -> str:
    bars = html_bars((one.label, one.score, bar_colour(rank, one, truth)) for rank, one in enumerate(best.top))
    return (f"<h2>{html_text(model)}</h2>" if named else "") + bars
