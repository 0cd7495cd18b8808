"""Every code block of README and docs/ is run, in a folder with photos and models, or says why it is not.

The Python blocks of a page share their names; its commands run in the same folder, `onnxzoo` in this process. The names
of ImageNet models stand for a model that ships, which is in the cache folder under these names.
"""

from __future__ import annotations

import ast
import contextlib
import doctest
import io
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from documentation import DATA, ROOT, RUN, Block, Command, blocks, commands, pages
from test_script_names import missing

from onnxzoo import registry
from onnxzoo.cli import main
from onnxzoo.files import models_dir
from onnxzoo.hub.lookup import SHIPPED_DIR

PAGES = [page for page in pages() if blocks(page)]
ALL = [block for page in PAGES for block in blocks(page)]
SHIPPED = "swinv2_nano_fashion"
STAND_INS = ("pvt_v2_b0", "swinv2_tiny_w8", "swinv2_small_w16")
PHOTOS = ROOT / "onnxzoo" / "data" / "photos"
CLOTHES = ROOT / "tests" / "data" / "fashion_mnist_sample"
CHECKPOINTS = ROOT / "training" / "checkpoints"


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader of the pages is: photos, labelled images, a model of their own, and checkpoints."""
    here = tmp_path / "reader"
    (here / "photos").mkdir(parents=True)
    for name in ("astronaut", "coffee", "rocket"):
        shutil.copy(PHOTOS / f"{name}.jpg", here / "photos")
    shutil.copy(PHOTOS / "chelsea.jpg", here / "cat.jpg")
    shutil.copy(CLOTHES / "Ankle_boot" / "0000.png", here / "boot.png")
    for kind in sorted(path for path in CLOTHES.iterdir() if path.is_dir()):
        (here / "clothes" / kind.name).mkdir(parents=True)
        for image in itertools.islice(sorted(kind.iterdir()), 3):
            shutil.copy(image, here / "clothes" / kind.name)
    shutil.copytree(SHIPPED_DIR / SHIPPED, here / "swin")
    for name in (SHIPPED, "pvt_v2_nano_fashion"):
        shutil.copy(CHECKPOINTS / f"{name}.pdparams", here)
    for name in STAND_INS:
        shutil.copytree(SHIPPED_DIR / SHIPPED, models_dir() / name)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return here


def shows(expected: str, output: str) -> bool:
    """Whether the output is what a page shows of it, with `...` for anything."""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(expected.strip() + "\n", output.strip() + "\n", options)


def run_command(command: Command) -> tuple[int, str]:
    """The exit code of a command and all that it prints."""
    program, *arguments = command.words
    if program == "onnxzoo" and not command.needs_shell:
        done = CliRunner().invoke(main, arguments, prog_name="onnxzoo")
        return done.exit_code, done.output
    shell = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.text],  # noqa: S607
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    return shell.returncode, shell.stdout


def run_console(block: Block) -> None:
    listed = commands(block)
    for command in listed:
        code, output = run_command(command)
        expected = block.exit_code if command is listed[-1] else 0
        assert code == expected, f"{block}: '{command.text}' ended with {code}: {output}"
        if command.output:
            assert shows(command.output, output), f"{block}: '{command.text}' printed: {output}"


def run_python(block: Block, names: dict[str, Any]) -> str:
    """What the block prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\n" * block.line + block.code, str(block.page), "exec"), names)  # noqa: S102
    return printed.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path, folder: Path) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    for block in blocks(page):
        if block.prints:
            assert shows(block.code, printed), f"{block}: the block before it prints: {printed}"
        elif block.language == "python" and not block.reason:
            printed = run_python(block, names)
        elif block.language == "console" and not block.reason:
            run_console(block)


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_has_a_language_that_is_run_or_a_reason(block: Block) -> None:
    assert block.language in (*RUN, *DATA) or block.reason, f"{block}: why is {block.language!r} not run?"


@pytest.mark.parametrize("block", [one for one in ALL if one.language == "python" and one.reason], ids=str)
def test_python_that_is_not_run_uses_names_that_there_are(block: Block) -> None:
    ast.parse(block.code)
    assert list(missing(block.code)) == []


@pytest.mark.parametrize("block", [one for one in ALL if one.language == "console"], ids=str)
def test_commands_and_options_are_those_of_the_parser(block: Block) -> None:
    for command in commands(block):
        if "onnxzoo" in command.words:
            unknown(command.words[command.words.index("onnxzoo") + 1 :])


def unknown(words: list[str]) -> None:
    """Fail if a command line begins with no command of onnxzoo, or has an option that its command lacks."""
    command: click.Command = main
    context = click.Context(main, info_name="onnxzoo")
    for word in words:
        if isinstance(command, click.Group) and not word.startswith("-"):
            found = command.get_command(context, word)
            assert found is not None, f"there is no command 'onnxzoo {word}'"
            command = found
        elif word in ("|", ";", "&&", "&", ">", "2>", ")"):
            return
        elif word.startswith("--"):
            known = {option for one in command.get_params(context) for option in (*one.opts, *one.secondary_opts)}
            assert word.partition("=")[0] in known, f"'{command.name}' has no option {word}"


def test_the_checks_of_commands_can_fail() -> None:
    with pytest.raises(AssertionError, match="no command 'onnxzoo bake'"):
        unknown(["bake", "a"])
    with pytest.raises(AssertionError, match="'predict' has no option --fast"):
        unknown(["predict", "swin", "--fast"])
    with pytest.raises(AssertionError, match="'triton' has no option --storage-uri"):
        unknown(["deploy", "triton", "swin", "--storage-uri", "x"])
    assert not shows("boot 0.99", "boot 0.98")
    assert shows("boot 0.9...", "boot   0.98")


def test_stand_ins_are_names_of_the_registry() -> None:
    assert all(registry.find(name).labels == "imagenet1k" for name in STAND_INS)
