"""Runs timm's implementation with a safetensors file in timm's layout, eager on the processor, image by image.

    python timm_official.py TIMM_NAME WEIGHTS.safetensors IMAGES.npy OUT.npz

Writes logits and the features before the head, float32. The weights must fit timm's model exactly. Needs torch and
timm.
"""

from __future__ import annotations

import sys

import numpy as np
import timm
import torch


def main(name: str, weights: str, images: str, out: str) -> None:
    """Load, run, write."""
    model = timm.create_model(name, pretrained=False, checkpoint_path=weights).eval()
    logits, embeddings = [], []
    with torch.inference_mode():
        for image in torch.from_numpy(np.load(images)):
            features = model.forward_features(image[None])
            logits.append(model.forward_head(features).numpy())
            embeddings.append(model.forward_head(features, pre_logits=True).numpy())
    np.savez(out, logits=np.concatenate(logits), embedding=np.concatenate(embeddings))


if __name__ == "__main__":
    main(*sys.argv[1:])
