"""JPEGs like those of ImageNet, 500 x 375 pixels in quality 90: crops of the photos that the package has.

python stream_photos.py FOLDER COUNT
"""

from __future__ import annotations

import io
import random
import sys
from pathlib import Path

from PIL import Image

from onnxzoo.data.photos import PHOTOS, photo

SIZE = (500, 375)
QUALITY = 90


def write_photos(folder: Path, count: int) -> None:
    """Write `count` different photos, the same every time."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = random.Random(0)  # noqa: S311 - not for secrets
    pictures = [Image.open(io.BytesIO(photo(name))).convert("RGB") for name in PHOTOS]
    for number in range(count):
        picture = pictures[number % len(pictures)]
        # At least half the picture, in the proportions of the result; scaled up where the picture is small.
        share = chosen.uniform(0.5, 1.0)
        scale = share * min(picture.width / SIZE[0], picture.height / SIZE[1])
        width, height = SIZE[0] * scale, SIZE[1] * scale
        left, top = chosen.uniform(0, picture.width - width), chosen.uniform(0, picture.height - height)
        crop = picture.resize(SIZE, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        crop.save(folder / f"{number:06}.jpg", quality=QUALITY)


if __name__ == "__main__":
    write_photos(Path(sys.argv[1]), int(sys.argv[2]))
