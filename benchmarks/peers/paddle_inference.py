"""One image in PaddleClas's manner: Paddle Inference on the exported static program.

    python paddle_inference.py SPEC.json PROGRAM.json PROGRAM.pdiparams IMAGE

prints the five best class ids as JSON on its last line. The options are those of PaddleClas's own predictor on a
CPU (deploy/utils/predictor.py), without enable_memory_optim(), which Paddle 3.3 rejects for its `.json` programs;
oneDNN is on, Paddle's default. As many threads as the spec says.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from paddle import inference

from onnxzoo.bench.children.pillow_preprocess import preprocess


def create_predictor(family: str, program: str, parameters: str, threads: int) -> Any:
    """Paddle Inference's predictor for the program, with PaddleClas's options for a CPU."""
    config = inference.Config(program, parameters)
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    config.switch_ir_optim(True)
    if family == "swinv2":
        # Paddle 3.3.1 infers wrong shapes with it: "input's second dimension and weight's first dimension ...".
        config.delete_pass("matmul_add_act_fuse_pass")
    return inference.create_predictor(config)


def infer(predictor: Any, image: np.ndarray) -> np.ndarray:
    """Image float32 [N, 3, S, S] -> the program's first output."""
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    logits: np.ndarray = predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
    return logits


def main(spec_file: str, program: str, parameters: str, image: str) -> None:
    """Load, run once, print."""
    spec = json.loads(Path(spec_file).read_text(encoding="utf-8"))
    predictor = create_predictor(spec["family"], program, parameters, spec["threads"])
    logits = infer(predictor, preprocess(image, spec["preprocess"]))
    print(json.dumps(np.argsort(-logits[0])[:5].tolist()))


if __name__ == "__main__":
    main(*sys.argv[1:])
