"""The web client in Chromium against Python: answers, differences, times, and what a first visit downloads.

    python benchmarks/web.py [MODEL ...] [--part answers|visits|webgpu ...] [--images N] [--out FILE]

MODEL: by default the two that ship, and pvt_v2_b0 with seeded weights (see seeded_artifact.py), or artifact folders.
Figures are kept in FILE.json beside FILE.md, so that one model or one part can be measured again. Images: N crops of
the package's photos (see stream_photos.py), and the golden images of `onnxzoo validate --preprocess`. Needs Node, the
packages that `make web` installs, Chromium and ONNX Runtime.
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from cold_start import log
from seeded_artifact import assembled
from stream_photos import write_photos

import onnxzoo
from clients import PHOTOS, SHIPPED, written_golden
from onnxzoo.artifact.folder import read_artifact
from onnxzoo.cpu import cpu
from onnxzoo.deploy.chosen import choose
from onnxzoo.deploy.web import write_site
from onnxzoo.deploy.web_runtime import VERSION, runtime_files
from onnxzoo.image import preprocess_batch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from web_browser import SOFTWARE_GPU, Browser, Page, address, open_browser, served  # noqa: E402
from web_client import SOURCE  # noqa: E402

SEEDED = "pvt_v2_b0"
PARTS = ("answers", "visits", "webgpu")
EVERY = 10
"""Of this many images one is also classified with one thread."""
WEBGPU_IMAGES = 2
VISITS = 3
LOG_EVERY = 100

PAGE = """# The web client in Chromium against Python

`python benchmarks/web.py` on {date}: {machine}. The weights of {seeded} are seeded random numbers.

{jpegs} JPEGs of 500 x 375 pixels and {golden} golden images of all kinds, a tenth of them with one thread, {webgpu} of
them with WebGPU. Compared with ONNX Runtime in Python. Times are medians in ms: from the encoded image to the model's
input, and from there to the logits; the machine was busy with other work. There is no GPU here: Chromium computes
WebGPU in software (SwiftShader), which the library was told to use; the site itself does not use it.

| model | engine | same best class | same five in order | largest difference | largest logit | image, ms | model, ms |
|---|---|---|---|---|---|---|---|
{answers}

A visit to a site with one model, the server on the same machine, the fastest of {visits}: megabytes that the first one
downloads, and what a server that compresses would send (gzip); seconds until the model is ready, and until the answer
for a photo that is given then; bytes and seconds of the second visit.

| model | first: MB | compressed, MB | ready, s | answer, s | second: bytes | answer, s |
|---|---|---|---|---|---|---|
{downloads}
"""
TIMED = """
    const start = Date.now();
    const until = async (source) => {
      while (!(await page.evaluate(source).catch(() => false))) await new Promise((resolve) => setTimeout(resolve, 5));
      return Date.now() - start;
    };
    await page.goto(given.url);
    const ready = await until("document.getElementById('status').textContent.includes('is ready')");
    await page.setInputFiles("#file", given.path);
    return [ready, await until("window.answers.length > 0")];
"""


def expected_logits(artifact: Path, images: Sequence[Path]) -> np.ndarray:
    """ONNX Runtime's in Python, one image at a time, as in the browser."""
    spec = read_artifact(artifact).preprocess
    with onnxzoo.load(str(artifact), engine="onnxruntime") as model:
        return np.concatenate([model.logits(preprocess_batch([path], spec)) for path in images])


def compared(engine: str, found: Sequence[dict[str, Any]], expected: np.ndarray) -> dict[str, Any]:
    """The figures of one engine: `best` and `five`: how many of `images` have the same classes, in order."""
    logits = np.array([one["logits"] for one in found], np.float32)
    order = np.argsort(-expected, axis=1, kind="stable")[:, :5].tolist()
    classes = [[one["classId"] for one in answer["top"]] for answer in found]
    return {
        "engine": engine,
        "images": len(found),
        "best": sum(own[0] == theirs[0] for own, theirs in zip(classes, order, strict=True)),
        "five": sum(own == theirs for own, theirs in zip(classes, order, strict=True)),
        "difference": float(np.abs(logits - expected).max()),
        "largest": float(np.abs(expected).max()),
        "image_ms": statistics.median(one["preprocessMs"] for one in found),
        "model_ms": statistics.median(one["modelMs"] for one in found),
    }


def answered(browser: Browser, url: str, images: Sequence[Path], **options: Any) -> tuple[str, list[dict[str, Any]]]:
    """What computes in the page, and its answers."""
    page = Page(browser, url, **options)
    if error := page.ready():
        raise SystemExit(error)
    found = []
    for number, path in enumerate(images):
        if number % LOG_EVERY == 0:
            log(f"{number} of {len(images)}")
        answer = page.classified(path)
        if isinstance(answer, str):
            raise SystemExit(f"{path}: {answer}")
        found.append(answer)
    engine = page.text("engine").partition(" in ")[2].rstrip(".")
    page.close()
    return engine, found


