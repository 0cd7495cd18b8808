"""huggingface_hub's own telemetry stays off."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = "import onnxzoo.hub.client; from huggingface_hub import constants; print(constants.HF_HUB_DISABLE_TELEMETRY)"


@pytest.mark.slow
@pytest.mark.parametrize(("given", "off"), [(None, "True"), ("0", "False")])
def test_telemetry_is_off_unless_the_user_says_otherwise(given: str | None, off: str) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_DISABLE_TELEMETRY"}
    if given is not None:
        environment["HF_HUB_DISABLE_TELEMETRY"] = given
    command = [sys.executable, "-P", "-c", CODE]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip() == off
