"""The reference of the command line in the site, made from the parser: the page has it where `MARK` is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import click

from onnxzoo.cli import main

MARK = "<!-- the commands -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the mark of the page that has it. Called by MkDocs."""
    return markdown.replace(MARK, command_line()) if MARK in markdown else markdown


def command_line() -> str:
    """Every command with its usage, help, arguments and options, from the parser."""
    context = click.Context(main, info_name="onnxzoo")
    return "\n\n".join(_commands(main, context))


def _commands(group: click.Group, context: click.Context) -> Iterator[str]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = click.Context(command, info_name=name, parent=context)
        level = "#" * (inner.command_path.count(" ") + 2)
        usage = " ".join(command.collect_usage_pieces(inner))
        yield f"{level} {inner.command_path}\n\n```text\n{inner.command_path} {usage}\n```\n\n{_help(command)}"
        if rows := list(_options(command, inner)):
            yield "\n".join(("| option | meaning |", "|---|---|", *rows))
        if isinstance(command, click.Group):
            yield from _commands(command, inner)


def _help(command: click.Command) -> str:
    """A command's help as Markdown. A backspace on a line of its own keeps the lines of the paragraph after it."""
    paragraphs = inspect.cleandoc(command.help or "").replace("<", "&lt;").split("\n\n")
    return "\n\n".join(
        "```text\n" + paragraph.replace("\b\n", "").replace("&lt;", "<") + "\n```" if "\b" in paragraph else paragraph
        for paragraph in paragraphs
    )


def _options(command: click.Command, context: click.Context) -> Iterator[str]:
    for option in command.get_params(context):
        record = option.get_help_record(context) if isinstance(option, click.Option) else None
        if record is not None and "--help" not in option.opts:
            name, meaning = (text.replace("|", "\\|") for text in record)
            yield f"| `{name}` | {meaning.replace('<', '&lt;')} |"
