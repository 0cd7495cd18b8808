"""Export forms: the models rearranged so that their graphs are compact, with the same outputs.

A form is a Paddle layer with the constants that `onnxzoo.families` computes from a checkpoint's weights. The textbook
model remains the reference: tests compare the form with it in Paddle, and `onnxzoo validate` compares the ONNX file
with it again.
"""

from __future__ import annotations

from typing import Any

from ...families import Constants, ModelSpec, family_of


def export_form(spec: ModelSpec, constants: Constants) -> Any:
    """The export form of a model: a layer, float32 [N, 3, S, S] -> (logits, embedding).

    `constants`: those of `onnxzoo.families.constants` for the same `spec`. Raises KeyError for a missing one.
    """
    from .pvt_v2 import PvtV2Form
    from .swinv2 import WindowOrderSwinV2

    forms = {"swinv2": WindowOrderSwinV2, "pvt_v2": PvtV2Form}
    return forms[family_of(spec.architecture).name](spec, constants)
