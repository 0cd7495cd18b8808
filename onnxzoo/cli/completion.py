"""Shell completion for the names of models and engines (click's completion: see the README)."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from .. import hub, registry


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
    from ..engines import AUTO, ENGINES, PADDLE

    names = dict.fromkeys([AUTO, *ENGINES, PADDLE])
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]
