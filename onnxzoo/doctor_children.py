"""Runs the child processes of `onnxzoo.doctor` (each runs `onnxzoo.doctor_probe`) with a time limit.

Like `doctor`, it imports only the standard library, and modules that import nothing else.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from .errors import one_line
from .files import CACHE_VARIABLE
from .signals import signal_name
from .temporary import scratch_folder

AUTO = "auto"
LAST_WORDS = 300

Answer = tuple[dict[str, Any], str | None]


class Children:
    """Asks child processes, from several threads at once. Leaving the `with` block kills running ones.

    So Ctrl-C does not wait for a library that is being loaded, as an interruption of the block first ends the children.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def __enter__(self) -> Children:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        with self._lock:
            self._ended = True
            for child in self._running:
                child.kill()

    def ask(self, what: str, timeout_s: float, *kind: str) -> Answer:
        """The answer of a child process to one question; if there is none, {} and the child's fate."""
        # The answer is a file, as libraries may print to stdout. Engines built for a check are not kept.
        try:
            with scratch_folder("doctor") as scratch:
                return self._ask_in(scratch, (*kind, what), timeout_s)
        except (OSError, ValueError) as error:
            return {}, f"the check could not be made: {one_line(error)}"

    def _ask_in(self, scratch: Path, question: tuple[str, ...], timeout_s: float) -> Answer:
        answer, words = scratch / "answer.json", scratch / "words.txt"
        command = [sys.executable, "-P", "-m", f"{__package__}.doctor_probe", str(answer), *question]
        # `auto` builds nothing, and uses the engines built by the user.
        environment = {**os.environ} if AUTO in question else {**os.environ, CACHE_VARIABLE: str(scratch / "cache")}
        with words.open("wb") as log:
            with self._lock:
                if self._ended:
                    return {}, "the check was not made: the diagnosis was interrupted"
                child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
                self._running.add(child)
            try:
                code = child.wait(timeout_s)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                return {}, f"it hung: no answer in {timeout_s:.0f} s, and was ended{_last_words(words)}"
            finally:
                with self._lock:
                    self._running.discard(child)
        if answer.is_file():
            found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
            return found, None
        return {}, f"{_ending(code)}{_last_words(words)}"


def _ending(code: int) -> str:
    return f"the check ended with exit code {code}" if code >= 0 else f"it crashed ({signal_name(-code)})"


def _last_words(words: Path) -> str:
    try:
        text = words.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
    return f": ...{one_line(text)[-LAST_WORDS:]}" if text else ""
