"""Paddle Inference on an exported static program, as a contender (see `job`).

    paddle_predictor JOB.json OUT.npy THREADS

The job also has `family`, `program` and `parameters`. The options are those of PaddleClas's own predictor on a CPU
(deploy/utils/predictor.py), without enable_memory_optim(), which Paddle 3.3 rejects for its `.json` programs; oneDNN is
on, Paddle's default.
"""

from __future__ import annotations

import sys
from typing import Any

from .conformance import Run
from .job import read_job, serve_job


def create_predictor(family: str, program: str, parameters: str, threads: int) -> Any:
    """Paddle Inference's predictor for the program, with PaddleClas's options for a CPU."""
    from paddle import inference

    config = inference.Config(program, parameters)
    config.disable_gpu()
    config.disable_glog_info()
    config.set_cpu_math_library_num_threads(threads)
    config.switch_ir_optim(True)
    if family == "swinv2":
        # Paddle 3.3.1 infers wrong shapes with it: "input's second dimension and weight's first dimension ...".
        config.delete_pass("matmul_add_act_fuse_pass")
    return inference.create_predictor(config)


def infer(predictor: Any, image: Any) -> Any:
    """Image float32 [N, 3, S, S] -> the program's first output."""
    predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(image)
    predictor.run()
    return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


def main(job_file: str, out: str, threads: str) -> None:
    """Load and serve."""
    job = read_job(job_file)

    def create() -> Run:
        predictor = create_predictor(job["family"], job["program"], job["parameters"], int(threads))
        return lambda images: {"logits": infer(predictor, images)}

    def describe() -> dict[str, Any]:
        import paddle

        return {"info": {"name": "paddle", "device": "CPU", "precision": "fp32", "version": paddle.__version__}}

    serve_job(job, out, create, describe)


if __name__ == "__main__":
    main(*sys.argv[1:])
