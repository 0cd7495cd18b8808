"""Many images: where they come from, tables of results, and runs that can be resumed.

    from onnxzoo.batch import open_source, predict_to_table

    table = predict_to_table(model, open_source(["photos/", "more.zip"]), "answers.parquet")

The names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .entry import Entry
    from .ray_runs import table_by_ray
    from .sources import Source, open_source
    from .table_runs import Table, embed_to_table, predict_to_table

__all__ = ["Entry", "Source", "Table", "embed_to_table", "open_source", "predict_to_table", "table_by_ray"]

_MODULES = {
    "Entry": "entry",
    "Source": "sources",
    "Table": "table_runs",
    "embed_to_table": "table_runs",
    "open_source": "sources",
    "predict_to_table": "table_runs",
    "table_by_ray": "ray_runs",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value
