"""Write the seed corpus of the C++ client's fuzz target: the images of its tests, and a config.json.

python tests/cpp_seeds.py FOLDER
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from client_images import (
    bad_images,
    exif_kinds,
    golden_cases,
    jpeg_kinds,
    oriented,
    png_kinds,
    raw_profiles,
    xmp_kinds,
)
from pictures import encoded, photo
from tiny import write_artifact


def seeds() -> list[bytes]:
    """The images of tests/client_images.py."""
    found = [data for cases in golden_cases().values() for data in cases.values()]
    found += [data for _, data in png_kinds()] + [data for _, data in jpeg_kinds()]
    found += [data for data, _ in bad_images().values()] + list(raw_profiles().values())
    for format_ in ("JPEG", "PNG"):
        found += [oriented(exif, "", format_, photo((9, 8))) for exif in exif_kinds().values()]
        found += [oriented(None, xmp, format_, photo((9, 8))) for xmp in xmp_kinds().values()]
    return [*found, encoded(photo((300, 200)))]


def main(folder: Path) -> None:
    """Write them as numbered files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(seeds()):
        (folder / f"{number:03}").write_bytes(data)
    with tempfile.TemporaryDirectory() as temporary:
        artifact = write_artifact(Path(temporary) / "artifact")
        (folder / "config").write_bytes((artifact / "config.json").read_bytes())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
