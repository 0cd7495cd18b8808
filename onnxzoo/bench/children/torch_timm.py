"""timm's implementation in PyTorch on the CPU, eager or compiled, as a contender (see `job`).

    torch_timm JOB.json OUT.npy THREADS

The job also has `family`, `architecture`, `image_size` and `num_classes` as config.json has them, `weights` (.npz, in
timm's names and layout) and `compile`. Loading includes the imports; compiling is a part of the first inference.
"""

from __future__ import annotations

import sys
from typing import Any

from .conformance import Run
from .job import read_job, serve_job
from .torch_state import with_weights


def build(job: dict[str, Any]) -> Any:
    """timm's model of this architecture with the job's weights, in eval mode. Raises ValueError if they do not fit."""
    of = job["architecture"]
    shared = {"num_classes": job["num_classes"], **{name: of[name] for name in ("depths", "num_heads")}}
    names: tuple[str, ...]
    if job["family"] == "swinv2":
        from timm.models.swin_transformer_v2 import SwinTransformerV2

        names = ("patch_size", "embed_dim", "window_size", "mlp_ratio", "pretrained_window_sizes")
        model = SwinTransformerV2(img_size=job["image_size"], **shared, **{name: of[name] for name in names})
    else:
        from timm.models.pvt_v2 import PyramidVisionTransformerV2

        names = ("embed_dims", "sr_ratios", "mlp_ratios", "linear")
        model = PyramidVisionTransformerV2(**shared, **{name: of[name] for name in names})
    return with_weights(model, job["weights"], "timm's")


def main(job_file: str, out: str, threads: str) -> None:
    """Load and serve."""
    job = read_job(job_file)
    versions: list[str] = []

    def create() -> Run:
        import timm
        import torch

        versions[:] = [torch.__version__, timm.__version__]
        torch.set_num_threads(int(threads))
        model = build(job)
        if job["compile"]:
            model = torch.compile(model, dynamic=False)

        def run(images: Any) -> dict[str, Any]:
            with torch.inference_mode():
                return {"logits": model(torch.from_numpy(images)).numpy()}

        return run

    def describe() -> dict[str, Any]:
        version = f"{versions[0]}, timm {versions[1]}"
        return {"info": {"name": "torch", "device": "CPU", "precision": "fp32", "version": version}}

    serve_job(job, out, create, describe)


if __name__ == "__main__":
    main(*sys.argv[1:])
