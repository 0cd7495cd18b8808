"""The types of options: plain messages, and one rule for paths, held by every command."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from onnxzoo.cli import main
from onnxzoo.cli.parameters import Number, Whole

# Paths of what is to be made; everything else that is a path has to be there.
OUTPUTS = {"out", "plot", "report", "sheet"}


def commands(group: click.Group, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, context)
        else:
            yield name, command


def test_every_path_that_is_read_has_to_exist() -> None:
    """One that does not is wrong usage, exit code 2, before anything is loaded."""
    paths = {
        (name, parameter.name): parameter.type.exists
        for name, command in commands(main, click.Context(main))
        for parameter in command.params
        if isinstance(parameter.type, click.Path)
    }
    assert {
        ("eval", "data"), ("eval", "weights"), ("train", "data"), ("train", "init"), ("export", "weights"),
        ("export", "weights_dir"), ("export", "labels_file"), ("validate", "weights"), ("publish", "folder"),
    } <= set(paths)  # fmt: skip
    assert {key for key, exists in paths.items() if not exists} == {key for key in paths if key[1] in OUTPUTS}


def test_ranges_are_not_shown_in_interval_notation() -> None:
    ranged = [
        (name, parameter.name)
        for name, command in commands(main, click.Context(main))
        for parameter in command.params
        if isinstance(parameter.type, click.IntRange | click.FloatRange)
    ]
    assert ranged == []


@click.command()
@click.option("--free", type=Whole(2))
@click.option("--bound", type=Whole(1, 9))
@click.option("--least", type=Number(0.5))
@click.option("--above", type=Number(0, above=True))
def numbers(**given: object) -> None:
    click.echo(repr({name: value for name, value in given.items() if value is not None}))


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--free", "2", "{'free': 2}"),
        ("--bound", "9", "{'bound': 9}"),
        ("--least", "0.5", "{'least': 0.5}"),
        ("--above", "1e-9", "{'above': 1e-09}"),
        ("--free", "1", "expected a whole number from 2, got '1'"),
        ("--free", "-3", "expected a whole number from 2, got '-3'"),
        ("--free", "2.0", "expected a whole number from 2, got '2.0'"),
        ("--free", "", "expected a whole number from 2, got ''"),
        ("--free", "9" * 5000, "expected a whole number from 2, got '999"),
        ("--bound", "10", "expected a whole number from 1 to 9, got '10'"),
        ("--bound", "many", "expected a whole number from 1 to 9, got 'many'"),
        ("--least", "0.4", "expected a number of at least 0.5, got '0.4'"),
        ("--least", "x", "expected a number of at least 0.5, got 'x'"),
        ("--above", "0", "expected a number greater than 0, got '0'"),
    ],
)
def test_numbers(option: str, value: str, said: str) -> None:
    result = CliRunner().invoke(numbers, [option, value])
    assert said in result.output
    assert result.exit_code == (0 if said.startswith("{") else 2)
