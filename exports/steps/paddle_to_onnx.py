"""Step: converts the static Paddle program to ONNX by paddle2onnx.

python -m onnxzoo.exports.steps.paddle_to_onnx PROGRAM.json PROGRAM.pdiparams OUT.onnx
"""

from __future__ import annotations

import sys

import paddle2onnx

from ...signals import end_with_parent
from . import OPSET


def main(program: str, parameters: str, out: str) -> None:
    """Convert with the operator set of all exports."""
    # The default optimize_tool, polygraphy, installs packages by pip at run time.
    paddle2onnx.export(program, parameters, out, opset_version=OPSET, optimize_tool=None, verbose=True)


if __name__ == "__main__":
    end_with_parent()
    main(*sys.argv[1:])
