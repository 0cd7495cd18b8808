"""WebGPU in a real Chromium, which computes in software: the site does not use that, and the library believes it only
with the recorded outputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from client_images import PHOTOS
from tiny import SIZE, tiny_logits, tiny_outputs, write_artifact
from web_browser import SOFTWARE_GPU, Browser, Page, address, open_browser, served
from web_client import WebClient

from onnxzoo.artifact.folder import read_artifact
from onnxzoo.files import sha256_of
from onnxzoo.image import preprocess_batch

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gpu_browser() -> Iterator[Browser]:
    found = open_browser(*SOFTWARE_GPU)
    try:
        with served(Path(__file__).parent) as server:
            page = Page(found, address(server))
            if page.run("return page.evaluate(async () => !(await navigator.gpu?.requestAdapter()))"):
                pytest.skip("this Chromium has no WebGPU in software")
            page.close()
        yield found
    finally:
        found.close()


def site_with_library(site: Path, web: WebClient, folder: Path, offset: float = 0.0) -> Path:
    """A site with the library and the tiny model; `offset` is added to a recorded logit."""
    shutil.copytree(site / "runtime", folder / "site" / "runtime")
    shutil.copytree(web.folder, folder / "site" / "module")
    (folder / "site" / "site.json").write_text("{}")
    images = np.random.default_rng(0).standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    outputs = tiny_outputs(images)
    outputs["logits"][1, 2] += offset
    artifact = write_artifact(folder / "site" / "tiny")
    np.savez_compressed(artifact / "conformance.npz", names=np.array(["a", "b"]), pixel_values=images, **outputs)
    config = json.loads((artifact / "config.json").read_text())
    vectors = artifact / "conformance.npz"
    config["files"][vectors.name] = {"sha256": sha256_of(vectors), "bytes": vectors.stat().st_size}
    (artifact / "config.json").write_text(json.dumps(config))
    return folder / "site"


def test_a_gpu_in_software_is_not_used(site: Path, gpu_browser: Browser) -> None:
    with served(site) as server:
        page = Page(gpu_browser, address(server))
        assert page.ready() == ""
        assert "WebAssembly" in page.text("engine")
        assert isinstance(page.classified(PHOTOS[0]), dict)
        assert not [path for path in server.asked if "asyncify" in path]
        page.close()


def answered(site: Path, browser: Browser, images: Sequence[Path]) -> dict[str, Any]:
    with served(site) as server:
        page = Page(browser, f"{address(server)}site.json")
        found = page.library("/tiny", images)
        page.close()
    return found


def test_its_answers_are_pythons(site: Path, web: WebClient, gpu_browser: Browser, tmp_path: Path) -> None:
    place = site_with_library(site, web, tmp_path)
    found = answered(place, gpu_browser, PHOTOS[:3])
    assert (found["provider"], found["refusal"]) == ("webgpu", None)
    expected = tiny_logits(preprocess_batch(PHOTOS[:3], read_artifact(place / "tiny").preprocess))
    np.testing.assert_allclose([one["logits"] for one in found["answers"]], expected, rtol=1e-4, atol=1e-4)


def test_other_answers_than_the_recorded_ones_are_not_believed(
    site: Path, web: WebClient, gpu_browser: Browser, tmp_path: Path
) -> None:
    """A record with another value stands for a GPU that computes another value."""
    found = answered(site_with_library(site, web, tmp_path, 0.01), gpu_browser, PHOTOS[:1])
    assert found["provider"] == "wasm"
    assert found["refusal"].startswith("webgpu gives wrong results here: logits differ by up to 0.0100")
