"""Shell completion for the names of models and engines (click's completion: see the README)."""

from __future__ import annotations

import contextlib

import click
from click.shell_completion import CompletionItem

from .. import hub, registry
from ..errors import OnnxzooError
from ..precisions import AUTO_PRECISION, PRECISIONS


def model_names(context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models of the registry, shipped models and those exported here; if none match, aliases; else folders."""
    given = context.params.get("names") or ()
    here = [folder.name for folder in (*hub.shipped_models(), *hub.cached_models())]
    names = dict.fromkeys([*registry.list_models(), *here])
    found = [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in given]
    if not found:
        aliases = (alias for entry in registry.models().values() for alias in entry.aliases)
        found = [CompletionItem(alias) for alias in aliases if alias.casefold().startswith(incomplete.casefold())]
    return found or [CompletionItem(incomplete, type="dir")]


def engine_names(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The engines that `--engine` accepts, without their devices."""
    from ..engines import AUTO, ENGINES, REFERENCES, REMOTE

    names = dict.fromkeys([AUTO, *ENGINES, *REFERENCES, *(f"{name}:http://" for name in REMOTE)])
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def precision_names(_context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The precisions that `--precision` accepts."""
    return [CompletionItem(name) for name in (*PRECISIONS, AUTO_PRECISION) if name.startswith(incomplete)]


def kept_names(context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names that `cache remove` and `cache verify` accept, of what is kept; none if the cache cannot be read."""
    from ..hub.inventory import ENGINES, LEFTOVER, LEFTOVERS, VERDICTS, entries

    given = context.params.get("names") or ()
    names: dict[str, None] = {}
    with contextlib.suppress(OnnxzooError):
        for entry in entries():
            if entry.kind == LEFTOVER:
                names[LEFTOVERS] = None
            elif entry.kind in (ENGINES, VERDICTS):
                names |= dict.fromkeys((entry.kind, f"{entry.kind}/{entry.name}"))
            else:
                names[entry.name] = None
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in given]
