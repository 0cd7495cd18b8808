"""The arguments and options that say which images a command is about, common to `predict` and `embed`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the arguments `images`, and the options `lists` and `column`: those of `batch.sources.open_source`."""
    for add in (
        click.option(
            "--column",
            metavar="NAME|NUMBER",
            help="The column of a list that has the paths: its heading, or its number from 1.",
        ),
        click.option(
            "--list",
            "lists",
            metavar="FILE",
            multiple=True,
            help="A list of images with any name; '-' is a list on standard input.",
        ),
        click.argument("images", metavar="[SOURCE]...", nargs=-1),
    ):
        command = add(command)
    return command
