"""Pins the official weights: writes the Hub's present commits and hashes to models.json.

    python benchmarks/pin_sources.py onnxzoo/models.json

A maintainer with a network runs this once; afterwards later changes of the weights are rejected. It downloads nothing,
as the Hub states the SHA-256 of large files. The lines of models with unchanged pins are kept.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from onnxzoo.errors import OnnxzooError
from onnxzoo.files import atomic_write
from onnxzoo.hub.official import announced_weights
from onnxzoo.registry import ModelEntry, parse_models

PINS = ("timm_commit", "timm_sha256")


def pinned(text: str, entry: ModelEntry, commit: str, sha256: str) -> str:
    """The text of models.json with these pins in the source of a model, otherwise unchanged."""
    repo = json.dumps(entry.source.timm_repo)
    place = text.index(f'"timm_repo": {repo}')
    end = text.index("}", place)
    source = text[place:end]
    for name in PINS:
        source = re.sub(rf', "{name}": "[0-9a-f]*"', "", source)
    return f'{text[:place]}{source}, "timm_commit": "{commit}", "timm_sha256": "{sha256}"{text[end:]}'


def main(file: Path) -> int:
    """Query the Hub, write the file, print a line for each model."""
    text = file.read_text(encoding="utf-8")
    try:
        for entry in parse_models(json.loads(text)).values():
            if entry.source.timm_repo is not None:
                found = announced_weights(entry, latest=True)
                text = pinned(text, entry, found.commit, str(found.etag))
                print(f"{entry.name:<18}{entry.source.timm_repo:<55}{found.commit[:10]}  {found.size} bytes")
    except OnnxzooError as error:
        print(f"pin_sources: {error}; nothing was written", file=sys.stderr)
        return 3
    parse_models(json.loads(text))  # raises an error for an invalid registry
    with atomic_write(file) as stream:
        stream.write(text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
