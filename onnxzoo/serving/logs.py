"""The log of a server: one JSON object a line, also of what libraries report, without tracebacks."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime

from ..errors import one_line

FIELDS = "fields"
"""The attribute of a record that holds further fields of its line."""
LIBRARIES = ("asyncio", "grpc", "kserve", "uvicorn", "uvicorn.error")


class JsonLines(logging.Handler):
    """Writes records as lines of JSON by `write`. `tracebacks`: also those of errors."""

    def __init__(self, write: Callable[[str], None], *, tracebacks: bool = False) -> None:
        super().__init__()
        self._write, self._tracebacks = write, tracebacks

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": one_line(record.getMessage()),
            **getattr(record, FIELDS, {}),
        }
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            line["error"] = f"{type(error).__name__}: {one_line(error)}"
            if self._tracebacks:
                line["traceback"] = logging.Formatter().formatException(record.exc_info)
        self._write(json.dumps(line, default=str))


def log_as_json(write: Callable[[str], None], *, tracebacks: bool = False) -> None:
    """Let this package and the libraries of the server log by `write`, as lines of JSON, and nowhere else."""
    handler = JsonLines(write, tracebacks=tracebacks)
    for name in ("onnxzoo", *LIBRARIES):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.propagate = False
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
