"""Classify photos with a server, over gRPC: python grpc_client.py 127.0.0.1:8081 MODEL PHOTO...

The photos are preprocessed here, by onnxzoo.image, and sent as one tensor, which also Triton and OpenVINO Model Server
take. Start a server with `onnxzoo serve MODEL`; needs `pip install 'tritonclient[grpc]'`.
"""

from __future__ import annotations

import sys

import numpy as np
import tritonclient.grpc as triton

import onnxzoo
from onnxzoo.image import preprocess_batch


def main(address: str, model: str, photos: list[str]) -> None:
    artifact = onnxzoo.load(model).artifact  # labels and preprocessing; a server of any kind runs the model
    batch = preprocess_batch(photos, artifact.preprocess)
    with triton.InferenceServerClient(address) as client:
        pixels = triton.InferInput("pixel_values", list(batch.shape), "FP32")
        pixels.set_data_from_numpy(batch)
        logits = client.infer(artifact.name, [pixels]).as_numpy("logits")
    for photo, row in zip(photos, logits, strict=True):
        best = int(row.argmax())
        print(f"{photo}: {artifact.id2label[best]} {np.exp(row - row.max())[best] / np.exp(row - row.max()).sum():.4f}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
