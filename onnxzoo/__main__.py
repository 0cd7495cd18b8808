"""`python -m onnxzoo` is the command `onnxzoo`."""

import importlib.util
import sys

if importlib.util.find_spec("onnxzoo.validators") is None:
    # In a checkout, the folder onnxzoo/ lacks the subpackages that are installed from the folders next to it.
    sys.exit(
        "onnxzoo: error: this is the source folder onnxzoo/ and not the installed package, because python -m looks in "
        "the working directory first; run 'make install', then .venv/bin/onnxzoo, or 'make dev', after which this "
        "works, or 'python -P -m onnxzoo' where onnxzoo is installed"
    )

from .cli import main

main(prog_name="onnxzoo")
