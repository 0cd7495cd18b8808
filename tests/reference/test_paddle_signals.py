"""Importing Paddle leaves the handlers of signals alone, at every moment: it must not be able to end the process."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.paddle

# What undoes Paddle's handlers after the import is taken out: any that were ever installed would be there still.
CHILD = """
import contextlib, os, signal
from onnxzoo import signals
from onnxzoo.reference.paddle import importing

importing.handlers_kept = contextlib.nullcontext
signals.raise_when_terminated()
before = [line for line in open("/proc/self/status") if line.startswith("SigCgt")]
importing.require_paddle()
import paddle
after = [line for line in open("/proc/self/status") if line.startswith("SigCgt")]
# The signals from 32 on are those of the C library's threads.
print(*(int(line.split()[1], 16) & 0x7FFFFFFF for line in (*before, *after)), float(paddle.ones([2]).sum()))
try:
    os.kill(os.getpid(), signal.SIGTERM)
    signal.pause()
finally:
    print("cleaned up")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_sigterm_cannot_meet_paddles_own_handler_at_any_moment_of_its_import():
    done = subprocess.run([sys.executable, "-P", "-c", CHILD], capture_output=True, text=True, check=False)
    numbers, *rest = done.stdout.splitlines()
    before, after, total = numbers.split()
    assert (before, total) == (after, "2.0"), done.stderr
    assert rest == ["cleaned up"]
    assert done.returncode == 143
    assert done.stderr == ""
