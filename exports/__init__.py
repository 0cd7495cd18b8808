"""Exports a checkpoint to an artifact: Paddle model -> static program -> ONNX -> simplified -> folder.

`export_model` in `pipeline` runs all steps; every step that calls a third-party converter runs in its own process
(`steps/`). Needs the extra `export`.
"""
