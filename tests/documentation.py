"""The pages for users, README.md and those in docs/, and the code blocks in them.

A comment on the line before a block says how the tests treat it, and readers do not see it:

    <!-- not run: it needs a GPU -->    compiled, or its commands and options looked up, but not run
    <!-- exit code 1 -->                its last command ends with this code instead of 0
    <!-- prints -->                     this is what the Python block before it prints
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

RUN = ("python", "console")
"""The languages of blocks that are run. Blocks in `DATA` are only text; any other has to say why it is not run."""
DATA = ("text", "json", "yaml")

_MARK = re.compile(r"<!-- (?:not run: (?P<reason>.+)|exit code (?P<code>\d+)|(?P<prints>prints)) -->")
_FENCE = re.compile(r"(?P<indent> *)(?P<fence>```+)(?P<language>\S*).*")


@dataclass(frozen=True)
class Block:
    """A fenced block of code. `line`: that of its fence, from 1. `reason`: why it is not run."""

    page: Path
    line: int
    language: str
    code: str
    reason: str = ""
    exit_code: int = 0
    prints: bool = False

    def __str__(self) -> str:
        name = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page
        return f"{name}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command of a console block and what the page shows of its output; empty if it shows none."""

    text: str
    output: str

    @property
    def words(self) -> list[str]:
        """Its words, as a shell reads them, without comments."""
        return shlex.split(self.text, comments=True)

    @property
    def needs_shell(self) -> bool:
        """Whether it is more than a program and its arguments."""
        lexer = shlex.shlex(self.text, punctuation_chars="|&;<>()", posix=False)
        lexer.wordchars += "$@%+:!^"
        return any(set(token) <= set("|&;<>()") or "$" in token or token.startswith("`") for token in lexer)


def pages() -> list[Path]:
    """README.md and the pages of the site, in a fixed order."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page. Fails on one that is not closed, or with a comment that has no block."""
    return list(_blocks(page, page.read_text(encoding="utf-8").splitlines()))


def _blocks(page: Path, lines: list[str]) -> Iterator[Block]:
    mark: re.Match[str] | None = None
    numbered = enumerate(lines, 1)
    for number, line in numbered:
        if found := _MARK.fullmatch(line.strip()):
            mark = found
            continue
        fence = _FENCE.fullmatch(line)
        if fence is None:
            assert mark is None or not line.strip(), f"{page}:{number}: {mark[0] if mark else ''} is not before a block"
            continue
        indent, code = len(fence["indent"]), []
        for _, inner in numbered:
            if inner.strip() == fence["fence"]:
                break
            code.append(inner[indent:])
        else:
            raise AssertionError(f"{page}:{number}: the block is not closed")
        yield Block(
            page,
            number,
            fence["language"],
            "\n".join(code) + "\n",
            reason=(mark and mark["reason"]) or "",
            exit_code=int((mark and mark["code"]) or 0),
            prints=bool(mark and mark["prints"]),
        )
        mark = None
    assert mark is None, f"{page}: {mark[0] if mark else ''} is not before a block"


def commands(block: Block) -> list[Command]:
    """The commands of a console block, each after `$ `, with what follows it as its output."""
    found: list[Command] = []
    text, output = "", []
    for line in block.code.splitlines():
        if text.endswith("\\"):
            text = text[:-1] + line
        elif line.startswith("$ "):
            if text:
                found.append(Command(text, "\n".join(output)))
            text, output = line[2:], []
        else:
            assert text, f"{block}: a console block begins with '$ ', got {line!r}"
            output.append(line)
    return [*found, Command(text, "\n".join(output).strip("\n"))]
