"""Export forms: the reference models rearranged so that their graphs come out compact, with the same numbers.

`export_form` derives one from a reference model and its weights. The textbook model stays the truth: tests show
form = textbook in Paddle, and `onnxzoo validate` compares the ONNX file with the textbook model again.
"""

from __future__ import annotations

from typing import Any


def export_form(model: Any) -> Any:
    """The export form of a reference model: a layer image float32 [N, 3, S, S] -> (logits, embedding).

    Raises TypeError for a model that has none.
    """
    from ...reference.pvt_v2 import PyramidVisionTransformerV2
    from ...reference.swinv2 import SwinTransformerV2
    from .pvt_v2 import PvtV2Form
    from .swinv2 import WindowOrderSwinV2

    if isinstance(model, SwinTransformerV2):
        return WindowOrderSwinV2(model)
    if isinstance(model, PyramidVisionTransformerV2):
        return PvtV2Form(model)
    raise TypeError(f"there is no export form of {type(model).__name__}")
