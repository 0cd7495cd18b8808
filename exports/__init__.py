"""From a checkpoint to an artifact: Paddle model -> static program -> ONNX -> simplified -> folder.

`export_model` in `pipeline` runs the whole way; every step that calls a foreign converter runs in a
process of its own (`steps/`). Needs the extra `export`.
"""
