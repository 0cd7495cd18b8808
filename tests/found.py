"""A model's folder by its name, for tests that look at the files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from onnxzoo.source import resolve


def find_artifact(model: str | os.PathLike[str], **options: Any) -> Path:
    """The artifact folder that `onnxzoo.source.resolve` finds with these options."""
    return resolve(model, **options).artifact.folder
