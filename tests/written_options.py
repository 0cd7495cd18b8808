"""All options that our engines can write for NVIDIA's providers, gathered by running them on the stand-in."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from fake_onnxruntime import CUDA, RTX, TENSORRT, FakeOnnxRuntime

from onnxzoo.engines import create_engine
from onnxzoo.engines.options import EngineOptions
from onnxzoo.engines.protocol import ModelFile, ModelFiles

ENGINES = {CUDA: "cuda", TENSORRT: "tensorrt", RTX: "tensorrt-rtx"}
PRECISIONS = {
    CUDA: ("fp32", "auto", "fp16"),
    TENSORRT: ("fp32", "auto", "fp16", "bf16", "int8"),
    RTX: ("fp32", "auto", "fp16"),
}


def written_options(
    ort: FakeOnnxRuntime, model: Path, blocked: Path, patch: pytest.MonkeyPatch
) -> Iterator[tuple[str, dict[str, str]]]:
    """(provider, options) of every session that engine, device, precision, files, batch size and cache lead to, once.

    `blocked`: a file, where no cache folder can be made.
    """
    seen = set()
    for provider, name in ENGINES.items():
        for device, precision, there, batch, cached in product(
            (0, 1), PRECISIONS[provider], (("fp32",), ("fp32", "fp16", "int8")), (1, 8), (True, False)
        ):
            if precision not in ("auto", "bf16", *there):
                continue
            with patch.context() as context:
                if not cached:
                    context.setenv("ONNXZOO_CACHE", str(blocked))
                files = ModelFiles(there, lambda each: ModelFile(model, precision=each))
                options = EngineOptions(precision=precision, batch_size=batch)
                before = len(ort.sessions)
                for _ in range(2):  # once built, once found
                    create_engine(f"{name}:{device}", files, options).close()
                for session in ort.sessions[before:]:
                    for taken, settings in session.wanted.items():
                        # Folders are another one each time.
                        text = str([taken, *sorted((k, v if "path" not in k else "") for k, v in settings.items())])
                        if taken in ENGINES and text not in seen:
                            seen.add(text)
                            yield taken, settings
