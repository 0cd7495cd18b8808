"""Pin the official weights: write the commits and hashes that the Hub has now into models.json.

    python benchmarks/pin_sources.py onnxzoo/models.json

For a maintainer with a network, once: from then on nobody takes weights that were changed since. Downloads nothing:
the Hub announces the SHA-256 of large files. Models whose pins stay as they are keep their lines.
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
    """The text of models.json with these pins in the source of a model; everything else stays, letter by letter."""
    repo = json.dumps(entry.source.timm_repo)
    place = text.index(f'"timm_repo": {repo}')
    end = text.index("}", place)
    source = text[place:end]
    for name in PINS:
        source = re.sub(rf', "{name}": "[0-9a-f]*"', "", source)
    return f'{text[:place]}{source}, "timm_commit": "{commit}", "timm_sha256": "{sha256}"{text[end:]}'


def main(file: Path) -> int:
    """Ask, write, print a line for each model."""
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
    parse_models(json.loads(text))  # raises for what would not be a registry
    with atomic_write(file) as stream:
        stream.write(text.encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
