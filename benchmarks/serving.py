"""The server under load: images per second and latencies, clients that come and go, signals, and abuse.

    python benchmarks/serving.py [--model NAME|DIR ...] [--seconds S] [--clients N ...] [--mlserver PYTHON]
                                 [--peer-seconds S] [--out FOLDER]

`--mlserver`: the Python of an environment with mlserver and onnxzoo, whose lines take `--peer-seconds` each. Writes
serving.md and serving.json. Linux.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from cold_start import PHOTO, cpu_model, log
from serving_abuse import Row, abuse
from serving_clients import GOOD, Client, GrpcClient, HttpClient, come_and_go, load, under_load
from serving_process import Running, mlserver, onnxzoo_serve

import onnxzoo
from onnxzoo.image import preprocess_batch
from onnxzoo.inference_protocol import BYTES, FP32, IMAGES, JSON_LENGTH_HEADER, PIXELS, packed

HERE = Path(__file__).resolve().parent
VISITORS, AT_A_TIME = 1000, 32
CLIENTS_UNDER_SIGNALS = 8
SIGNAL_AFTER_S = 3.0
CHILD = """
import sys, time, numpy as np, onnxzoo
from pathlib import Path
name, seconds, photo = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]).read_bytes()
with onnxzoo.load(name) as model:
    tensor = np.random.default_rng(0).standard_normal((1, 3, model.image_size, model.image_size)).astype("float32")
    for run in (lambda: model.logits(tensor), lambda: model.predict(photo)):
        times, begin = [], time.perf_counter() + 1
        while (now := time.perf_counter()) < begin + seconds:
            run()
            if now >= begin:
                times.append(time.perf_counter() - now)
        print(len(times) / seconds, *np.percentile(times, (50, 95, 99)) * 1e3)
