"""The C++ client (clients/cpp), built with sanitizers, and its answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from onnxzoo.results import Array

SOURCE = Path(__file__).parents[1] / "clients" / "cpp"
HEADERS = {
    "libjpeg": "#include <cstdio>\n#include <jpeglib.h>",
    "libpng": "#include <png.h>",
    "zlib": "#include <zlib.h>",
}
# OpenVINO keeps memory until the process ends, and its TBB otherwise loads libraries in a way that ASan refuses. No
# image of the tests needs more memory than this at once: a larger request would come from damaged data.
ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=0:max_allocation_size_mb=300",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TBB_ENABLE_SANITIZERS": "1",
}


@dataclass(frozen=True)
class CppClient:
    """Programs with AddressSanitizer and UndefinedBehaviorSanitizer: a finding ends them with a report on stderr.

    `pixels` preprocesses images without an engine (clients/cpp/tests/zoo_pixels.cpp), `predict` is the command.
    `engines`: those that were built in; ONNX Runtime where the variable ONNXRUNTIME_ROOT names a folder with
    its include/ and lib/, because its Python package has no headers.
    """

    compiler: str
    cmake: str
    build: Path
    engines: tuple[str, ...]

    def run(self, program: str, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `pixels` or `predict`; a report of a sanitizer fails the test."""
        done = subprocess.run(
            [self.build / f"zoo-{program}", *map(os.fspath, arguments)],
            capture_output=True,
            encoding="utf-8",
            errors="surrogateescape",
            env={**os.environ, **ENVIRONMENT, **variables},
            timeout=600,
            check=False,
        )
        assert "Sanitizer" not in done.stderr, done.stderr
        assert "runtime error" not in done.stderr, done.stderr
        assert done.returncode in (0, 1, 2, 3), f"exit code {done.returncode}: {done.stderr}"
        return done

    def tensors(self, artifact: Path, images: list[Path]) -> list[Array | str]:
        """What `preprocess` makes of images, flat float32; for an image that is refused, the message."""
        lines = self.run("pixels", artifact, *images).stdout.splitlines()
        assert len(lines) == len(images)
        return [
            line.removeprefix("error: ")
            if line.startswith("error: ")
            else np.frombuffer(bytes.fromhex(line), np.float32)
            for line in lines
        ]


def build_client(build: Path) -> CppClient:
    """Build it in an empty folder, which takes 20 s of a core; skips the test, saying why, without the tools for it."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    cmake = shutil.which("cmake")
    if sys.platform == "win32":
        pytest.skip("the C++ client is for POSIX systems")
    if compiler is None:
        pytest.skip("no C++ compiler: apt-get install g++")
    if cmake is None:
        pytest.skip("no cmake: apt-get install cmake")
    probe = [compiler, "-x", "c++", "-fsyntax-only", "-"]
    for library, code in HEADERS.items():
        if subprocess.run(probe, input=code, text=True, capture_output=True, check=False).returncode:
            pytest.skip(f"no headers of {library}: apt-get install libjpeg-dev libpng-dev zlib1g-dev")
    openvino = pytest.importorskip("openvino.utils", reason="no OpenVINO")
    configure = [
        *("-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1 -g0", f"-DCMAKE_CXX_COMPILER={compiler}"),
        *("-DONNXZOO_SANITIZE=address,undefined", "-DONNXZOO_TESTS=ON", f"-DOpenVINO_DIR={openvino.get_cmake_path()}"),
    ]
    engines = ("openvino",)
    if root := os.environ.get("ONNXRUNTIME_ROOT"):
        configure.append(f"-DONNXRUNTIME_ROOT={root}")
        engines += ("onnxruntime",)
    for command in ([cmake, "-S", SOURCE, "-B", build, *configure], [cmake, "--build", build, "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return CppClient(compiler, cmake, build, engines)
