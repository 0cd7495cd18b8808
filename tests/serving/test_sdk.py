"""KServe's SDK: what it cannot do yet, and that importing it disturbs nothing."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from oip import binary_images, binary_pixels

from onnxzoo.serving.rest_request import RestInferRequest
from onnxzoo.serving.sdk import InferRequest

NEEDLESS = "KServe's SDK keeps binary data of REST requests as it came: RestInferRequest need not override from_bytes"


def test_the_sdk_still_turns_binary_tensors_into_lists(tensors):
    body, length = binary_pixels(tensors)
    assert isinstance(InferRequest.from_bytes(body, length, "tiny").inputs[0].data, list), NEEDLESS
    ours = RestInferRequest.from_bytes(body, length, "tiny").inputs[0]
    assert not ours.data
    assert np.array_equal(ours.as_numpy(), tensors)


def test_the_sdk_still_fails_for_image_bytes(jpegs):
    body, length = binary_images(jpegs["red"])
    with pytest.raises(Exception, match="UTF-8"):  # it would not raise if the override were needless
        InferRequest.from_bytes(body, length, "tiny")
    assert RestInferRequest.from_bytes(body, length, "tiny").inputs[0].as_numpy().tolist() == [jpegs["red"]]


@pytest.mark.parametrize("first", ["tritonclient.grpc", "onnxzoo.serving.sdk"])
def test_it_is_imported_beside_tritons_client_and_reads_no_arguments(first):
    # kserve would exit for an argument that its own parser does not take.
    code = f"import {first}, onnxzoo.serving.sdk, tritonclient.grpc, sys; print(sys.argv)"
    command = [sys.executable, "-P", "-c", code, "--workers", "many"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["['-c',", "'--workers',", "'many']"], done.stderr


def test_without_the_sdk_the_command_says_how_to_get_it(tiny):
    code = "import sys; sys.modules['kserve'] = None\nfrom onnxzoo.cli import main; main(['serve', sys.argv[1]])"
    command = [sys.executable, "-P", "-c", code, str(tiny)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 3
    assert "pip install 'onnxzoo[serve]'" in done.stderr
    assert done.stderr.count("\n") == 1
