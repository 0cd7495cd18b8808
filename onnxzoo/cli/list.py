"""`onnxzoo list`: lists the models of the registry."""

from __future__ import annotations

import click

from .. import hub, registry
from ..errors import UnknownModelError
from .output import print_json, say


@click.command("list", short_help="List the models.")
@click.argument("pattern", default="*")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def command(pattern: str, as_json: bool) -> None:
    """List the models, or those whose name or alias matches PATTERN (quote wildcards: 'swin*').

    The last column shows which are on this machine: shipped with onnxzoo, or exported into
    the cache or assembled there from downloaded weights.
    """
    names = registry.list_models(pattern)
    if not names:
        raise UnknownModelError(
            f"no model matches {pattern!r}; wildcards are * ? [...], 'onnxzoo list' shows all models"
        )
    shipped = {folder.name for folder in hub.shipped_models()}
    cached = {folder.name: hub.was_assembled(folder) for folder in hub.cached_models()}
    rows = [
        {
            "name": entry.name,
            "family": entry.family,
            "aliases": list(entry.aliases),
            "image_size": entry.image_size,
            "params_m": entry.params_m,
            "gmacs": entry.gmacs,
            "top1": entry.accuracy.top1,
            "top5": entry.accuracy.top5,
            "shipped": entry.name in shipped,
            "exported": cached.get(entry.name) is False,
            "assembled": cached.get(entry.name) is True,
        }
        for entry in (registry.models()[name] for name in names)
    ]
    if as_json:
        print_json({"models": rows})
        return
    width = max(len(name) for name in ["name", *names]) + 2
    say(f"{'name':<{width}}{'image':>5}{'params M':>10}{'GMAC':>8}{'top-1':>8}{'top-5':>8}  here")
    for row in rows:
        here = ", ".join(word for word in ("shipped", "exported", "assembled") if row[word])
        say(
            f"{row['name']:<{width}}{row['image_size']:>5}{row['params_m']:>10.2f}{row['gmacs']:>8.2f}"
            f"{row['top1']:>8.4f}{row['top5']:>8.4f}  {here}".rstrip()
        )
