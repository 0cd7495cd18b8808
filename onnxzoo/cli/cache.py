"""`onnxzoo cache`: lists, verifies and removes the files kept on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from ..errors import InputError
from ..files import cache_fault
from ..hub.names import require_endpoint
from .completion import kept_names
from .output import print_json, say

if TYPE_CHECKING:
    from ..hub.inventory import CacheEntry


@click.group("cache", short_help="List, verify or remove what is kept on this machine.")
def command() -> None:
    """List, verify or remove what is kept on this machine.

    These are the exports, checkpoints, compiled models and verdicts on engines in the folder ONNXZOO_CACHE, the models
    of onnxzoo in huggingface_hub's cache (HF_HOME), and files left by killed processes. Models of other tools in that
    cache and files that a running process is writing are not touched.
    """
    require_endpoint()
    if (fault := cache_fault()) is not None:
        raise InputError(fault)


as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@command.command("list")
@as_json_option
def list_command(as_json: bool) -> None:
    """List what is kept, with its size."""
    from ..hub.inventory import entries

    found = entries()
    if as_json:
        print_json({"entries": [_as_dict(entry) for entry in found]})
        return
    width = max((len(_label(entry)) for entry in found), default=0) + 2
    for entry in found:
        say(f"{entry.kind:<12}{_label(entry):<{width}}{entry.bytes / 1e6:>9.1f} MB  {entry.path}")
    say(f"{len(found)} kept, {sum(entry.bytes for entry in found) / 1e6:.1f} MB")


@command.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME...]", shell_complete=kept_names)
@as_json_option
@click.pass_context
def verify_command(context: click.Context, names: tuple[str, ...], as_json: bool) -> None:
    """Read everything, or what NAME selects, and compare it with its hashes. Exit code 1 if anything is wrong.

    A damaged model from the Hub is fetched again when it is next loaded; remove other damaged entries and make them
    again.
    """
    from ..engines.compiled_models import faults
    from ..hub.inventory import ENGINES, LEFTOVER, chosen, entries, verify

    results = [
        (entry, faults(entry.path) if entry.kind == ENGINES else verify(entry))
        for entry in (chosen(names) if names else entries())
    ]
    if as_json:
        print_json({"entries": [_as_dict(one) | {"problems": said} for one, said in results]})
    else:
        for entry, problems in results:
            verdict = "FAILED" if problems else "left" if entry.kind == LEFTOVER else "ok"
            say(f"{verdict:<8}{entry.kind:<12}{_label(entry)}")
            for problem in problems:
                say(f"  {problem}")
        damaged = sum(bool(problems) for _, problems in results)
        left = sum(entry.kind == LEFTOVER for entry, _ in results)
        say(f"{len(results) - damaged - left} of {len(results) - left} ok" + (f", {damaged} FAILED" if damaged else ""))
        if left:
            say(
                f"{left} left by a process that was killed: the next one that writes there removes them, and so does "
                "'onnxzoo cache remove leftovers'"
            )
    context.exit(1 if any(problems for _, problems in results) else 0)


@command.command("remove")
@click.argument("names", nargs=-1, metavar="NAME...", shell_complete=kept_names)
@click.option("--all", "every", is_flag=True, help="Everything that 'onnxzoo cache list' shows.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed.")
def remove_command(names: tuple[str, ...], every: bool, yes: bool, dry_run: bool) -> None:
    """Remove what NAME selects: a model by its name, USER/NAME or USER/NAME@REVISION, or a checkpoint by its file name.

    A model's compiled forms and the verdicts on the engines that ran it are removed with it. 'engines/NAME' and
    'verdicts/NAME' select only these, 'engines' and 'verdicts' those of all models, 'leftovers' the files left by
    killed processes.
    """
    from ..hub.inventory import chosen, entries, remove

    if every == bool(names):
        raise click.UsageError("give names, or --all")
    doomed = entries() if every else chosen(names)
    for entry in doomed:
        say(f"{entry.kind:<12}{_label(entry)}  {entry.bytes / 1e6:.1f} MB", err=not dry_run)
    total = f"{len(doomed)} of the cache's entries, {sum(entry.bytes for entry in doomed) / 1e6:.1f} MB"
    if not doomed:
        say("nothing is kept, so there is nothing to remove")
        return
    if dry_run:
        say(f"would remove {total}")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(
                "cannot ask for confirmation without a terminal; give --yes to remove without asking"
            )
        click.confirm(f"remove {total}?", abort=True, err=True)
    remove(doomed)
    say(f"removed {total}")


def _label(entry: CacheEntry) -> str:
    if entry.revision is None:
        return entry.name if entry.engine is None else f"{entry.name} ({entry.engine})"
    refs = f" ({', '.join(entry.refs)})" if entry.refs else ""
    return f"{entry.name}@{entry.revision[:7]}{refs}"


def _as_dict(entry: CacheEntry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "name": entry.name,
        "revision": entry.revision,
        "refs": list(entry.refs),
        "engine": entry.engine,
        "bytes": entry.bytes,
        "path": str(entry.path),
    }
