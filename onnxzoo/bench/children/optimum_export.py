"""The ONNX file that optimum exports of transformers' implementation, with its defaults.

    optimum_export JOB.json

The job has `family`, `architecture`, `image_size` and `num_classes` as config.json has them, `weights` (.npz, in
transformers' names and layout), and `folder`, an empty one: the file is `onnx/model.onnx` in it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from .job import read_job
from .torch_state import with_weights


def build(job: dict[str, Any]) -> Any:
    """transformers' model with the job's weights. Raises ValueError where they do not fit."""
    of = job["architecture"]
    shared = {"image_size": job["image_size"], "num_labels": job["num_classes"], "depths": of["depths"]}
    if job["family"] == "swinv2":
        from transformers import Swinv2Config, Swinv2ForImageClassification

        names = ("patch_size", "embed_dim", "num_heads", "window_size", "pretrained_window_sizes", "mlp_ratio")
        own = {name: of[name] for name in names}
        model = Swinv2ForImageClassification(Swinv2Config(**shared, **own, layer_norm_eps=1e-5))
    else:
        from transformers import PvtV2Config, PvtV2ForImageClassification

        model = PvtV2ForImageClassification(
            PvtV2Config(
                **shared, num_encoder_blocks=len(of["depths"]), hidden_sizes=of["embed_dims"],
                num_attention_heads=of["num_heads"], sr_ratios=of["sr_ratios"], mlp_ratios=of["mlp_ratios"],
                linear_attention=of["linear"], layer_norm_eps=1e-6,
            )
        )  # fmt: skip
    return with_weights(model, job["weights"], "transformers'")


def main(job_file: str) -> None:
    """Build, save, export."""
    from optimum.exporters.onnx import main_export

    job = read_job(job_file)
    folder = Path(job["folder"])
    build(job).save_pretrained(folder / "model")
    main_export(str(folder / "model"), str(folder / "onnx"), task="image-classification", do_validation=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
