"""Runs that write a table, killed at random moments and gone on with: the test and the script behind its figures.

    python tests/table_kills.py --rounds 100

A round starts the command and kills it, once to three times, and then lets it end. A kill comes after a random time, or
shortly after a random number of parts. The table must be that of a run that nobody disturbed: every image exactly once,
in order, with the same classes. A process that has everything imported forks one process for each command, so that
kills hit the run and not the start of Python; the disk is slowed down, so that they hit writes as well.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from hub_kills import Worker
from table_reading import read_rows

MODEL = "pvt_v2_nano_fashion"
FASHION = Path(__file__).parent / "data" / "fashion_mnist_sample"
TASKS = {".csv": "predict", ".jsonl": "predict", ".parquet": "predict", ".npy": "embed"}
FSYNC_S = 0.002
PATIENCE = 5
"""Times the length of an undisturbed run, after which a part is no longer waited for."""

WORKER = f"""
import json, os, sys, time
import onnxruntime, pyarrow.parquet
import onnxzoo.cli.embed, onnxzoo.cli.predict, onnxzoo.engines.onnxruntime_library, onnxzoo.loading
from onnxzoo import cli
from onnxzoo.batch import table_runs

table_runs.PART_ROWS = PART_ROWS
flush = os.fsync
os.fsync = lambda file: (time.sleep({FSYNC_S}), flush(file))
for line in sys.stdin:
    sender = os.fork()
    if not sender:
        sys.stderr = open(os.devnull, "w")
        code = None
        try:
            cli.main(json.loads(line))
        except SystemExit as error:
            code = error.code
        os.write(1, (json.dumps({{"code": code}}) + "\\n").encode())
        os._exit(0)
    os.write(1, (json.dumps({{"pid": sender}}) + "\\n").encode())
    sys.stdin.readline()  # until then its id is nobody else's
    os.waitpid(sender, 0)
    os.write(1, b'{{"ended": true}}\\n')
