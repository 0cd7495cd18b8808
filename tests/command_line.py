"""The command line, run in this process or in one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner, Result

from onnxzoo.cli import main


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], prog_name="onnxzoo")


def run_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "onnxzoo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def is_one_error_line(stderr: str) -> bool:
    return stderr.startswith("onnxzoo: error: ") and stderr.count("\n") == 1 and stderr.endswith("\n")
