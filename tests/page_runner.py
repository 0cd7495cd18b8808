"""Runs the code blocks of a page as its reader would: one folder, one Python session, and servers that stay up."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import sys
from types import TracebackType
from typing import Any
from unittest import mock

from click.testing import CliRunner
from documentation import Block, Command, commands

from onnxzoo.cli import main

TIMEOUT_S = 100
_SERVES = re.compile(r"serving at http://(\S+) and, for gRPC, (\S+)")
DOCUMENTED_ADDRESSES = ("127.0.0.1:8080", "127.0.0.1:8081")
"""Where pages say that a server listens; here it listens on free ports."""


_SHOWN = re.compile(r"(?P<any>\.\.\.)|(?P<number>(?<![\w.])\d+\.\d{2,}(?![\w.]))|(?P<space>\s+)")
"""What a page shows of an output loosely: anything, a number with at least two decimals, white space."""
_PATTERNS = {"any": ".*?", "number": r"(\d+\.\d+)", "space": r"\s+"}


def shows(expected: str, output: str) -> bool:
    """Whether the output is what a page shows of it.

    `...` stands for anything, and white space for any other. Numbers may differ by one in the last of at least two
    decimals, as engines round differently on other processors.
    """
    expected = expected.strip()
    pattern, numbers, end = "", list[str](), 0
    for found in _SHOWN.finditer(expected):
        pattern += re.escape(expected[end : found.start()]) + _PATTERNS[str(found.lastgroup)]
        numbers += [found["number"]] if found["number"] else []
        end = found.end()
    matched = re.fullmatch(pattern + re.escape(expected[end:]), output.strip(), re.DOTALL)
    return matched is not None and all(
        abs(float(shown) - float(real)) < 1.5 * 10.0 ** -len(shown.partition(".")[2])
        for shown, real in zip(numbers, matched.groups(), strict=True)
    )


class Reader:
    """Runs the blocks of one page in the current folder; servers that it started end with the `with` block."""

    def __init__(self) -> None:
        self._names: dict[str, Any] = {"__name__": "__main__"}
        self._printed = ""
        self._addresses: dict[str, str] = {}
        self._servers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.terminate()
            server.communicate(timeout=TIMEOUT_S)

    def read(self, block: Block) -> None:
        """Run a block, unless it says why it is not run; fails as its reader would notice."""
        if block.prints:
            assert shows(block.code, self._printed), f"{block}: the block before it prints: {self._printed}"
        elif block.language == "python" and not block.reason:
            self._printed = self._python(block)
        elif block.language == "console" and not block.reason:
            self._console(block)

    def _python(self, block: Block) -> str:
        """What the block prints."""
        printed = io.StringIO()
        code = self._as_here("\n" * block.line + block.code)
        with contextlib.redirect_stdout(printed):
            exec(compile(code, str(block.page), "exec"), self._names)  # noqa: S102
        return printed.getvalue()

    def _console(self, block: Block) -> None:
        listed = commands(block)
        for command in listed:
            code, output = self._command(command)
            expected = block.exit_code if command is listed[-1] else 0
            assert code == expected, f"{block}: '{command.text}' ended with {code}: {output}"
            if command.output:
                assert shows(command.output, output), f"{block}: '{command.text}' printed: {output}"

    def _command(self, command: Command) -> tuple[int, str]:
        """The exit code of a command and all that it prints."""
        program, *arguments = command.words
        if program == "cd":  # for all that follows; the caller's folder is put back by its fixture
            os.chdir(arguments[0])
            return 0, ""
        if command.words[:2] == ["onnxzoo", "serve"]:
            return 0, self._serve(arguments)
        if program == "onnxzoo" and not command.needs_shell:
            with mock.patch.dict(os.environ):  # some options set variables, as a process runs only one command
                done = CliRunner().invoke(main, [self._as_here(one) for one in arguments], prog_name="onnxzoo")
            return done.exit_code, done.output
        shell = subprocess.run(
            ["bash", "-o", "pipefail", "-c", self._as_here(command.text)],  # noqa: S607
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return shell.returncode, shell.stdout

    def _serve(self, arguments: list[str]) -> str:
        """Start a server on free ports, and return the line that it prints once it is ready, with the usual ones."""
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "onnxzoo", *arguments, "--http-port", "0", "--grpc-port", "0"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._servers.append(server)
        assert server.stdout is not None
        line = server.stdout.readline()
        ready = _SERVES.fullmatch(line.strip())
        assert ready is not None, f"the server printed {line!r}"
        self._addresses = dict(zip(DOCUMENTED_ADDRESSES, ready.groups(), strict=True))
        for documented, real in self._addresses.items():
            line = line.replace(real, documented)
        return line

    def _as_here(self, text: str) -> str:
        """A text of the page with the addresses on which its server listens here."""
        for documented, real in self._addresses.items():
            text = text.replace(documented, real)
        return text