"""


@dataclass
class Figures:
    """Of all rounds of a format.

    `hit`: kills before the end of the command. `with_parts`: of those, with finished parts; `in_a_write`: with a half
    written file. `exact`: rounds whose table is that of an undisturbed run. `resumed`: rounds that took over parts.
    `rewritten`: finished parts that were there after a kill and changed or gone after the next one.
    """

    format: str
    rounds: int = 0
    kills: int = 0
    hit: int = 0
    with_parts: int = 0
    in_a_write: int = 0
    exact: int = 0
    wrong: list[str] = field(default_factory=list)
    rewritten: int = 0
    left_behind: int = 0
    images: int = 0
    run_s: float = 0.0
    seconds: float = 0.0


def kill_runs(
    model: str | Path, images: Path, folder: Path, suffix: str, rounds: int, *, part_rows: int, seed: int = 0
) -> Figures:
    """Kill and resume `onnxzoo predict` or `embed` on the folder `images`, and compare the tables."""
    began = time.perf_counter()
    chance, figures = random.Random(seed), Figures(suffix)  # noqa: S311
    worker = Worker(
        {**os.environ, "OMP_NUM_THREADS": "1"}, WORKER.replace("PART_ROWS = PART_ROWS", f"PART_ROWS = {part_rows}")
    )

    def command(out: Path) -> str:
        return json.dumps([TASKS[suffix], str(model), str(images), "--out", str(out), "--engine", "onnxruntime"])

    whole = folder / "whole" / f"table{suffix}"
    for _ in range(2):  # the first also verifies the engine
        shutil.rmtree(whole.parent, ignore_errors=True)
        started = time.perf_counter()
        worker.start(command(whole))
        code = worker.end()["code"]
        figures.run_s = round(time.perf_counter() - started, 3)
    expected = read_rows(whole)
    figures.images = len(expected)
    parts_in_all = -(-len(expected) // part_rows)
    for number in range(rounds):
        out = folder / f"round{number}" / f"table{suffix}"
        parts: dict[str, tuple[int, int]] = {}
        for _ in range(chance.randint(1, 3)):
            pid = worker.start(command(out))
            late = chance.random() < 0.5  # on a busy machine, times alone would hit the loading of the model
            if late:
                _wait_for_parts(out, chance.randint(1, parts_in_all), PATIENCE * figures.run_s)
            time.sleep(chance.uniform(0, figures.run_s / 20 if late else figures.run_s))
            os.kill(pid, signal.SIGKILL)
            figures.kills += 1
            if "code" in worker.end():
                continue
            figures.hit += 1
            now = _finished_parts(out)
            if not out.exists():  # otherwise it was removing them
                figures.rewritten += sum(now.get(name) != state for name, state in parts.items())
            parts = now
            figures.with_parts += bool(parts)
            figures.in_a_write += any(path.name.endswith(".tmp") for path in out.parent.rglob(".*"))
        worker.start(command(out))
        ended = worker.end()
        fault = (
            _fault(expected, out) if ended.get("code") == code else f"exit code {ended.get('code')}, expected {code}"
        )
        figures.rounds += 1
        figures.exact += fault is None
        figures.wrong += [] if fault is None else [f"round {number}: {fault}"]
        figures.left_behind += len(_names(out.parent) ^ _names(whole.parent))
        shutil.rmtree(out.parent)
    figures.seconds = round(time.perf_counter() - began, 1)
    worker.close()
    return figures


def _wait_for_parts(out: Path, count: int, longest_s: float) -> None:
    """Wait until so many parts are finished, or the table is there."""
    deadline = time.monotonic() + longest_s
    folder = out.with_name(f"{out.name}.parts")
    while sum(1 for _ in folder.glob("part-*")) < count and not out.exists() and time.monotonic() < deadline:
        time.sleep(0.0005)


def _finished_parts(out: Path) -> dict[str, tuple[int, int]]:
    folder = out.with_name(f"{out.name}.parts")
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("part-*")}


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _fault(expected: Sequence[dict[str, Any]], out: Path) -> str | None:
    """What is wrong with a table; scores and embeddings may differ in their last digits, as batches are others."""
    rows = read_rows(out)
    paths = [row["path"] for row in rows]
    if paths != [row["path"] for row in expected]:
        return f"{len(paths)} rows, {len(set(paths))} images, expected {len(expected)}"
    for row, other in zip(rows, expected, strict=True):
        if row.keys() != other.keys():
            return f"the columns of {row['path']} are {list(row)}"
        for name, value in row.items():
            number = value is not None and not isinstance(value, str | int)
            same = np.allclose(value, other[name], atol=1e-5) if number else value == other[name]
            if not same:
                return f"{name} of {row['path']} is {value}, expected {other[name]}"
    return None


def write_images(folder: Path, count: int) -> Path:
    """Copies of the images of the Fashion-MNIST sample; every hundredth cannot be read."""
    sample = sorted(FASHION.glob("*/*.png"))
    folder.mkdir()
    for index in range(count):
        path = folder / f"{index:05}.png"
        if index % 100 == 99:
            path.write_bytes(b"\x89PNG, cut short")
        else:
            shutil.copy(sample[index % len(sample)], path)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description="Kill runs that write tables; print the figures as JSON.")
    parser.add_argument("--rounds", type=int, default=100, help="for each format")
    parser.add_argument("--format", choices=TASKS, action="append", help="only these formats")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--part-rows", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    whole = True
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        images = write_images(Path(scratch) / "images", options.images)
        for suffix in options.format or TASKS:
            folder = Path(scratch) / suffix
            found = kill_runs(
                MODEL, images, folder, suffix, options.rounds, part_rows=options.part_rows, seed=options.seed
            )
            print(json.dumps(asdict(found)), flush=True)  # noqa: T201
            whole &= found.exact == found.rounds and not found.rewritten and not found.left_behind
    sys.exit(0 if whole else 1)


if __name__ == "__main__":
    main()
