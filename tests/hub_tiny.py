"""The tiny artifact as a repo of the Hub on loopback: what is asked of it, and what a hostile user makes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hub_server import LoopbackHub
from tiny import write_artifact

from onnxzoo.files import sha256_of

REPO = "someone/tiny"
MODEL = "onnx/model.onnx"


def head(hub: LoopbackHub, repo: str = REPO) -> str:
    """The commit of main."""
    return hub.store.repos[repo].branches["main"].sha


def asked(hub: LoopbackHub) -> list[str]:
    """METHOD and file of each request for a file, redirects within the Hub left out."""
    return [f"{one.method} {one.path.split('?')[0]}" for one in hub.log.all() if "/api/" not in one.path]


def blob_of(folder: Path, path: str) -> Path:
    return (folder / path).resolve()


def read_config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


def publish(hub: LoopbackHub, folder: Path, *, more: Mapping[str, bytes] | None = None, **changes: Any) -> None:
    """Commit the folder's config.json with changed keys, and other files, as a malicious user might."""
    hub.store.change(REPO, {"config.json": json.dumps(read_config(folder) | changes).encode(), **(more or {})})


def announce(folder: Path, path: str, precision: str | None = None) -> None:
    """List a file of the folder in its config.json."""
    config = read_config(folder)
    file = folder / path
    config["files"][path] = {"sha256": sha256_of(file), "bytes": file.stat().st_size, "precision": precision}
    (folder / "config.json").write_text(json.dumps(config))


def two_precisions(folder: Path, second: str = "fp16", *, fp32_at_opset: int = 17) -> Path:
    """A tiny artifact with another ONNX file, as if in the second precision."""
    from tiny import tiny_graph

    graph = tiny_graph()
    graph.opset_import[0].version = fp32_at_opset
    write_artifact(folder, model=graph, name="two")
    graph.doc_string = f"as if {second}"
    (folder / "onnx" / f"model_{second}.onnx").write_bytes(graph.SerializeToString())
    announce(folder, f"onnx/model_{second}.onnx", second)
    return folder


def hub_files(hub: LoopbackHub) -> dict[str, bytes]:
    return {path: blob.content for path, blob in hub.store.repos[REPO].branches["main"].files.items()}


def spoil(file: Path, damage: str) -> None:
    content = file.read_bytes()
    middle = len(content) // 2
    file.write_bytes(
        {
            "altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
            "truncated": content[:middle],
            "empty": b"",
        }[damage]
    )


def sha256_of_bytes(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def altered_hash(file: Path, at: int) -> str:
    content = bytearray(file.read_bytes())
    content[at] ^= 0xFF
    return sha256_of_bytes(bytes(content))
