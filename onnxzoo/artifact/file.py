"""One file of an artifact: its entry in config.json, where it may be, and whether it matches its entry.

Paths in config.json are untrusted and are read on every operating system, so they must be safe on all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import ArtifactError
from ..files import sha256_of
from .config_fields import Fields, shown

MAX_FILE_BYTES = 2**31
"""Maximum size of any file: an ONNX model in one file is a Protocol Buffers message, which cannot be larger."""

MAX_PATH_BYTES = 255
"""Maximum length of a path in config.json, which every file system accepts for a single name."""

MAX_WEIGHTS_BITS = 64

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Later versions may have more precisions than this one; those are listed but cannot be run.
_PRECISION = re.compile(r"[a-z][a-z0-9_]{0,15}")
# \\ and : lead elsewhere on Windows; Windows does not allow the others in names.
_NOT_IN_NAMES = frozenset('\\:*?"<>|')


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file's entry in config.json: path relative to the folder, SHA-256, size in bytes.

    `precision` is set for ONNX files: `fp32`, `fp16`, `int8`. `weights_bits`: how many bits the weights of an int8 file
    use, None if not stated; with 8, results are correct only on CPUs with VNNI or the like.
    """

    path: str
    sha256: str
    bytes: int
    precision: str | None
    weights_bits: int | None = None

    def problem(self, found: Path) -> str | None:
        """How the file at `found` differs from its entry, None if it does not; the size is checked first."""
        size = found.stat().st_size
        if size != self.bytes:
            return f"has {size} bytes, expected {self.bytes}"
        digest = sha256_of(found)
        if digest != self.sha256:
            return f"was altered: its sha256 is {digest}, expected {self.sha256}"
        return None


def parse_file(path: str, values: Fields) -> ArtifactFile:
    """Parse an entry of `files` in config.json.

    Raises ArtifactError for a path that leads outside the artifact's folder or is not a plain name on every system,
    ValueError for an invalid hash or size, and for an ONNX file not named *.onnx (engines tell formats by name).
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
    """Whether the file, after following all links, belongs to the artifact folder.

    A snapshot in huggingface_hub's cache, REPO/snapshots/COMMIT, consists of links to blobs of that repo, which may be
    links to blobs shared by repos. Those belong to it; the target of any other link does not.
    """
    folder = folder.resolve()
    roots = [folder]
    repo = folder.parent.parent
    if folder.parent.name == "snapshots" and repo.name.startswith("models--"):
        roots += [repo / "blobs", repo.parent / "blobs"]
    return any(found.resolve().is_relative_to(root) for root in roots)
