"""The site that `onnxzoo web` writes and its service worker, in a real Chromium: threads, offline, new versions."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from client_images import PHOTOS
from tiny import write_artifact
from web_browser import Page, Server, address, served
from web_client import SOURCE

from onnxzoo.deploy.chosen import choose
from onnxzoo.deploy.web import write_site
from onnxzoo.deploy.web_runtime import runtime_files
from onnxzoo.hub import shipped_models

pytestmark = pytest.mark.slow

Visit = Callable[..., Page]
CAT = next(path for path in PHOTOS if path.name == "chelsea.jpg")
ISOLATION = {"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp"}


def test_webassembly_runs_with_threads(server: Server, visit: Visit) -> None:
    """On a server without the headers that threads need, from the first visit on."""
    page = visit(address(server))
    page.ready()
    cores = page.run("return page.evaluate(() => navigator.hardwareConcurrency)")
    assert page.run("return page.evaluate(() => crossOriginIsolated)") is True
    assert f"WebAssembly, {min(4, cores)} thread" in page.text("engine")


def test_nothing_is_asked_of_another_machine(server: Server, visit: Visit) -> None:
    page = visit(address(server))
    page.ready()
    assert isinstance(page.classified(CAT), dict)
    asked = page.run("return requests")
    assert len(asked) > 10
    assert any(url.endswith(".wasm") for url in asked)  # of the worker, too
    assert {url for url in asked if not url.startswith((address(server), "data:", "blob:"))} == set()
    # Such a request would be seen, also of a worker.
    page.run(
        """
        const script = "fetch('https://example.org/').catch(() => postMessage(0))";
        await page.evaluate((code) => new Promise((resolve) => {
          fetch("https://example.com/").catch(() => undefined);
          const url = URL.createObjectURL(new Blob([code]));
          try { new Worker(url).onmessage = resolve; } catch { resolve(); }
          setTimeout(resolve, 300);
        }), script);
        """
    )
    assert "https://example.com/" in page.run("return requests")


@pytest.mark.parametrize("compress", [False, True])
def test_it_works_offline_after_the_first_time(site: Path, visit: Visit, compress: bool) -> None:
    """Also in a folder of a server."""
    names = [folder.name for folder in shipped_models()]
    with served(site.parent, compress=compress) as server:
        page = visit(f"{address(server)}{site.name}/")
        page.ready()
        first = page.classified(CAT)
        assert isinstance(first, dict)
        page.run("await page.evaluate(() => navigator.serviceWorker.ready)")
        page.wait("caches.open('onnxzoo').then((one) => one.keys()).then((keys) => keys.length >= 10)")
    page.run("await page.reload()")
    assert page.ready() == ""
    again = page.classified(CAT)
    assert isinstance(again, dict)
    assert again["logits"] == first["logits"]
    assert page.run("return page.evaluate(() => crossOriginIsolated)") is True
    # The other model was never loaded.
    page.run("await page.selectOption('#model', given.name)", name=names[1])
    page.wait("text('error')")
    assert "cannot be downloaded" in page.text("error")
    assert page.text("status") == f"{names[1]} is not loaded."


def test_a_new_version_of_the_site_is_used_and_nothing_is_loaded_twice(visit: Visit, tmp_path: Path) -> None:
    site, runtime = tmp_path / "site", runtime_files(SOURCE / "node_modules", webgpu=False)
    first = write_artifact(tmp_path / "first", name="colours")
    labels = {str(number): f"new {number}\u202e" for number in range(4)}
    second = write_artifact(tmp_path / "second", name="colours", changes={"id2label": labels})
    write_site(site, choose([str(first)]), runtime)
    with served(site) as server:
        page = visit(address(server))
        page.ready()
        assert isinstance(page.classified(CAT), dict)
        page.wait("caches.open('onnxzoo').then((one) => one.keys()).then((keys) => keys.length >= 10)")
        write_site(site, choose([str(second)]), runtime)
        server.asked.clear()
        page.run(
            """
            const replaced = page.evaluate(() => new Promise((resolve) => {
              navigator.serviceWorker.addEventListener("controllerchange", () => resolve());
              navigator.serviceWorker.getRegistration().then((one) => one.update());
            }));
            await replaced;
            await page.reload();
            """
        )
        page.ready()
        found = page.classified(CAT)
        assert isinstance(found, dict)
        assert found["top"][0]["label"].startswith("new ")
        assert "\\u202e" in page.text("results")
        assert "\u202e" not in page.text("results")
        assert "/models/colours/config.json" in server.asked
        assert not [path for path in server.asked if path.endswith((".wasm", ".onnx"))]


def test_a_site_that_is_incomplete_says_so(site: Path, visit: Visit, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path / "site", ignore=shutil.ignore_patterns("*.wasm"))
    with served(tmp_path / "site") as server:
        page = visit(address(server))
        page.wait("text('error')")
        assert "ONNX Runtime (wasm) rejects the model" in page.text("error")
        assert page.run("return page.locator('#results').isVisible()") is False


def test_a_server_that_sends_the_headers_itself(site: Path, visit: Visit) -> None:
    """The page is not loaded twice."""
    with served(site, headers=ISOLATION) as server:
        page = visit(address(server))
        assert page.ready() == ""
        assert page.run("return page.evaluate(() => crossOriginIsolated)") is True
        assert server.asked.count("/") == 1


def test_without_a_service_worker_there_is_one_thread(site: Path, visit: Visit) -> None:
    """As on a page that is not served by HTTPS."""
    with served(site) as server:
        page = visit(address(server), serviceWorkers="block")
        assert page.ready() == ""
        assert "WebAssembly, 1 thread." in page.text("engine")
        assert isinstance(page.classified(CAT), dict)


def test_a_large_model_is_downloaded_with_the_first_photo(site: Path, visit: Visit, tmp_path: Path) -> None:
    shutil.copytree(site, tmp_path / "site")
    described = json.loads((site / "site.json").read_text())
    described["models"][0]["bytes"] = 10**9
    (tmp_path / "site" / "site.json").write_text(json.dumps(described))
    with served(tmp_path / "site") as server:
        page = visit(address(server), serviceWorkers="block")
        page.wait("text('status')")
        name = described["models"][0]["name"]
        assert page.text("status") == f"{name} will be downloaded with the first photo: 1000.0 MB."
        assert not [path for path in server.asked if "/models/" in path]
        assert isinstance(page.classified(CAT), dict)
