"""A real Chromium for the tests of the web client, and what it talks to: a server of static files, and no other."""

from __future__ import annotations

import base64
import functools
import gzip
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from web_client import SOURCE, required_node

CHROMIUM_VARIABLE = "CHROMIUM"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# The sandbox needs a kernel that lets users make namespaces, which containers often do not.
SWITCHES = ("--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")


SOFTWARE_GPU = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
"""WebGPU that computes on the CPU, on a machine without a GPU."""


class Handler(SimpleHTTPRequestHandler):
    """Files of `directory`, compressed as many servers do; every path that is asked for is kept in `asked`."""

    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        path = Path(self.translate_path(self.path))
        if self.server.compress and path.is_file():
            data = gzip.compress(path.read_bytes(), 1)
            self.send_response(200)
            self.send_header("Content-Type", self.guess_type(path))
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        else:
            super().do_GET()

    def end_headers(self) -> None:
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
        pass


class Server(ThreadingHTTPServer):
    """`asked`: the paths that were asked for. `compress`: files are sent compressed. `headers`: sent with each."""

    def __init__(self, folder: Path, *, compress: bool, headers: Mapping[str, str]) -> None:
        self.asked: list[str] = []
        self.compress = compress
        self.headers = headers
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))


@contextmanager
def served(folder: Path, *, compress: bool = False, headers: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Serve a folder on loopback until the block ends."""
    server = Server(folder, compress=compress, headers=headers or {})
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/"


class Proxy:
    """Refuses every connection, so that nothing leaves this machine: Chromium itself also asks its maker's servers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._refuse, daemon=True).start()

    def _refuse(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                try:
                    connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                except OSError:
                    continue

    def close(self) -> None:
        self._socket.close()


class Browser:
    """A Chromium driven by clients/web/tests/browser.mjs, whose requests to other machines end in `proxy`."""

    def __init__(self, node: str, chromium: str, *switches: str) -> None:
        self.proxy = Proxy()
        command = [node, SOURCE / "tests" / "browser.mjs", chromium, *SWITCHES, *switches]
        command += [f"--proxy-server=http://127.0.0.1:{self.proxy.port}", "--proxy-bypass-list=127.0.0.1"]
        self._process = subprocess.Popen(
            list(map(os.fspath, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
        )

    def run(self, code: str, **given: Any) -> Any:
        """Run the body of an async function of `browser`, `kept` and `given`; returns what it returns."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"code": code, "given": given}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "Chromium ended"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self.proxy.close()


def open_browser(*switches: str) -> Browser:
    """Start Chromium; skips the test, saying why, if it is not installed, and as `required_node` does."""
    node = required_node()
    chromium = os.environ.get(CHROMIUM_VARIABLE) or next(filter(None, map(shutil.which, NAMES)), None)
    if chromium is None:
        pytest.skip(f"no Chromium: apt-get install chromium, or name one in the variable {CHROMIUM_VARIABLE}")
    return Browser(node, chromium, *switches)


class Page:
    """A visitor with an empty cache, at a site; `requests` are the URLs that the page and its workers asked for."""

    OPEN = """
        const context = await browser.newContext({ viewport: { width: 1200, height: 900 }, ...given.options });
        await context.grantPermissions(["camera"], { origin: new URL(given.url).origin }).catch(() => undefined);
        const page = await context.newPage();
        const one = { context, page, requests: [], complaints: [] };
        context.on("request", (request) => one.requests.push(request.url()));
        page.on("console", (message) => message.type() === "error" && one.complaints.push(message.text()));
        page.on("pageerror", (error) => one.complaints.push(String(error)));
        await page.addInitScript(() => {
          window.answers = [];
          document.addEventListener("onnxzoo:answer", ({ detail }) => {
            window.answers.push({ ...detail, logits: Array.from(detail.logits) });
          });
        });
        (kept.pages ??= []).push(one);
        await page.goto(given.url);
        return kept.pages.length - 1;
    """

    def __init__(self, browser: Browser, url: str, **options: Any) -> None:
        self._browser = browser
        self._number = browser.run(self.OPEN, url=url, options=options)

    def run(self, code: str, **given: Any) -> Any:
        """Run the body of an async function of Playwright's `page` and `context`, `requests` and `given`."""
        start = "const { page, context, requests, complaints } = kept.pages[given.number];"
        return self._browser.run(start + code, number=self._number, **given)

    def text(self, name: str) -> str:
        """What the element of this id shows."""
        found: str = self.run(
            "return page.evaluate((id) => document.getElementById(id).textContent, given.id)", id=name
        )
        return found

    def wait(self, condition: str) -> None:
        """Wait until an expression, in which `text(id)` is what an element shows, is true in the page."""
        self.run(
            """
            // Not waitForFunction, whose code the page's policy refuses. While the page is reloaded, nothing answers.
            const source = `(async () => { const text = (id) => document.getElementById(id).textContent;
              return Boolean(await (${given.condition})); })()`;
            for (const end = Date.now() + 60000; Date.now() < end; ) {
              if (await page.evaluate(source).catch(() => false)) return;
              await new Promise((resolve) => setTimeout(resolve, 20));
            }
            throw new Error(`not within a minute: ${given.condition}; ${await page.innerText("body")}`);
            """,
            condition=condition,
        )

    def ready(self) -> str:
        """Wait for the model; returns the error, if there is one."""
        self.wait("text('status').includes('is ready') || text('error')")
        return self.text("error")

    def classified(self, path: Path | str) -> dict[str, Any] | str:
        """Choose a file; returns the answer, with its logits, or the error."""
        self.run("await page.evaluate(() => { window.answers = []; })")
        self.run("await page.setInputFiles('#file', given.path)", path=str(path))
        return self.answer(Path(path).name)

    def answer(self, name: str) -> dict[str, Any] | str:
        """Wait for the answer for the image of this name, or the error."""
        self.wait(f"window.answers.some((one) => one.name === {json.dumps(name)}) || text('error')")
        error = self.text("error")
        return error or self.run("return page.evaluate(() => window.answers.pop())")

    LIBRARY = """
        return page.evaluate(async ({ folder, images }) => {
          const zoo = await import("/module/index.js");
          const load = (script) => async () => {
            const ort = await import(`/runtime/${script}`);
            ort.env.wasm.wasmPaths = new URL("/runtime/", location.href).href;
            return ort;
          };
          const options = { wasm: load("ort.wasm.min.mjs"), webgpu: load("ort.webgpu.min.mjs") };
          const model = await zoo.Classifier.load(new URL(folder, location.href), options);
          const found = [];
          for (const data of images) {
            const image = new Blob([Uint8Array.from(atob(data), (one) => one.charCodeAt(0))]);
            const answer = await model.predict(image);
            found.push({ ...answer, logits: Array.from(answer.logits) });
          }
          return { provider: model.provider, refusal: model.refusal ?? null, answers: found };
        }, given);
    """

    def library(self, folder: str, images: Sequence[Path]) -> dict[str, Any]:
        """What the library, in `module/` of the site, answers with WebGPU, also if that computes in software."""
        data = [base64.b64encode(path.read_bytes()).decode() for path in images]
        found: dict[str, Any] = self.run(self.LIBRARY, folder=folder, images=data)
        return found

    def close(self) -> None:
        self.run("await context.close()")
