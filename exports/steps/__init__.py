"""The steps of an export that run third-party converters, each as `python -m onnxzoo.exports.steps.<name>`."""

OPSET = 17
"""ONNX operator set of every export, the first with LayerNormalization as one operator."""
