"""A shipped artifact and the command `onnxzoo publish`, as the tests of publishing run it."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from hub_server import WRITE_TOKEN

from onnxzoo.cli import main

NAME = "swinv2_nano_fashion"
REPO = f"onnxzoo/{NAME}"
GENERATED = {"README.md", "config.json", ".eval_results/onnxzoo-fashion_mnist-documented.yaml"}


def run(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(main, ["publish", *map(str, arguments)], prog_name="onnxzoo")
    assert WRITE_TOKEN not in result.output + str(result.exception)
    return result


def state(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def error_line(result: Result) -> str:
    """The one line on stderr, when nothing else was printed."""
    assert result.stdout == ""
    assert result.stderr.startswith("onnxzoo: error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr.removeprefix("onnxzoo: error: ")
