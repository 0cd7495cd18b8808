"""Running the command line and ending it from outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 60.0


@dataclass(frozen=True)
class Ended:
    """How the process ended, what it wrote to stderr, and the processes of it that are still there."""

    code: int
    stderr: str
    children: list[str]


def end_at(words: str, number: signal.Signals, scratch: Path, *arguments: str | Path) -> Ended:
    """Run `onnxzoo ARGUMENTS` with temporary files in `scratch`; send the signal when `words` appear on stderr.

    Its children are known by the path of `scratch`, which all of them have in their environment.
    """
    command = [sys.executable, "-P", "-u", "-m", "onnxzoo", *map(str, arguments)]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stderr is not None
        stderr = b""
        while words.encode() not in stderr:
            piece = os.read(process.stderr.fileno(), 4096)
            assert piece, stderr.decode()
            stderr += piece
        process.send_signal(number)
        stderr += process.stderr.read()
        code = process.wait(PATIENCE_S)
    deadline = time.monotonic() + PATIENCE_S
    # The system ends them a moment after SIGKILL, and one that was being started when another signal came.
    while (children := _with_temporary_folder(scratch)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return Ended(code, stderr.decode(), children)


def _with_temporary_folder(scratch: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"TMPDIR={scratch}\0".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found
