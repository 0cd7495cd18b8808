"""Step 3: the graph simplified by onnxsim.

python -m onnxzoo.exports.steps.simplify IN.onnx OUT.onnx
"""

from __future__ import annotations

import sys

import onnx
import onnxsim

# It would turn every linear layer over tokens into Reshape + Gemm + Reshape: more nodes, and OpenVINO
# then cannot compile the quantised model.
SKIPPED_OPTIMIZERS = ["fuse_matmul_add_bias_into_gemm", "fuse_matmul_add_bias_into_gemm_batched"]


def main(source: str, target: str) -> None:
    """Fold constants and shapes, fuse and drop what is not needed.

    onnxsim's own comparison is left out: it would compare the graph with the graph. Whether the numbers are
    the reference's is for `onnxzoo validate` to say.
    """
    model, _ = onnxsim.simplify(onnx.load(source), skipped_optimizers=SKIPPED_OPTIMIZERS)
    onnx.save(model, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
