"""Mutants of every file that comes from outside, and what becomes of each. `make fuzz` tries 20,000.

    python tests/fuzz.py [--count N] [--seed S] [--only FORMAT ...] [--jobs N] [--keep FOLDER]
    python tests/fuzz.py --replay FORMAT:SEED:NUMBER

A mutant may be read or refused: by an error of onnxzoo's own, whose message is one line of at most 500 characters.
Everything else is a fault: another exception, a crash of the process, no answer within 30 seconds, more than a
gigabyte of memory. Faults are printed with the token that makes them again, and their mutants kept. Exit code 1.
Mutants that could not be drawn, or whose process did not start twice, are counted as not tried: a fault, too.

Mutants are read in processes of their own, which are replaced when they die or hang. They are drawn from the seed, the
format and the number alone, so that a token means the same mutant wherever the same libraries make the whole files.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import importlib
import io
import json
import os
import queue
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz_mutators import BLIND, MOST_BYTES

READERS = "fuzz_readers"
MESSAGE_CHARS = 500
SECONDS = 30.0
"""For one mutant, drawn and read; a good file takes a hundredth of a second."""
START_SECONDS = 120.0
"""For a process to begin: imports, and whole files."""
STARTS = 2
"""Tries to begin, before the mutants of a chunk are given up."""
MEMORY = 2**30
"""Bytes that the reading process may take at its peak, libraries and all."""
ADDRESSES = 6 * 2**30
"""What the process may ask for: a reader that asks for more gets MemoryError, and the machine goes on."""
JOINERS = {0x200C: None, 0x200D: None}
"""Invisible, and a part of Persian and Indic words and of emoji: no harm in a message."""
CHUNK = 250
READ, REFUSED = "read", "refused"
GOOD = (READ, REFUSED)
NOT_TRIED = "not tried"
FAULTS = ("crash", "hang", "foreign exception", "long message", "message of several lines", "memory", NOT_TRIED)


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a mutant: `outcome` is one of GOOD or FAULTS; `detail` what it said, or where it was."""

    token: str
    outcome: str
    detail: str = ""

    @property
    def is_fault(self) -> bool:
        return self.outcome not in GOOD


def mutant(formats: Any, kind: str, seed: int, number: int) -> bytes:
    """The mutant of this number, never empty."""
    draw = random.Random(f"{kind}:{seed}:{number}")
    chosen = formats[kind]
    data: bytes = draw.choice(chosen.wholes())
    for _ in range(draw.choice((1, 1, 1, 1, 2, 3))):
        mutators = chosen.known if chosen.known and draw.random() < 0.7 else BLIND
        data = draw.choice(mutators)(data or b"\0", draw)[:MOST_BYTES]
    return data


# In the process that reads


def work(folder: Path, kind: str, readers: str, seed: int, first: int, stop: int) -> None:
    """Read the mutants `first` to `stop`: lines `begin N`, `drawn`, and one of JSON, for each. Does not return."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints is no answer of ours
    _limit_addresses()
    warnings.simplefilter("ignore")
    formats = importlib.import_module(readers).FORMATS
    read = formats[kind].reader(folder)
    formats[kind].wholes()
    for number in range(first, stop):
        out.write(f"begin {number}\n")
        faulthandler.dump_traceback_later(SECONDS - 2, file=sys.stderr)
        data = mutant(formats, kind, seed, number)
        out.write("drawn\n")
        _forget_peak()
        outcome, detail = judged(read, data)
        faulthandler.cancel_dump_traceback_later()
        peak = _peak()
        if peak > MEMORY:
            outcome, detail = "memory", f"{peak >> 20} MiB, and then: {outcome} {detail}"
        out.write(json.dumps([number, outcome, detail]) + "\n")
    out.flush()
    os._exit(0)  # threads of libraries that were handed nonsense need not end well


def judged(read: Any, data: bytes) -> tuple[str, str]:
    """What becomes of one mutant, short of the end of the process."""
    from onnxzoo.errors import OnnxzooError

    try:
        read(data)
    except OnnxzooError as error:
        message = str(error)
        if len(message) > MESSAGE_CHARS:
            return "long message", f"{len(message)} characters: {message[:300]!a}"
        if not message.translate(JOINERS).isprintable():
            return "message of several lines", ascii(message)
        return REFUSED, ""
    except BaseException as error:  # noqa: BLE001 - each is a fault of the reader
        place = traceback.extract_tb(error.__traceback__)
        ours = [one for one in place if "/onnxzoo/" in one.filename or "fuzz_readers" in one.filename]
        where = " < ".join(f"{Path(one.filename).name}:{one.lineno}" for one in reversed((ours or place)[-4:]))
        return "foreign exception", f"{type(error).__name__}: {str(error)[:200]!a} at {where}"
    return READ, ""


def _limit_addresses() -> None:
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _peak() -> int:
    """Bytes of memory at the peak since `_forget_peak`; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


