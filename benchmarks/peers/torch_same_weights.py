"""Runs or exports transformers' implementation in PyTorch with the benchmark's own weights.

    python torch_same_weights.py serve NAME SEED IMAGE.npy OUT.npy THREADS      eager mode
    python torch_same_weights.py start NAME SEED DEVICE MODE VECTORS.npz BATCH REPORT OUT.npy THREADS
                                                                                as onnxzoo/bench/children say
    python torch_same_weights.py export NAME SEED OUT.onnx                      by PyTorch's exporter

DEVICE is `cpu` or `cuda`; MODE is `eager`, `compile` (torch.compile) or `compile-graphs` (that with CUDA graphs).

Names and weights come from tests/oracle/record.py, so that the outputs can be compared with the reference. Needs
torch, transformers and an importable onnxzoo (PYTHONPATH); the export also needs the packages of PyTorch's exporter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "oracle"))
import record

from onnxzoo.bench.children.conformance import INPUT_NAME, Outputs, start
from onnxzoo.bench.children.serve import serve
from onnxzoo.registry import find

# Modes of torch.compile; shapes are fixed in all of them.
MODES = {"compile": "default", "compile-graphs": "reduce-overhead"}


class Logits(torch.nn.Module):
    """The model with a tensor instead of a dictionary as its output."""

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


def runner(model: torch.nn.Module, device: str, mode: str) -> Callable[[np.ndarray], np.ndarray]:
    """A function from images to logits in host memory, with the model on a device, eager or compiled; exact fp32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model = model.to(device)
    if mode != "eager":
        model = torch.compile(model, dynamic=False, mode=MODES[mode])

    def run(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(torch.from_numpy(images).to(device)).cpu().numpy()

    return run


def describe(device: str, mode: str) -> dict[str, Any]:
    """The description of the engine, with the fields of onnxzoo's EngineInfo."""
    gpu = device.startswith("cuda")
    name = f"{device} {torch.cuda.get_device_name(device)}" if gpu else device
    info = {"name": "torch", "device": name, "precision": "fp32", "version": torch.__version__, "nodes": {}}
    return {"info": info, "max_batch": None, "kept": None if mode == "eager" else {}}


def export(name: str, seed: int, file: str) -> None:
    """Write the ONNX file of PyTorch's TorchScript exporter."""
    size = find(name).image_size
    with torch.no_grad():
        torch.onnx.export(
            build(name, seed),
            (torch.zeros(1, 3, size, size),),
            file,
            input_names=[INPUT_NAME],
            output_names=["logits"],
            dynamic_axes={INPUT_NAME: {0: "batch"}, "logits": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )


def main() -> None:
    """Serve or export."""
    action, name, seed, *rest = sys.argv[1:]
    if action == "export":
        export(name, int(seed), *rest)
        return
    *given, out, threads = rest

    def load() -> Callable[[], Any]:
        torch.set_num_threads(int(threads))
        model = build(name, int(seed))
        if action == "serve":
            batch, run = np.load(given[0]), runner(model, "cpu", "eager")
            return lambda: run(batch)
        device, mode, vectors, size, report = given

        def create() -> Callable[[np.ndarray], Outputs]:
            run = runner(model, device, mode)
            return lambda images: {"logits": run(images)}

        return start(create, Path(vectors), int(size), Path(report), lambda: describe(device, mode))

    serve(load, out)


if __name__ == "__main__":
    main()
