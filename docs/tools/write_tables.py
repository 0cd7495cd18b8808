"""Writes the tables in README and docs/ that follow from the package and from benchmarks/results/.

    python docs/tools/write_tables.py            # brings all pages up to date; `make docs` does it
    python docs/tools/write_tables.py --check    # only names the pages that are not

A page has a table between two comments: `<!-- table: models -->` and `<!-- end of table -->`. `TABLES` has their names.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path

import figures

from onnxzoo import errors, registry

ROOT = Path(__file__).parents[2]
_TABLE = re.compile(r"<!-- table: (.+?) -->\n.*?<!-- end of table -->", re.DOTALL)


def model_table(labels: str) -> str:
    """The models of the registry with these class names (a file in onnxzoo/labels/)."""
    entries = [entry for entry in registry.models().values() if entry.labels == labels]
    named = any(entry.aliases for entry in entries)
    rows = []
    for entry in entries:
        names = [f"`{entry.name}`", *entry.aliases[:1]]
        size = [str(entry.image_size), f"{entry.params_m:.2f}", f"{entry.gmacs:.2f}" if named else f"{entry.gmacs:.3f}"]
        rows.append([*names, *size, figures.percent(entry.accuracy.top1), figures.percent(entry.accuracy.top5)])
    names = ["name", "PaddleClas name"] if named else ["name"]
    return figures.table([*names, "image", "parameters, M", "GMAC", "Top-1", "Top-5"], rows)


def error_table() -> str:
    """Every error of the package with the built-in class it also is, its exit code and its meaning."""
    rows = []
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.OnnxzooError) and error is not errors.OnnxzooError:
            meaning = (error.__doc__ or "").partition("\n")[0]
            rows.append([f"`{name}`", f"`{error.__bases__[-1].__name__}`", str(error.exit_code), meaning])
    return figures.table(["error", "also a", "exit code", "meaning"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "models": lambda: model_table("imagenet1k"),
    "own models": lambda: model_table("fashion_mnist"),
    "errors": error_table,
    "speed": figures.speed,
    "graphs": figures.graphs,
    "cold start": figures.cold_start,
    "differences": figures.differences,
    "int8": figures.int8,
}


def up_to_date(text: str) -> str:
    """The text of a page with its tables as they have to be. Raises KeyError for the name of an unknown table."""
    return _TABLE.sub(
        lambda found: f"<!-- table: {found[1]} -->\n\n{TABLES[found[1]]()}\n\n<!-- end of table -->", text
    )


def main() -> int:
    """Write or check all pages; the exit code is 1 if a page was not up to date and is only checked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="name the pages that are stale, and write nothing")
    check = parser.parse_args().check
    stale = False
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        if (now := up_to_date(text)) != text:
            print(f"{page.relative_to(ROOT)}: {'is not up to date; run make docs' if check else 'brought up to date'}")
            stale = True
            if not check:
                page.write_text(now, encoding="utf-8")
    return int(stale and check)


if __name__ == "__main__":
    sys.exit(main())
