"""`python -m onnxzoo` is the command `onnxzoo`."""

from .cli import main

main(prog_name="onnxzoo")