# In the process that counts


def chunk(
    kind: str,
    seed: int,
    first: int,
    stop: int,
    *,
    readers: str = READERS,
    seconds: float = SECONDS,
    start_seconds: float = START_SECONDS,
) -> list[Result]:
    """The results of some mutants, one each, whatever they do to the processes that read them."""
    results: list[Result] = []
    starts = 0
    while first < stop:
        found, said = _until_it_dies(kind, seed, first, stop, readers, seconds, start_seconds)
        results += found
        first += len(found)
        starts = 0 if found else starts + 1
        if starts == STARTS:
            results += [Result(f"{kind}:{seed}:{number}", NOT_TRIED, said) for number in range(first, stop)]
            break
    return results


def _until_it_dies(
    kind: str, seed: int, first: int, stop: int, readers: str, seconds: float, start_seconds: float
) -> tuple[list[Result], str]:
    """What became of the mutants from `first` on in one process, of none where it did not start, and why it ended."""
    results: list[Result] = []
    with (
        tempfile.TemporaryDirectory(prefix="onnxzoo-fuzz-") as folder,
        tempfile.TemporaryFile() as errors,
        _lines(Path(folder), [kind, readers, str(seed), str(first), str(stop)], errors) as (process, lines),
    ):
        current, is_drawn = None, False
        while first + len(results) < stop:
            try:
                line = lines.get(timeout=start_seconds if current is None else seconds)
            except queue.Empty:
                process.kill()
                outcome, said = "hang", _said(errors)
            else:
                if line is not None and line.startswith("begin "):
                    current, is_drawn = int(line[6:]), False
                    continue
                if line == "drawn\n":
                    is_drawn = True
                    continue
                if line is not None:
                    number, outcome, detail = json.loads(line)
                    results.append(Result(f"{kind}:{seed}:{number}", outcome, detail))
                    continue
                outcome, said = "crash", f"exit code {process.wait()}; {_said(errors)}"
            if current is None:
                return [], f"the reading process did not start ({outcome}): {said}"
            if current == first + len(results):  # else it ended between two mutants
                if not is_drawn:
                    outcome, said = NOT_TRIED, f"it was not drawn ({outcome}): {said}"
                results.append(Result(f"{kind}:{seed}:{current}", outcome, said))
            return results, said
    return results, ""


@contextlib.contextmanager
def _lines(
    folder: Path, arguments: Sequence[str], errors: Any
) -> Iterator[tuple[subprocess.Popen[str], queue.Queue[str | None]]]:
    """A reading process, killed at the end, and its lines as they come; None after the last one."""
    (folder / "work").mkdir()
    # What a reader keeps belongs to it alone, and goes with it.
    own = {"HF_HOME": str(folder / "hf_home"), "ONNXZOO_CACHE": str(folder / "cache"), "TMPDIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, __file__, "--worker", str(folder / "work"), *arguments],
        stdout=subprocess.PIPE,
        stderr=errors,
        text=True,
        env={**os.environ, **own},
    )
    lines: queue.Queue[str | None] = queue.Queue()

    def collect() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    thread = threading.Thread(target=collect, daemon=True)
    thread.start()
    try:
        yield process, lines
    finally:
        process.kill()
        process.wait()
        thread.join()


def _said(errors: Any) -> str:
    """The end of what a process said before it died, in one line."""
    size = errors.seek(0, io.SEEK_END)
    errors.seek(max(0, size - 4000))
    return " | ".join(errors.read().decode("utf-8", "replace").split("\n")[-12:])[-1000:]