def answers(browser: Browser, site: Path, artifact: Path, images: Sequence[Path]) -> list[dict[str, Any]]:
    """The figures with threads, and with one thread: without a service worker, the headers for threads are missing."""
    expected = expected_logits(artifact, images)
    with served(site) as server:
        several = compared(*answered(browser, address(server), images), expected)
        engine, found = answered(browser, address(server), images[::EVERY], serviceWorkers="block")
        return [several, compared(engine, found, expected[::EVERY])]


def webgpu(site: Path, artifact: Path, images: Sequence[Path]) -> dict[str, Any]:
    """The figures of the library with WebGPU in software; `refusal` if it was not believed."""
    module = site / "module"
    command = [SOURCE / "node_modules" / ".bin" / "tsc", "-p", SOURCE / "tsconfig.module.json", "--outDir", module]
    subprocess.run(command, check=True)
    browser = open_browser(*SOFTWARE_GPU)
    try:
        with served(site) as server:
            found = Page(browser, f"{address(server)}site.json").library(f"/models/{artifact.name}", images)
    finally:
        browser.close()
        shutil.rmtree(module)
    if found["provider"] != "webgpu":
        raise SystemExit(f"{artifact.name}: {found['refusal']}")
    return compared("WebGPU in software", found["answers"], expected_logits(artifact, images))


def sizes(site: Path, asked: Sequence[str], *, compress: bool = False) -> int:
    """Bytes of the files that were asked for; `compress`: as a server sends them that does so (gzip -6)."""
    files = [site / (path.split("?")[0].strip("/") or "index.html") for path in asked]
    found = [file.read_bytes() for file in files if file.is_file()]
    return sum(len(gzip.compress(data, 6) if compress else data) for data in found)


def visits(browser: Browser, site: Path) -> dict[str, Any]:
    """A first and a second visit, the fastest of VISITS."""
    found = []
    for _ in range(VISITS):
        with served(site) as server:
            page = Page(browser, "about:blank")
            measured: dict[str, Any] = {}
            for visit in ("first", "second"):
                server.asked.clear()
                ready, answer = page.run(TIMED, url=address(server), path=str(PHOTOS[0]))
                measured |= {f"{visit}_ready_s": ready / 1000, f"{visit}_answer_s": answer / 1000}
                measured |= {f"{visit}_bytes": sizes(site, server.asked)}
                if visit == "first":
                    measured["first_compressed_bytes"] = sizes(site, server.asked, compress=True)
                page.wait("caches.open('onnxzoo').then((one) => one.keys()).then((keys) => keys.length >= 10)")
            page.close()
        found.append(measured)
    return min(found, key=lambda one: float(one["first_answer_s"]))


def written(figures: dict[str, Any]) -> str:
    """The page."""
    rows, downloads = [], []
    for name, model in figures["models"].items():
        rows += [
            f"| {name} | {one['engine']} | {one['best']} of {one['images']} | {one['five']} of {one['images']} | "
            f"{one['difference']:.1e} | {one['largest']:.3g} | {one['image_ms']:.1f} | {one['model_ms']:.1f} |"
            for one in [*model.get("answers", []), *([model["webgpu"]] if "webgpu" in model else [])]
        ]
        if (one := model.get("visits")) is not None:
            downloads.append(
                f"| {name} | {one['first_bytes'] / 1e6:.2f} | {one['first_compressed_bytes'] / 1e6:.2f} | "
                f"{one['first_ready_s']:.2f} | {one['first_answer_s']:.2f} | {one['second_bytes']} | "
                f"{one['second_answer_s']:.2f} |"
            )
    return PAGE.format(
        **figures,
        seeded=SEEDED,
        webgpu=WEBGPU_IMAGES,
        visits=VISITS,
        answers="\n".join(rows),
        downloads="\n".join(downloads),
    )


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--part", action="append", choices=PARTS)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "web.md")
    options = parser.parse_args()
    kept = options.out.with_suffix(".json")
    figures: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else {"models": {}}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_photos(folder / "photos", options.images)
        (folder / "golden").mkdir()
        images = sorted((folder / "photos").iterdir()) + [path for _, path in written_golden(folder / "golden")]
        browser = open_browser()
        machine = f"Chromium {browser.run('return browser.version()')}, ONNX Runtime Web {VERSION}, {cpu()}"
        figures |= {"date": str(date.today()), "machine": machine}
        figures |= {"jpegs": options.images, "golden": len(images) - options.images}
        for model in options.models or [*SHIPPED, SEEDED]:
            shipped = ROOT / "onnxzoo" / "shipped" / model
            artifact = shipped if shipped.is_dir() else assembled(model, folder) if model == SEEDED else Path(model)
            site, found = folder / f"{artifact.name}.site", figures["models"].setdefault(artifact.name, {})
            write_site(site, choose([str(artifact)]), runtime_files(SOURCE / "node_modules"))
            for part in options.part or PARTS:
                log(f"{artifact.name}: {part}")
                if part == "answers":
                    found[part] = answers(browser, site, artifact, images)
                elif part == "visits":
                    found[part] = visits(browser, site)
                else:
                    found[part] = webgpu(site, artifact, images[:WEBGPU_IMAGES])
        browser.close()
    kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    options.out.write_text(written(figures), encoding="utf-8")
    print(options.out.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
