"""One file of an artifact: what config.json announces of it, where it may lie, whether it is that file.

A path in config.json comes from whoever made the artifact, and is read on every system: it must be plain on all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArtifactError
from ..files import sha256_of
from .config_fields import Fields, shown

MAX_FILE_BYTES = 2**31
"""Of any file: an ONNX model that is one file is a Protocol Buffers message, which cannot be longer."""

MAX_PATH_BYTES = 255
"""Of a path in config.json: what every file system takes as a single name."""

MAX_WEIGHTS_BITS = 64

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Later versions may have further precisions than this one: they are listed, and not run.
_PRECISION = re.compile(r"[a-z][a-z0-9_]{0,15}")
# Besides what leads elsewhere (\\ and : on Windows), what Windows has no names for.
_NOT_IN_NAMES = frozenset('\\:*?"<>|')


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file as config.json announces it: path relative to the folder, SHA-256, size in bytes.

    `precision` is set for ONNX files: `fp32`, `fp16`, `int8`. `weights_bits`: how many of its bits an int8 file's
    weights use; 8 are right only on CPUs with VNNI or the like, None where the file does not say.
    """

    path: str
    sha256: str
    bytes: int
    precision: str | None
    weights_bits: int | None = None

    def problem(self, found: Path) -> str | None:
        """What is wrong with the file at `found`, size first, as that takes no reading; None: it is this one."""
        size = found.stat().st_size
        if size != self.bytes:
            return f"has {size} bytes, expected {self.bytes}"
        digest = sha256_of(found)
        if digest != self.sha256:
            return f"was altered: its sha256 is {digest}, expected {self.sha256}"
        return None


def parse_file(path: str, values: Fields) -> ArtifactFile:
    """Read an entry of `files` in config.json.

    Raises ArtifactError for a path that leads outside the artifact's folder or is no plain name everywhere, ValueError
    for a hash or size that cannot be one, and for an ONNX file that is not called so (engines know formats by name).
    """
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts) or _NOT_IN_NAMES & set(path):
        raise ArtifactError(f"the file name {path!r} in config.json leads outside the artifact's folder")
    if not path.isprintable() or any(part.endswith((".", " ")) for part in parts):
        raise ArtifactError(f"the file name {path!r} in config.json is not allowed; expected plain names and /")
    if len(path.encode("utf-8")) > MAX_PATH_BYTES:
        raise ArtifactError(f"the file name {path[:40]!r}... in config.json has more than {MAX_PATH_BYTES} bytes")
    sha256, size = values.value("sha256"), values.whole("bytes", 0, MAX_FILE_BYTES)
    precision = values.values.get("precision")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"{path}: sha256 must be 64 lower-case hexadecimal digits, got {shown(sha256)}")
    if precision is not None and not (isinstance(precision, str) and _PRECISION.fullmatch(precision)):
        raise ValueError(f"{path}: precision must be a word like fp32, or null, got {shown(precision)}")
    if precision is not None and not path.endswith(".onnx"):
        raise ValueError(f"{path}: a file with a precision must be an ONNX file, named *.onnx")
    bits = values.whole("weights_bits", 1, MAX_WEIGHTS_BITS) if "weights_bits" in values.values else None
    return ArtifactFile(path, sha256, size, precision, bits)


def may_lie_at(found: Path, folder: Path) -> bool:
    """Whether the file, all links followed, is one of the artifact folder's own.

    A snapshot in huggingface_hub's cache, REPO/snapshots/COMMIT, is made of links: to blobs of that repo, and these to
    blobs that repos share. They count as its own; a link to anywhere else does not.
    """
    folder = folder.resolve()
    roots = [folder]
    repo = folder.parent.parent
    if folder.parent.name == "snapshots" and repo.name.startswith("models--"):
        roots += [repo / "blobs", repo.parent / "blobs"]
    return any(found.resolve().is_relative_to(root) for root in roots)
