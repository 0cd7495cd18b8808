"""The notebook docs/first_steps.ipynb: it runs, prints what is stored, and names nothing of this machine."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from documentation import DOCS

pytest.importorskip("nbclient", reason="comes with the extra dev")
NOTEBOOK = DOCS / "first_steps.ipynb"


def printed(notebook: Any) -> list[str]:
    """What each cell prints, as one text."""
    streams = ([one for one in cell.get("outputs", []) if one["output_type"] == "stream"] for cell in notebook["cells"])
    return ["".join("".join(one["text"]) for one in found) for found in streams]


@pytest.fixture
def stored() -> Any:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_it_runs_and_prints_what_is_stored(stored: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.syspath_prepend(DOCS / "tools")
    ran = importlib.import_module("run_notebook").run()
    assert printed(ran) == printed(stored)
    shown = [
        one.data["text/html"]
        for cell in ran.cells
        for one in cell.get("outputs", [])
        if "text/html" in one.get("data", {})
    ]
    assert len(shown) == 2
    assert all("data:image/jpeg;base64," in one for one in shown)


def test_it_tells_nothing_of_the_machine_that_made_it(stored: Any) -> None:
    text = json.dumps([cell.get("outputs", []) for cell in stored["cells"]])
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    assert re.findall(r"/(?:home|root|tmp|usr|work|Users|opt)\b|[A-Z]:\\\\", text) == []
    assert "stderr" not in text
    assert "version" not in stored["metadata"]["language_info"]


def test_its_links_lead_to_pages(stored: Any) -> None:
    text = "".join("".join(cell["source"]) for cell in stored["cells"] if cell["cell_type"] == "markdown")
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert links
    assert [link for link in links if not (DOCS / link).is_file()] == []
