"""PaddleClas image classifiers as ONNX models that run anywhere."""
