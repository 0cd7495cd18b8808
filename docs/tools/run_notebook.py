"""Runs docs/first_steps.ipynb and writes it with its outputs: python docs/tools/run_notebook.py.

Its tests run it as well, and compare the texts that it prints with those that are stored.
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "first_steps.ipynb"
TIMEOUT_S = 100


def run() -> nbformat.NotebookNode:
    """The notebook after a run in its folder. Raises CellExecutionError if a cell fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(
        notebook, timeout=TIMEOUT_S, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    client.execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times at which cells ran
    notebook.metadata.language_info.pop("version", None)
    return notebook


if __name__ == "__main__":
    nbformat.write(run(), NOTEBOOK)
