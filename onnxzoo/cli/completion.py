"""What a shell offers for the argument that names a model (click's completion: see the README)."""

from __future__ import annotations

import click
from click.shell_completion import CompletionItem

from .. import hub, registry


def model_names(context: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The models of the registry, those that ship and those exported here; folders where no name begins so."""
    given = context.params.get("names") or ()
    here = [folder.name for folder in (*hub.shipped_models(), *hub.cached_models())]
    names = dict.fromkeys([*registry.list_models(), *here])
    found = [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in given]
    return found or [CompletionItem(incomplete, type="dir")]