def shares(formats: Any, count: int, only: Sequence[str] = ()) -> dict[str, int]:
    """How many mutants of each format make up `count`."""
    chosen = {kind: one.share for kind, one in formats.items() if one.here and (not only or kind in only)}
    whole = sum(chosen.values())
    return {kind: max(1, round(count * share / whole)) for kind, share in chosen.items()}


def run(
    count: int, *, seed: int, jobs: int, only: Sequence[str] = (), readers: str = READERS, seconds: float = SECONDS
) -> list[Result]:
    """Read so many mutants of all formats, or of these."""
    formats = importlib.import_module(readers).FORMATS
    pieces = [
        (kind, first, min(first + CHUNK, total))
        for kind, total in shares(formats, count, only).items()
        for first in range(0, total, CHUNK)
    ]
    with ThreadPoolExecutor(jobs) as pool:
        asked = [
            pool.submit(chunk, kind, seed, first, stop, readers=readers, seconds=seconds)
            for kind, first, stop in pieces
        ]
        return [result for one in asked for result in one.result()]


def table(results: Sequence[Result]) -> str:
    """Outcomes by format, and every kind of fault with how often it was met and the token of the first."""
    columns = [*GOOD, *FAULTS]
    counts: dict[str, Counter[str]] = {}
    for result in results:
        counts.setdefault(result.token.partition(":")[0], Counter())[result.outcome] += 1
    rows = [["format", "mutants", *columns]]
    rows += [[kind, str(found.total()), *(str(found[one]) for one in columns)] for kind, found in counts.items()]
    everything = sum(counts.values(), Counter())
    rows.append(["all", str(everything.total()), *(str(everything[one]) for one in columns)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    alike: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        if result.is_fault:
            # Numbers differ between faults of one kind.
            said = re.sub(r"\d+|onnxzoo-fuzz-\w+", "#", result.detail)[:200]
            alike.setdefault((result.token.partition(":")[0], result.outcome, said), []).append(result)
    lines += [f"{len(found):4} x {found[0].token} {found[0].outcome}: {found[0].detail}" for found in alike.values()]
    return "\n".join(lines)


def keep(results: Sequence[Result], folder: Path, readers: str = READERS) -> None:
    """Write the mutants that show a fault: FORMAT-SEED-NUMBER.bin."""
    formats = importlib.import_module(readers).FORMATS
    for result in results:
        if result.is_fault and result.outcome != NOT_TRIED:
            folder.mkdir(parents=True, exist_ok=True)
            kind, seed, number = result.token.split(":")
            (folder / f"{kind}-{seed}-{number}.bin").write_bytes(mutant(formats, kind, int(seed), int(number)))


def main(arguments: Sequence[str]) -> int:
    if arguments[:1] == ["--worker"]:
        folder, kind, readers, *numbers = arguments[1:]
        work(Path(folder), kind, readers, *map(int, numbers))
    parser = argparse.ArgumentParser(description="Mutants of files that come from outside: what becomes of each?")
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], help="a format; may be given several times")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--keep", type=Path, default=Path(__file__).parents[1] / "out" / "fuzz", help="for faulty mutants"
    )
    parser.add_argument("--replay", metavar="FORMAT:SEED:NUMBER", help="one mutant of an earlier run")
    asked = parser.parse_args(arguments)
    formats = importlib.import_module(READERS).FORMATS
    for kind in asked.only:
        if kind not in formats:
            parser.error(f"there is no format {kind!r} (there are {', '.join(formats)})")
    started = time.monotonic()
    if asked.replay:
        kind, seed, number = asked.replay.split(":")
        results = chunk(kind, int(seed), int(number), int(number) + 1)
    else:
        results = run(asked.count, seed=asked.seed, jobs=asked.jobs, only=asked.only)
    print(table(results))
    keep(results, asked.keep)
    faults = sum(one.is_fault for one in results)
    print(f"{len(results)} mutants in {time.monotonic() - started:.0f} s, {faults} faults", end="")
    print(f"; their files are in {asked.keep}" if faults else "")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
