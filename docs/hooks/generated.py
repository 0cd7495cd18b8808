"""Parts of pages that are made from the package itself, so that they cannot become stale.

A page names them by a comment on a line of its own: `<!-- generated: models -->`. `PARTS` has their names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import click

from onnxzoo import errors, registry
from onnxzoo.cli import main

_COMMENT = re.compile(r"^<!-- generated: (.+) -->$", re.MULTILINE)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the comments of a page; an unknown name is an error. Called by MkDocs."""
    return _COMMENT.sub(lambda found: PARTS[found[1]](), markdown)


def model_table(dataset: str) -> str:
    """The table of the registry's models whose accuracy is measured on this data set."""
    header = (
        "| name | PaddleClas name | image | parameters, M | GMAC | Top-1 | Top-5 |\n|---|---|---|---|---|---|---|\n"
    )
    own = "| name | image | parameters, M | GMAC | Top-1 | Top-5 |\n|---|---|---|---|---|---|\n"
    entries = [entry for entry in registry.models().values() if entry.dataset.startswith(dataset)]
    named = all(entry.aliases for entry in entries)
    rows = []
    for entry in entries:
        names = f"`{entry.name}` | {entry.aliases[0]}" if named else f"`{entry.name}`"
        accuracy = f"{entry.accuracy.top1:.2%} | {entry.accuracy.top5:.2%}".replace("%", " %")
        gmacs = f"{entry.gmacs:.2f}" if named else f"{entry.gmacs:.3f}"
        rows.append(f"| {names} | {entry.image_size} | {entry.params_m:.2f} | {gmacs} | {accuracy} |\n")
    return (header if named else own) + "".join(rows)


def error_table() -> str:
    """Every error of the package with the built-in class it also is, its exit code and its meaning."""
    rows = ["| error | also a | exit code | meaning |", "|---|---|---|---|"]
    for name, error in vars(errors).items():
        if isinstance(error, type) and issubclass(error, errors.OnnxzooError) and error is not errors.OnnxzooError:
            builtin = error.__bases__[-1].__name__
            meaning = (error.__doc__ or "").partition("\n")[0]
            rows.append(f"| `{name}` | `{builtin}` | {error.exit_code} | {meaning} |")
    return "\n".join(rows)


def command_line() -> str:
    """Every command with its usage, help, arguments and options, from the parser."""
    context = click.Context(main, info_name="onnxzoo")
    return "\n\n".join(_commands(main, context))


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = click.Context(command, info_name=name, parent=context)
        level = "#" * (inner.command_path.count(" ") + 1)
        usage = " ".join(command.collect_usage_pieces(inner))
        yield f"{level} {inner.command_path}\n\n```text\n{inner.command_path} {usage}\n```\n\n{_help(command)}"
        if rows := list(_options(command, inner)):
            yield "\n".join(("| option | meaning |", "|---|---|", *rows))
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _help(command: click.Command) -> str:
    """A command's help as Markdown. A backspace on a line of its own keeps the lines of the paragraph after it."""
    paragraphs = (command.help or "").replace("<", "&lt;").split("\n\n")
    return "\n\n".join(
        "```text\n" + paragraph.replace("\b\n", "").replace("&lt;", "<") + "\n```" if "\b" in paragraph else paragraph
        for paragraph in paragraphs
    )


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for option in command.get_params(context):
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None and record[0] != "-h, --help":
            name, meaning = (text.replace("|", "\\|") for text in record)
            yield f"| `{name}` | {meaning.replace('<', '&lt;')} |"


PARTS: dict[str, Callable[[], str]] = {
    "models": lambda: model_table("ImageNet-1k"),
    "own models": lambda: model_table("Fashion-MNIST"),
    "errors": error_table,
    "command line": command_line,
}
