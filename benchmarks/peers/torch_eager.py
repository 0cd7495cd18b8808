"""Classifies one image in PyTorch eager mode, with transformers' implementation of the same architecture.

    python torch_eager.py prepare SPEC.json FOLDER      write a checkpoint with random weights
    python torch_eager.py run SPEC.json FOLDER IMAGE    load it, classify, print the five best class ids as JSON

Needs torch, transformers and pillow, but not onnxzoo.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "onnxzoo" / "bench" / "children"))
from pillow_preprocess import preprocess


def main(action: str, spec_file: str, folder: str, *images: str) -> None:
    """Prepare a checkpoint, or run it once."""
    spec = json.loads(Path(spec_file).read_text(encoding="utf-8"))
    if action == "prepare":
        torch.manual_seed(0)
        config_class, model_class = implementation(spec["family"])
        model_class(config_class(**configuration(spec))).eval().save_pretrained(folder)
        return
    torch.set_num_threads(spec["threads"])
    _, model_class = implementation(spec["family"])
    model = model_class.from_pretrained(folder).eval()
    with torch.inference_mode():
        logits = model(torch.from_numpy(preprocess(images[0], spec["preprocess"]))).logits
    print(json.dumps(logits[0].topk(5).indices.tolist()))


def implementation(family: str) -> tuple[Any, Any]:
    """The configuration and model classes; as in an application, only the family's own are imported."""
    if family == "swinv2":
        from transformers import Swinv2Config, Swinv2ForImageClassification

        return Swinv2Config, Swinv2ForImageClassification
    from transformers import PvtV2Config, PvtV2ForImageClassification

    return PvtV2Config, PvtV2ForImageClassification


def configuration(spec: dict[str, Any]) -> dict[str, Any]:
    """The registry's architecture under transformers' names."""
    of = spec["architecture"]
    common = {"image_size": spec["image_size"], "num_labels": spec["num_classes"], "depths": of["depths"]}
    if spec["family"] == "swinv2":
        names = ("patch_size", "embed_dim", "num_heads", "window_size", "pretrained_window_sizes", "mlp_ratio")
        return {**common, **{name: of[name] for name in names}, "layer_norm_eps": 1e-5}
    return {
        **common,
        "hidden_sizes": of["embed_dims"],
        "num_attention_heads": of["num_heads"],
        "sr_ratios": of["sr_ratios"],
        "mlp_ratios": of["mlp_ratios"],
        "linear_attention": of["linear"],
        "layer_norm_eps": 1e-6,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