"""


@dataclass
class Point:
    """One line of the table."""

    model: str
    server: str
    protocol: str
    input: str
    clients: int
    per_second: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: int
    rss_mib: float


@dataclass(frozen=True)
class Requests:
    """The requests for one image of one model, as bytes."""

    model: onnxzoo.Model

    @functools.cached_property
    def batch(self) -> np.ndarray:
        """The photo as a tensor."""
        return preprocess_batch([PHOTO], self.model.artifact.preprocess)

    def http(self, given: str, *, as_json: bool = False) -> bytes:
        """The request over HTTP, in binary form or as JSON, which MLServer needs."""
        shape = list(self.batch.shape) if given == "tensor" else [1]
        name, datatype = (PIXELS, FP32) if given == "tensor" else (IMAGES, BYTES)
        data = self.batch.tobytes() if given == "tensor" else packed([PHOTO.read_bytes()])
        tensor: dict[str, object] = {"name": name, "datatype": datatype, "shape": shape}
        if not as_json:
            tensor["parameters"] = {"binary_data_size": len(data)}
        elif given == "tensor":
            tensor["data"] = self.batch.ravel().tolist()
        else:
            tensor["parameters"] = {"content_type": "base64"}
            tensor["data"] = [base64.b64encode(PHOTO.read_bytes()).decode()]
        binary = {} if as_json else {"parameters": {"binary_data_output": True}}
        text = json.dumps({"inputs": [tensor], **binary}).encode()
        body = text if as_json else text + data
        lines = [
            f"POST /v2/models/{self.model.name}/infer HTTP/1.1",
            "Host: localhost",
            f"Content-Type: application/{'json' if as_json else 'octet-stream'}",
            f"Content-Length: {len(body)}",
            *([] if as_json else [f"{JSON_LENGTH_HEADER}: {len(text)}"]),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def grpc(self, given: str, *, typed: bool = False) -> bytes:
        """The message over gRPC. `typed`: bytes as an element, not as raw data."""
        from onnxzoo.serving.sdk import messages

        if given == "tensor":
            tensor = {"name": PIXELS, "datatype": FP32, "shape": list(self.batch.shape)}
            message = messages.ModelInferRequest(
                model_name=self.model.name, inputs=[tensor], raw_input_contents=[self.batch.tobytes()]
            )
        elif typed:
            contents = {"bytes_contents": [PHOTO.read_bytes()]}
            tensor = {"name": IMAGES, "datatype": BYTES, "shape": [1], "contents": contents}
            message = messages.ModelInferRequest(model_name=self.model.name, inputs=[tensor])
        else:
            tensor = {"name": IMAGES, "datatype": BYTES, "shape": [1]}
            raw = packed([PHOTO.read_bytes()])
            message = messages.ModelInferRequest(model_name=self.model.name, inputs=[tensor], raw_input_contents=[raw])
        content: bytes = message.SerializeToString()
        return content


Make = Callable[[], Client]


def ours(server: Running, requests: Requests) -> Iterator[tuple[str, str, Make]]:
    """Protocol, input, and a client for each that our server takes."""
    for given in ("tensor", "JPEG"):
        yield "HTTP", given, functools.partial(HttpClient, server.http, requests.http(given))
        yield "gRPC", given, functools.partial(GrpcClient, server.grpc, requests.grpc(given))


def theirs(server: Running, requests: Requests) -> Iterator[tuple[str, str, Make]]:
    """The same for MLServer, which takes JSON only over HTTP."""
    for given in ("tensor", "JPEG"):
        yield "HTTP, JSON", given, functools.partial(HttpClient, server.http, requests.http(given, as_json=True))
        yield "gRPC", given, functools.partial(GrpcClient, server.grpc, requests.grpc(given, typed=True))


def measured(
    name: str, kind: str, server: Running, cases: Iterator[tuple[str, str, Make]], clients: list[int], seconds: float
) -> Iterator[Point]:
    """A point for every case and number of clients."""
    for protocol, given, make in cases:
        for count in clients:
            found = load(make, count, seconds)
            times = found.percentiles_ms() if found.latencies_s else (float("nan"),) * 3
            point = Point(name, kind, protocol, given, count, found.per_second, *times, found.errors, server.rss_mib())
            log(f"{kind}, {name}, {protocol}, {given}, {count}: {point.per_second:.0f}/s, errors {point.errors}")
            yield point


def in_process(folder: str, name: str, seconds: float) -> list[Point]:
    """The model in a process of its own, without a server."""
    command = [sys.executable, "-P", "-c", CHILD, folder, str(seconds), str(PHOTO)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    calls = (("logits", "tensor"), ("predict", "JPEG"))
    return [
        Point(name, "in process", call, given, 1, *map(float, line.split()), errors=0, rss_mib=float("nan"))
        for (call, given), line in zip(calls, lines, strict=True)
    ]


def visits(server: Running, requests: Requests) -> list[str]:
    """What became of clients that come, ask once, and go; and what of them is left in the server."""
    lines = []
    for protocol, given, make in ours(server, requests):
        come_and_go(make, AT_A_TIME, AT_A_TIME)
        before = server.files(), server.threads(), server.rss_mib()
        statuses = come_and_go(make, VISITORS, AT_A_TIME)
        time.sleep(1.0)
        after = server.files(), server.threads(), server.rss_mib()
        good = sum(statuses[status] for status in GOOD)
        lines.append(
            f"| {protocol} | {given} | {good} of {VISITORS} | {before[0]} → {after[0]} | {before[1]} → {after[1]} "
            f"| {before[2]:.0f} → {after[2]:.0f} |"
        )
        log(lines[-1])
    return lines


def signalled(folder: str, requests: Requests, number: signal.Signals) -> tuple[Counter[str], float, float]:
    """What clients see while the server ends by a signal and starts again; seconds to its end, and to be ready."""
    with onnxzoo_serve([folder]) as first:
        ports = ["--http-port", first.http.rpartition(":")[2], "--grpc-port", first.grpc.rpartition(":")[2]]
        makes = [make for _, given, make in ours(first, requests) if given == "JPEG"]
        times: list[float] = []
        with contextlib.ExitStack() as stack:

            async def act() -> None:
                begin = time.perf_counter()
                first.process.send_signal(number)
                await asyncio.to_thread(first.process.wait)
                ended = time.perf_counter()
                await asyncio.to_thread(stack.enter_context, onnxzoo_serve([folder], *ports))
                times.extend((ended - begin, time.perf_counter() - ended))
                await asyncio.sleep(SIGNAL_AFTER_S)

            statuses = under_load(makes, CLIENTS_UNDER_SIGNALS, SIGNAL_AFTER_S, act)
    return statuses, times[0], times[1]


def report(
    points: list[Point],
    visitors: list[str],
    ends: list[str],
    abused: list[Row],
    seconds: tuple[float, float],
    busy: tuple[float, float],
) -> str:
    """The results as markdown.

    `seconds`: for a line of ours, and of MLServer's. `busy`: the load average of the machine at the beginning and end.
    """
    table = [
        f"| {p.model} | {p.server} | {p.protocol} | {p.input} | {p.clients} | {p.per_second:.0f} | {p.p50_ms:.1f} "
        f"| {p.p95_ms:.1f} | {p.p99_ms:.1f} | {p.errors} | {'' if np.isnan(p.rss_mib) else format(p.rss_mib, '.0f')} |"
        for p in points
    ]
    return "\n".join(
        [
            "# The server under load",
            "",
            f"{cpu_model()}, {os.cpu_count()} cores, which clients and server share; {seconds[0]:g} s for each line",
            f"({seconds[1]:g} s for MLServer's), one image for each request. Load average: {busy[0]:.1f} at first,",
            f"{busy[1]:.1f} at the end; lines of a busy machine cannot be compared closely, as they were measured one",
            "after the other. Made by `benchmarks/serving.py`.",
            "",
            "| model | server | protocol | input | clients | images/s | p50, ms | p95 | p99 | errors | memory, MiB |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
            *table,
            "",
            f"## {VISITORS} clients that connect, ask once, and go, {AT_A_TIME} at a time",
            "",
            "| protocol | input | answered | open files, before → after | threads | memory, MiB |",
            "|---|---|---|---|---|---|",
            *visitors,
            "",
            f"## Signals, with {CLIENTS_UNDER_SIGNALS} clients over each protocol",
            "",
            "The server ends, and is started again on the same ports. A client that gets no result connects again.",
            "",
            "| signal | s to the end | s until ready again | what clients saw |",
            "|---|---|---|---|",
            *ends,
            "",
            "## Abuse",
            "",
            "| request | over | answer | what it says |",
            "|---|---|---|---|",
            *[f"| {row.request} | {row.protocol} | {row.status} | {row.text.replace('|', '/')} |" for row in abused],
            "",
        ]
    )


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", action="append", help="by default pvt_v2_nano_fashion; may be given several times")
    parser.add_argument("--seconds", type=float, default=120.0, help="for each line of the table")
    parser.add_argument("--peer-seconds", type=float, help="for each line of MLServer; by default as --seconds")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--mlserver", metavar="PYTHON")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    asked = parser.parse_args()
    began = os.getloadavg()[0]
    peer_seconds = asked.peer_seconds or asked.seconds
    points: list[Point] = []
    visitors: list[str] = []
    ends: list[str] = []
    for folder in asked.model or ["pvt_v2_nano_fashion"]:
        with onnxzoo.load(folder, verify=False) as model:
            requests = Requests(model)
            name = model.name
        points += in_process(folder, name, asked.seconds)
        with onnxzoo_serve([folder]) as server:
            points += measured(name, "onnxzoo", server, ours(server, requests), asked.clients, asked.seconds)
            if not visitors:
                visitors = visits(server, requests)
        if asked.mlserver:
            path = str(requests.model.artifact.folder)
            with mlserver(asked.mlserver, name, path) as server:
                points += measured(name, "MLServer", server, theirs(server, requests), asked.clients, peer_seconds)
        if not ends:
            for number in (signal.SIGTERM, signal.SIGKILL):
                statuses, ended, ready = signalled(folder, requests, number)
                seen = ", ".join(f"{count} {status}" for status, count in sorted(statuses.items()))
                ends.append(f"| {number.name} | {ended:.1f} | {ready:.1f} | {seen} |")
                log(ends[-1])
    abused = abuse((asked.model or ["pvt_v2_nano_fashion"])[0])
    text = report(points, visitors, ends, abused, (asked.seconds, peer_seconds), (began, os.getloadavg()[0]))
    print(text)
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "serving.md").write_text(text, encoding="utf-8")
    document = {
        "seconds": [asked.seconds, peer_seconds],
        "points": [asdict(one) for one in points],
        "abuse": [asdict(one) for one in abused],
    }
    (asked.out / "serving.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
