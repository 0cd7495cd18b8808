"""Which packages are installed, by their metadata; none is imported."""

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
"""They install the same folder, `onnxruntime`: each overwrites what another put there."""


def installed_versions(names: Iterable[str]) -> dict[str, str]:
    """The versions of those of these packages that are installed, in the order of `names`."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
