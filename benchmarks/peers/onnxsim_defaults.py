"""Simplifies an ONNX file in place by onnxsim with its defaults.

python onnxsim_defaults.py MODEL.onnx
"""

from __future__ import annotations

import sys

import onnx
import onnxsim

model, _ = onnxsim.simplify(onnx.load(sys.argv[1]))
onnx.save(model, sys.argv[1])
