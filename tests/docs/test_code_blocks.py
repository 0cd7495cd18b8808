"""Every code block of README and docs/ is run, in a folder with photos and models, or says why it is not.

The Python blocks of a page share their names; its commands run in the same folder, `onnxzoo` in this process. The names
of ImageNet models stand for a model that ships, which is in the cache folder under these names.
"""

from __future__ import annotations

import ast
import itertools
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from documentation import DATA, ROOT, RUN, Block, blocks, commands, pages
from page_runner import Reader, shows
from test_script_names import missing

from onnxzoo import registry
from onnxzoo.cli import main
from onnxzoo.files import models_dir
from onnxzoo.hub.lookup import SHIPPED_DIR

ALL = [block for page in pages() for block in blocks(page)]
NEED_PADDLE = ("export", "train")
SHIPPED = "swinv2_nano_fashion"
STAND_INS = ("pvt_v2_b0", "swinv2_tiny_w8", "swinv2_small_w16")
PHOTOS = ROOT / "onnxzoo" / "data" / "photos"
CLOTHES = ROOT / "tests" / "data" / "fashion_mnist_sample"
CHECKPOINTS = ROOT / "training" / "checkpoints"


def runs(page: Path) -> Any:
    """The page as a parameter of a test, with the mark of those that need Paddle."""
    consoles = [block for block in blocks(page) if block.language == "console" and not block.reason]
    words = [command.words[1:2] for block in consoles for command in commands(block)]
    marks = [pytest.mark.paddle] if any([name] in words for name in NEED_PADDLE) else []
    return pytest.param(page, marks=marks, id=str(page.relative_to(ROOT)))


@pytest.fixture
def folder(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a reader of the pages is: in a checkout, with photos, labelled images, a model's folder and checkpoints."""
    here = tmp_path / "reader"
    (here / "photos").mkdir(parents=True)
    for name in ("astronaut", "coffee", "rocket"):
        shutil.copy(PHOTOS / f"{name}.jpg", here / "photos")
    shutil.copy(PHOTOS / "chelsea.jpg", here / "cat.jpg")
    shutil.copy(CLOTHES / "Ankle_boot" / "0000.png", here / "boot.png")
    for kind in sorted(path for path in CLOTHES.iterdir() if path.is_dir()):
        (here / "clothes" / kind.name).mkdir(parents=True)
        for image in itertools.islice(sorted(kind.iterdir()), 5):
            shutil.copy(image, here / "clothes" / kind.name)
    shutil.copytree(SHIPPED_DIR / SHIPPED, here / "swin")
    for name in (SHIPPED, "pvt_v2_nano_fashion"):
        shutil.copy(CHECKPOINTS / f"{name}.pdparams", here)
    for name in ("onnxzoo", "tests", "training"):
        (here / name).symlink_to(ROOT / name)
    for name in STAND_INS:
        shutil.copytree(SHIPPED_DIR / SHIPPED, models_dir() / name)
    monkeypatch.chdir(here)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return here


@pytest.mark.slow
@pytest.mark.parametrize("page", [runs(page) for page in pages() if blocks(page)])
def test_the_code_of_a_page_runs(page: Path, folder: Path, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("paddle"):
        pytest.importorskip("paddle", reason="comes with the extra export")
    read_page(page)


def read_page(page: Path) -> None:
    with Reader() as reader:
        for block in blocks(page):
            reader.read(block)


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


OTHER_PAGES = sorted(
    page
    for folder in ("benchmarks", "clients", "examples", "exports", "onnxzoo", "tests", "training", "validators", ".")
    for page in (ROOT.glob("*.md") if folder == "." else (ROOT / folder).rglob("*.md"))
    if page not in pages() and not {"node_modules", "results"} & set(page.parts)  # results are of what was run once
)


@pytest.mark.parametrize("page", OTHER_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_on_other_pages_are_those_of_the_parser(page: Path) -> None:
    for block in blocks(page):
        for line in block.code.replace("\\\n", " ").splitlines():
            if line.removeprefix("$ ").startswith("onnxzoo "):
                unknown(shlex.split(line.removeprefix("$ "), comments=True)[1:])


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


@pytest.mark.parametrize(
    ("expected", "output", "same"),
    [
        ("boot 0.9443 9", "boot\n  0.9442   9\n", True),
        ("boot 0.9443 9", "boot 0.9446 9", False),
        ("boot 0.9443 9", "boot 0.9443 8", False),
        ("boot ... 0.02 end", "boot a\nb 0.03 end", True),
        ("boot ... end", "boot a end b", False),
        ("1.0 (a)", "1.1 (a)", False),
        ("version 0.1.0", "version 0.1.1", False),
        ("a.b", "aXb", False),
    ],
)
def test_what_a_page_shows_of_an_output(expected: str, output: str, same: bool) -> None:
    assert shows(expected, output) is same


def test_a_page_that_is_wrong_fails(folder: Path) -> None:
    page = folder / "page.md"
    for code, message in {
        "```console\n$ onnxzoo info nothing\n```": "ended with 2",
        "```console\n$ onnxzoo --version\nonnxzoo 9\n```": "printed: onnxzoo",
        "<!-- exit code 1 -->\n```console\n$ true\n```": "ended with 0",
        "```python\nprint(1)\n```\n<!-- prints -->\n```text\n2\n```": "prints: 1",
    }.items():
        page.write_text(code, encoding="utf-8")
        with pytest.raises(AssertionError, match=message):
            read_page(page)


def test_stand_ins_are_names_of_the_registry() -> None:
    assert all(registry.find(name).labels == "imagenet1k" for name in STAND_INS)
