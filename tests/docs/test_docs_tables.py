"""The tables in README and docs/ are those that the package and benchmarks/results/ give today."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from documentation import DOCS, ROOT, pages

TOOLS = DOCS / "tools"


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(TOOLS)
    return importlib.import_module("write_tables")


def test_every_table_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, TOOLS / "write_tables.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_table_is_on_a_page(tables: ModuleType) -> None:
    text = "".join(page.read_text(encoding="utf-8") for page in pages())
    for name in tables.TABLES:
        assert f"<!-- table: {name} -->" in text
    assert text.count("<!-- table: ") == text.count("<!-- end of table -->")


def test_a_stale_table_is_brought_up_to_date(tables: ModuleType) -> None:
    text = "a\n<!-- table: own models -->\n\n| old |\n\n<!-- end of table -->\nb\n"
    now = tables.up_to_date(text)
    assert "| `pvt_v2_nano_fashion` | 32 | 0.47 | 0.005 | 91.83 % | 99.88 % |" in now
    assert "old" not in now
    assert now.startswith("a\n<!-- table: own models -->\n\n| name |")
    assert now.endswith("|\n\n<!-- end of table -->\nb\n")
    assert tables.up_to_date(now) == now


def test_an_unknown_table_is_an_error(tables: ModuleType) -> None:
    with pytest.raises(KeyError, match="nothing"):
        tables.up_to_date("<!-- table: nothing -->\n<!-- end of table -->")


def test_the_largest_difference_that_readme_names_is_that_of_the_table() -> None:
    named = re.search(r"agrees with the original in Paddle to (\S+) or better", (ROOT / "README.md").read_text("utf-8"))
    page = (DOCS / "numbers.md").read_text(encoding="utf-8")
    table = page.partition("<!-- table: differences -->")[2].partition("<!-- end of table -->")[0]
    assert named is not None
    assert float(named[1]) == max(map(float, re.findall(r"\| (\d\.\de-\d\d)", table)))


def test_the_picture_of_readme_is_small() -> None:
    picture = DOCS / "images" / "contact_sheet.png"
    assert Path(picture).stat().st_size < 200_000
    assert "docs/images/contact_sheet.png" in (ROOT / "README.md").read_text(encoding="utf-8")
