"""Step: saves the export form of a model as a static Paddle program.

    python -m onnxzoo.exports.steps.static_program SPEC.json CONSTANTS.npz FOLDER

writes `FOLDER/model.json` and `FOLDER/model.pdiparams`: one input `pixel_values` of float32 [batch, 3, S, S], two
outputs, the logits and the pooled features before the head.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import paddle
from paddle.static import InputSpec

from ...artifact.folder import INPUT_NAME
from ...families import ModelSpec
from ...registry import architecture_from_dict
from ...signals import end_with_parent
from ..forms import export_form


def main(spec_file: Path, constants_file: Path, folder: Path) -> None:
    """Build the export form of SPEC.json with the constants of CONSTANTS.npz and save it."""
    document = json.loads(spec_file.read_text(encoding="utf-8"))
    spec = ModelSpec(
        architecture=architecture_from_dict(document["family"], document["architecture"]),
        image_size=document["image_size"],
        num_classes=document["num_classes"],
    )
    with np.load(constants_file, allow_pickle=False) as constants:
        form = export_form(spec, dict(constants))
    form.eval()
    image = InputSpec([None, 3, spec.image_size, spec.image_size], "float32", INPUT_NAME)
    paddle.jit.save(form, str(folder / "model"), input_spec=[image])


if __name__ == "__main__":
    end_with_parent()
    main(*map(Path, sys.argv[1:]))
