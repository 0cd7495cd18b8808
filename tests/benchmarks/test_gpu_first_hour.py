"""The script of the first hour with a GPU, as far as it goes without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onnxzoo.engines import nvidia

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu_first_hour.py"
PAGE = SCRIPT.with_suffix(".md")
sys.path[:0] = [str(SCRIPT.parent)]

import gpu_first_hour


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", str(SCRIPT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=SCRIPT.parent, timeout=300)


@pytest.mark.slow
def test_steps_that_need_no_gpu_run_and_the_others_say_why_not(tmp_path):
    pytest.importorskip("openvino")
    done = run("proof", "threads", "tf32", "build", "--engine", "openvino", "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "gpu_first_hour.json").read_text())
    assert {name: result["outcome"] for name, result in results.items()} == {
        "proof": "ok", "threads": "ok", "tf32": "skipped", "build": "skipped",
    }  # fmt: skip
    assert set(results["proof"]["found"]) == set(gpu_first_hour.MODELS)
    assert results["threads"]["found"]["runs"] == 400
    assert results["tf32"]["found"] == "openvino is no engine of NVIDIA's GPUs"


@pytest.mark.slow
def test_a_step_that_fails_is_written_down_and_the_next_one_runs(tmp_path):
    done = run("proof", "threads", "--engine", "onnxruntime:nonsense", "--out", str(tmp_path))
    assert done.returncode == 1
    results = json.loads((tmp_path / "gpu_first_hour.json").read_text())
    assert [result["outcome"] for result in results.values()] == ["FAILED", "FAILED"]
    assert "is not a provider of ONNX Runtime" in results["proof"]["found"]


@pytest.mark.skipif(nvidia.driver_fault() is None, reason="there is a GPU")
def test_without_a_gpu_it_says_so(tmp_path):
    done = run("--out", str(tmp_path))
    assert (done.returncode, list(tmp_path.iterdir())) == (3, [])
    assert done.stderr.startswith("error: no NVIDIA driver")


def test_an_unknown_step_is_wrong_usage():
    done = run("prove")
    assert done.returncode == 2
    assert "unknown steps: prove; there are proof, tests, tf32" in done.stderr


def test_ten_steps_are_described_in_their_order():
    assert len(gpu_first_hour.STEPS) == 10
    described = [line.split("|")[2].strip(" `") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    assert described[1:] == list(gpu_first_hour.STEPS)


def test_a_wrong_number_is_beyond_the_tolerance():
    images, expected = gpu_first_hour.recorded(gpu_first_hour.MODELS[0])
    assert gpu_first_hour.excess(expected, expected) < 0
    assert gpu_first_hour.excess(expected + 0.01, expected) > 0
    assert len(images) == len(expected)
