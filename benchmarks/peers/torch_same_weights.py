"""transformers' implementation in PyTorch with the benchmark's own weights, as a contender or as an ONNX file.

    python torch_same_weights.py serve NAME SEED IMAGE.npy OUT.npy THREADS      eager mode, see serve.py
    python torch_same_weights.py export NAME SEED OUT.onnx                      by PyTorch's exporter

Names and weights come from tests/oracle/record.py, so that the outputs can be compared with the reference. Needs
torch, transformers and an importable onnxzoo (PYTHONPATH); the export also whatever PyTorch's exporter asks for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from serve import serve

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "oracle"))
import record

from onnxzoo.registry import find


class Logits(torch.nn.Module):
    """The model with a tensor, not a dictionary, as its output."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> Any:
        """Image float32 [N, 3, S, S] -> logits [N, classes]."""
        return self.model(image).logits


def build(name: str, seed: int) -> torch.nn.Module:
    """The registry's model with seeded weights, equal to the Paddle reference's."""
    record.halve_swinv2_masks()
    model = record.build(find(name))
    record.set_seeded_weights(model, seed)
    return Logits(model).eval()


def main(action: str, name: str, seed: str, *rest: str) -> None:
    """Serve or export."""
    if action == "export":
        size = find(name).image_size
        model = build(name, int(seed))
        axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
        with torch.no_grad():
            torch.onnx.export(
                model, (torch.zeros(1, 3, size, size),), rest[0], input_names=["image"], output_names=["logits"],
                dynamic_axes=axes, opset_version=17, dynamo=False,
            )  # fmt: skip
        return
    image, out, threads = rest

    def load() -> Callable[[], Any]:
        torch.set_num_threads(int(threads))
        model = build(name, int(seed))
        batch = torch.from_numpy(np.load(image))

        def infer() -> Any:
            with torch.inference_mode():
                return model(batch).numpy()

        return infer

    serve(load, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
