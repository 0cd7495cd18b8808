"""The report of a validation: one self-contained HTML page, for reviews and archives."""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..comparison.figures import HISTOGRAM_EDGES, Figures
from ..errors import InputError
from ..files import atomic_write
from ..image import pixels_of
from ..registry import Preprocess
from ..results import Array
from ..web_page import html_image, html_page, html_text
from .bisect import Bisection
from .engine_checks import Check
from .environment import environment
from .preprocess import PreprocessCheck
from .result import Compared, ValidationResult

if TYPE_CHECKING:
    import PIL.Image

WORST_INPUTS = 8
THUMBNAIL_PIXELS = 128

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 .8rem; color: #1c2126 }
h1 { font-size: 1.5rem; margin-bottom: .2rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.verdict { display: inline-block; padding: .2rem .9rem; border-radius: .3rem; color: #fff; font-weight: 600 }
.pass { background: #1b7a43 } .fail { background: #b3261e }
table { border-collapse: collapse; font-size: .87rem } .wide { overflow-x: auto }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid #d9dee3; vertical-align: top }
.wide table { font-size: .74rem } .wide th, .wide td { padding-right: .4rem }
.wide td:last-child, .wide th:last-child { padding-right: 0 }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
tr.bad td { background: #fbe9e7 } .problem { color: #b3261e } .grid { display: flex; flex-wrap: wrap; gap: 1rem }
figure { margin: 0; font-size: .8rem; max-width: 19rem } figure img { display: block; width: 8rem;
image-rendering: pixelated; border: 1px solid #d9dee3 } figcaption { overflow-wrap: anywhere }
"""


def write_report(path: Path, result: ValidationResult) -> None:
    """Write the page atomically; its folder is created if necessary.

    Raises InputError if it cannot be written.
    """
    page = render(result)
    try:
        with atomic_write(path) as file:
            file.write(page.encode("utf-8", errors="replace"))
    except OSError as error:
        raise InputError(f"the report cannot be written to {path}: {error.strerror or error}") from error


def render(result: ValidationResult) -> str:
    """The page as text. All text from elsewhere, such as names and messages, is escaped."""
    artifact = result.artifact
    title = f"Validation of {artifact.name}"
    models = [file for file in artifact.files.values() if file.precision]
    about = [
        ("folder", str(artifact.folder)),
        ("date", datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")),
        *((f"ONNX file, {file.precision}", f"{file.path}, sha256 {file.sha256}") for file in models),
        *((f"tolerance, {name}", _tolerance(t.value, t.snr_db)) for name, t in result.tolerances.items()),
        *((f"reference, {name}", _reference(reference)) for name, reference in result.references.items()),
        ("inputs", ", ".join(result.inputs.names)),
        *([("seed of the noise", str(result.seed))] if result.seed is not None else []),
        *((f"{name}: not checked", reason) for name, reason in result.unavailable.items()),
    ]
    sections = [
        f'<h1>{html_text(title)}</h1><p><span class="verdict {"pass" if result else "fail"}">'
        f"{'PASSED' if result else 'FAILED'}</span> {result.passed_checks} of "
        f"{len(result.checks)} checks</p>{_pairs(about)}",
        f"<h2>Checks</h2>{_checks(result.checks)}",
        f"<h2>Where it differs</h2>{_bisections(result.bisections)}" if result.bisections else "",
        f"<h2>Absolute errors</h2><p>Number of values by |engine &minus; reference|, two bins a decade, counts on a "
        f'logarithmic scale.</p><div class="grid">{"".join(_histograms(result.checks))}</div>',
        f'<h2>Worst inputs</h2><div class="grid">{"".join(_worst_inputs(result))}</div>',
        f"<h2>Preprocessing</h2>{_preprocess(result.preprocess.checks)}" if result.preprocess is not None else "",
        f"<h2>Environment</h2>{_pairs(environment().items())}",
    ]
    body = "\n".join(section for section in sections if section)
    return html_page(title, STYLE, body)


def _checks(checks: Sequence[Check]) -> str:
    head = (
        "engine", "device", "arithmetic", "precision", "reference", "batch", "inputs", "output", "max",
        "mean", "median", "99.9 %", "max, relative", "of tolerance", "cosine", "SNR, dB", "top-1", "top-5",
    )  # fmt: skip
    rows = []
    for check in checks:
        about = (
            f"{check.requested} {check.engine.version}".rstrip(), check.engine.device, check.engine.precision,
            check.precision, check.reference, str(check.batch_size or "-"), str(check.samples),
        )  # fmt: skip
        for name, output in check.comparison.outputs.items():
            rows.append(_row([*about, name, *_figures(output, check)], bad=not check))
        if not check.comparison.outputs:
            rows.append(_row([*about, *["-"] * (len(head) - len(about))], bad=not check))
        if check.note:
            rows.append(f'<tr><td colspan="{len(head)}">{html_text(check.note)}</td></tr>')
        rows += [
            f'<tr class="bad"><td class="problem" colspan="{len(head)}">{html_text(problem)}</td></tr>'
            for problem in check.comparison.problems
        ]
    titles = "".join(f"<th>{html_text(name)}</th>" for name in head)
    return f'<div class="wide"><table><tr>{titles}</tr>{"".join(rows)}</table></div>'


def _figures(output: Figures, check: Check) -> list[str]:
    spread = output.absolute
    return [
        *(f"{value:.2e}" for value in (spread.max, spread.mean, spread.median, spread.p999, output.relative.max)),
        f"{output.worst_ratio:.1%}",
        f"{output.cosine:.8f}",
        f"{output.snr_db:.1f}",
        f"{check.comparison.top1_agreement:.0%}",
        f"{check.comparison.top5_agreement:.0%}",
    ]


def _histograms(checks: Sequence[Check]) -> Iterable[str]:
    """One histogram for each engine, precision, reference and output, at the first batch size."""
    done = set()
    for check in checks:
        for name, output in check.comparison.outputs.items():
            key = (check.requested, check.precision, check.reference, name)
            if key not in done:
                done.add(key)
                caption = html_text(", ".join(key))
                yield f"<figure>{_histogram(output.histogram)}<figcaption>{caption}</figcaption></figure>"


def _histogram(counts: Sequence[int]) -> str:
    width, height, bar = 300, 90, 300 / len(counts)
    tallest = math.log10(1 + max(counts))
    bars = "".join(
        f'<rect x="{number * bar:.1f}" y="{height - tall:.1f}" width="{bar - 1:.1f}" height="{tall:.1f}" '
        f'fill="#3b6ea5"><title>{count} values</title></rect>'
        for number, count in enumerate(counts)
        if (tall := height * math.log10(1 + count) / tallest)
    )
    # The bin with this number begins at the edge with this number, as the first bin is below all edges.
    marks = "".join(
        f'<text x="{(number + 1) * bar:.1f}" y="{height + 14}" font-size="10" text-anchor="middle">{edge:.0e}</text>'
        for number, edge in enumerate(HISTOGRAM_EDGES)
        if number % 4 == 2
    )
    return f'<svg viewBox="0 0 {width} {height + 18}" width="{width}" role="img">{bars}{marks}</svg>'


def _worst_inputs(result: ValidationResult) -> Iterable[str]:
    """The inputs with the largest errors in units of the tolerance, as pictures."""
    worst: dict[int, tuple[float, str]] = {}
    for check in result.checks:
        where = f"{check.requested}, {check.reference}, batch {check.batch_size}"
        ratios = dict(enumerate(check.comparison.row_ratios))
        if not ratios:
            ratios = dict.fromkeys(check.comparison.failed_rows, math.inf)
        for row, ratio in ratios.items():
            worst[row] = max(worst.get(row, (-1.0, "")), (ratio, where))
    ordered = sorted(worst.items(), key=lambda item: -item[1][0])[:WORST_INPUTS]
    for row, (ratio, where) in ordered:
        picture = thumbnail(result.inputs.images[row], result.artifact.preprocess)
        size = "not finite" if math.isinf(ratio) else f"{ratio:.1%} of the tolerance"
        caption = f"{result.inputs.names[row]}: {size} ({where})"
        yield f"<figure>{html_image(picture)}<figcaption>{html_text(caption)}</figcaption></figure>"


def thumbnail(image: Array, spec: Preprocess) -> PIL.Image.Image:
    """The pixels of a normalised image, float32 [3, S, S], at most THUMBNAIL_PIXELS a side."""
    import PIL.Image

    picture = PIL.Image.fromarray(pixels_of(image, spec))
    picture.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
    return picture


def _bisections(bisections: Sequence[Bisection]) -> str:
    parts = []
    for found in bisections:
        rows = "".join(
            _row([layer.name, f"{layer.error:.2e}", f"{layer.noise:.2e}", layer.problem], bad=layer is found.after)
            for layer in found.layers
        )
        table = f"<table><tr><th>layer</th><th>error</th><th>noise</th><th></th></tr>{rows}</table>" if rows else ""
        parts.append(f"<p>{html_text(found.message)}</p>{table}")
    return "".join(parts)


def _preprocess(checks: Sequence[PreprocessCheck]) -> str:
    rows = "".join(_row([c.case, f"{c.max_abs:.2e}", str(c.moved), c.problem], bad=not c) for c in checks)
    return f"<table><tr><th>image</th><th>max</th><th>values moved</th><th></th></tr>{rows}</table>"


def _row(cells: Sequence[str], *, bad: bool) -> str:
    inner = "".join(f"<td{' class=n' if _is_number(cell) else ''}>{html_text(cell)}</td>" for cell in cells)
    return f"<tr{' class=bad' if bad else ''}>{inner}</tr>"


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return (
        "<table>"
        + "".join(f"<tr><th>{html_text(key)}</th><td>{html_text(value)}</td></tr>" for key, value in pairs)
        + "</table>"
    )


def _tolerance(value: float, snr_db: float | None) -> str:
    return f"{value:g} + {value:g} * |reference|" + (
        "" if snr_db is None else f", and noise {snr_db:g} dB below the signal"
    )


def _reference(reference: Compared) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in reference.origin.items())
    return f"{facts}; {reference.remark}" if reference.remark else facts


def _is_number(text: str) -> bool:
    try:
        float(text.rstrip("%"))
    except ValueError:
        return text == "-"
    return True
