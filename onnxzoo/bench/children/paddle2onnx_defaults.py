"""The graph that somebody gets who does the obvious: paddle2onnx, then onnxsim, both with their defaults.

    python -m onnxzoo.bench.children.paddle2onnx_defaults PROGRAM.json PROGRAM.pdiparams OUT.onnx

Two departures, one in the peers' favour, one beside the point. Operator set 17: the default, 7, becomes 11, which takes
LayerNormalization apart (PVT_V2_B0: 856 nodes, not 621). No optimize_tool: the default, polygraphy, installs packages
while it runs.
"""

from __future__ import annotations

import sys


def main(program: str, parameters: str, out: str) -> None:
    """Convert, simplify, save."""
    import onnx
    import onnxsim
    import paddle2onnx

    paddle2onnx.export(program, parameters, out, opset_version=17, optimize_tool=None)
    model, _ = onnxsim.simplify(onnx.load(out))
    onnx.save(model, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
