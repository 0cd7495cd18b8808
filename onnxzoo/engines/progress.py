"""Reports a long operation by `logging`, which the command line shows on stderr."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator

INTERVAL_SECONDS = 10.0

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def announced(what: str) -> Iterator[None]:
    """Log `what` when the block begins, every few seconds while it runs, and when it ends, with the time it took."""
    started = time.monotonic()
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(INTERVAL_SECONDS):
            logger.info("%s: still at it, %.0f s", what, time.monotonic() - started)

    logger.info("%s: this may take minutes, once", what)
    thread = threading.Thread(target=tell, name="onnxzoo-progress", daemon=True)
    thread.start()
    outcome = "failed"
    try:
        yield
        outcome = "done"
    finally:
        ended.set()
        thread.join()
        logger.info("%s: %s after %.1f s", what, outcome, time.monotonic() - started)
