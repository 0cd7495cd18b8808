"""Classify photos with a server, over HTTP: python http_client.py http://127.0.0.1:8080 MODEL PHOTO...

Start one with `onnxzoo serve MODEL`; needs `pip install 'tritonclient[http]'`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import tritonclient.http as triton


def main(url: str, model: str, photos: list[str]) -> None:
    where = urlsplit(url)
    with triton.InferenceServerClient(where.netloc, ssl=where.scheme == "https") as client:
        images = triton.InferInput("image_bytes", [len(photos)], "BYTES")
        images.set_data_from_numpy(np.array([Path(photo).read_bytes() for photo in photos], dtype=object))
        answer = client.infer(model, [images], parameters={"top_k": 1})
    for photo, label, score in zip(photos, answer.as_numpy("label"), answer.as_numpy("score"), strict=True):
        print(f"{photo}: {label[0].decode()} {score[0]:.4f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
