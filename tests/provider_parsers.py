"""The parsers of ONNX Runtime's NVIDIA providers, from what was recorded of the real ones: as strict, in their words.

`data/provider_options.json` says what each option takes and which version it was read from; `test_gpu_wheels.py`
compares it with the installed packages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "provider_options.json").read_text())
OPTIONS: dict[str, dict[str, str | list[str]]] = RECORDED["options"]
TENSORRT = "TensorrtExecutionProvider"


def accepts(takes: str | list[str], value: str) -> bool:
    """Whether an option that takes this takes the value: one of a list, a number, or a text that is not empty."""
    if isinstance(takes, list):
        return value in takes
    return value.isdecimal() if takes == "number" else bool(value)


def parse(provider: str, settings: Mapping[str, str]) -> None:
    """Read the options of a provider that was recorded; raises RuntimeError as the binding does."""
    for name, value in settings.items():
        assert isinstance(value, str), f"the real one takes only texts, not {value!r}"
        takes = OPTIONS[provider].get(name)
        if takes is None:
            message = (
                f"Invalid TensorRT EP option: {name}"
                if provider == TENSORRT
                else f'Parse Unknown provider option: "{name}".'
            )
            raise RuntimeError(
                f"/onnxruntime_src/onnxruntime/some/file.cc:1220 Some::Signature(const char*) {message}\n"
            )
        if not accepts(takes, value):
            raise RuntimeError(
                f"[ERROR] [TensorRT] The value for the key '{name}' should be 'True' or 'False'.\n"
                if provider == TENSORRT
                else f'Parse Failed to parse provider option "{name}": Failed to parse value: "{value}"\n'
            )
