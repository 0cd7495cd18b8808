"""The graphs and programs that graphs.py compares, ours and the peers', and the outputs that all must reproduce."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxzoo.bench.timing import Contender

HERE = Path(__file__).resolve().parent
PEERS = HERE / "peers"
SEED = 1  # of prepare_model.py
OURS, BASELINE, TORCH_EXPORT = "onnxzoo", "paddle2onnx + onnxsim", "torch.onnx + onnxsim"
TORCH, PADDLE = "PyTorch eager", "Paddle Inference"
ENGINES = ("onnxruntime", "openvino", "openvino-static")


@dataclass(frozen=True)
class Built:
    """The files of one model in a folder: ONNX files by graph name, and the reference's image and logits."""

    folder: Path
    graphs: dict[str, Path]
    image: Path
    logits: Path
    skipped: dict[str, str]


def command(arguments: Sequence[str | Path], environment: dict[str, str] | None = None) -> str:
    """Run a command to its end; raises SystemExit with the end of its output if it fails."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(
            f"exit code {done.returncode} from: {' '.join(map(str, arguments))}\n{done.stderr.strip()[-2000:]}"
        )
    return done.stdout


def build(
    model: str, folder: Path, torch_python: str | None, environment: dict[str, str], torch_environment: dict[str, str]
) -> Built:
    """Make seeded weights, the reference's outputs, our artifact and the peers' files of one model."""
    command([sys.executable, HERE / "prepare_model.py", model, folder], environment)
    image, logits = folder / "image.npy", folder / "logits.npy"
    command([sys.executable, PEERS / "reference_logits.py", model, str(SEED), image, logits], environment)
    artifact, program = folder / "artifact", folder / "paddle" / "inference"
    weights = folder / "weights.pdparams"
    export: list[str | Path] = ["export", model, "--weights", weights, "--out", artifact]
    command([sys.executable, "-P", "-m", "onnxzoo", *export], environment)
    baseline = folder / "paddle2onnx.onnx"
    files = [f"{program}.json", f"{program}.pdiparams"]
    command([sys.executable, "-P", "-m", "onnxzoo.bench.children.paddle2onnx_defaults", *files, baseline], environment)
    graphs, skipped = {OURS: artifact / "onnx" / "model.onnx", BASELINE: baseline}, {}
    if torch_python is not None:
        exported = folder / "torch.onnx"
        torch: list[str | Path] = [torch_python, PEERS / "torch_same_weights.py", "export", model, str(SEED), exported]
        try:
            command(torch, torch_environment)
            command([sys.executable, PEERS / "onnxsim_defaults.py", exported], environment)
            graphs[TORCH_EXPORT] = exported
        except SystemExit as error:
            skipped[TORCH_EXPORT] = str(error).splitlines()[-1]
    return Built(folder, graphs, image, logits, skipped)


def contenders(model: str, built: Built, torch_python: str | None, environment: dict[str, str]) -> list[Contender]:
    """Every graph in every engine, then the peers that do not use ONNX."""
    found = [
        Contender(graph, engine, [sys.executable, str(PEERS / "graph_engines.py"), engine, str(file), str(built.image)])
        for engine in ENGINES
        for graph, file in built.graphs.items()
    ]
    family = json.loads((built.folder / "spec.json").read_text(encoding="utf-8"))["family"]
    program = str(built.folder / "paddle" / "inference")
    arguments = [family, f"{program}.json", f"{program}.pdiparams", str(built.image)]
    found.append(Contender(PADDLE, "", [sys.executable, str(PEERS / "paddle_serve.py"), *arguments]))
    if torch_python is not None:
        arguments = ["serve", model, str(SEED), str(built.image)]
        found.append(
            Contender(TORCH, "", [torch_python, str(PEERS / "torch_same_weights.py"), *arguments], environment)
        )
    return found
