"""Which packages are installed, read from their metadata without importing them."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

ONNXRUNTIME_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-qnn",
)
"""They install the same folder, `onnxruntime`, and overwrite each other's files."""


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of the installed ones among these packages, in the order of `names`."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
