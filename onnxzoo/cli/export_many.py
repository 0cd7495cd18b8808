"""Exporting several models, each in a process of its own, and the table at the end.

A process of its own gives every model its own peak memory, gives all of it back, and lets the rest go on
when one is killed.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from ..errors import OnnxzooError, one_line
from ..registry import find
from ..signals import end_with_parent, raise_when_terminated, signal_name
from .export import export_one, find_weights
from .output import print_json, say

# ru_maxrss is in KiB on Linux and in bytes on macOS.
RSS_UNITS_PER_MIB = 2**20 if sys.platform == "darwin" else 2**10

GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Job:
    """One model to export; `weights`, or the checkpoint found in `weights_dir`, or the registry's download.

    `quiet`: show no progress.
    """

    name: str
    weights: Path | None
    weights_dir: Path | None
    out: Path | None
    labels_file: Path | None
    image_size: int | None
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """How one export went; true when it went well.

    `seconds`: wall time. `peak_mib`: the largest resident memory of the exporting process plus that of its largest
    child, which bounds what both held at one time. `nodes` and `bytes`: of the ONNX file. `error`: one line, empty
    when all went well; the figures that could not be taken are None.
    """

    name: str
    seconds: float
    peak_mib: float | None = None
    nodes: int | None = None
    bytes: int | None = None
    folder: str | None = None
    error: str = ""

    def __bool__(self) -> bool:
        return not self.error


def export_all(jobs: Sequence[Job]) -> list[Result]:
    """Export one after the other, whatever becomes of the others; progress goes to stderr."""
    results = []
    for number, job in enumerate(jobs, start=1):
        if not job.quiet:
            say(f"{job.name} ({number} of {len(jobs)})", err=True)
        results.append(_in_child(job))
        if error := results[-1].error:
            say(f"{job.name}: {error}", err=True)
    return results


def print_results(results: Sequence[Result], *, as_json: bool) -> None:
    """Print the results to stdout, as a table or as JSON."""
    if as_json:
        print_json({"results": [dataclasses.asdict(result) for result in results]})
        return
    say(f"{'model':<18}{'seconds':>9}{'peak MiB':>10}{'nodes':>7}{'file MB':>9}  result")
    for result in results:
        megabytes = "-" if result.bytes is None else f"{result.bytes / 1e6:.1f}"
        peak = "-" if result.peak_mib is None else f"{result.peak_mib:.0f}"
        nodes = "-" if result.nodes is None else str(result.nodes)
        say(f"{result.name:<18}{result.seconds:>9.1f}{peak:>10}{nodes:>7}{megabytes:>9}  {result.error or 'ok'}")
    failed = sum(not result for result in results)
    say(f"{len(results) - failed} of {len(results)} exported" + (f", {failed} FAILED" if failed else ""))


def _in_child(job: Job) -> Result:
    """Run one job in a fresh interpreter; a child that dies gives a result that says so."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    started = time.perf_counter()
    process = context.Process(target=_work, args=(job, sender))
    process.start()
    sender.close()
    try:
        result: Result = receiver.recv()
    except EOFError:
        process.join()
        return Result(job.name, time.perf_counter() - started, error=f"the export {_fate(process.exitcode)}")
    except BaseException as error:
        # Ctrl-C reaches the child, too, and it needs a moment to remove what it has half written.
        if not isinstance(error, KeyboardInterrupt):
            process.terminate()
        process.join(GRACE_S)
        process.kill()
        raise
    finally:
        process.join()
        receiver.close()
    return result


def _work(job: Job, sender: Connection) -> None:
    """What the child does: export, measure, send the Result."""
    raise_when_terminated()
    end_with_parent()
    started = time.perf_counter()
    entry = find(job.name)
    try:
        weights = job.weights if job.weights_dir is None else find_weights(entry, job.weights_dir)
        artifact = export_one(entry, weights, job.out, job.labels_file, job.image_size, quiet=job.quiet)
    except OnnxzooError as error:
        sender.send(Result(job.name, time.perf_counter() - started, _peak_mib(), error=str(error)))
        return
    except KeyboardInterrupt:
        return
    except Exception as error:  # noqa: BLE001 - the other models go on, and the table tells
        message = f"{type(error).__name__}: {one_line(error)}; this is a bug in onnxzoo"
        sender.send(Result(job.name, time.perf_counter() - started, _peak_mib(), error=message))
        return
    seconds, peak_mib = time.perf_counter() - started, _peak_mib()
    from ..exports.graph_facts import node_count

    file = artifact.model_file()
    sender.send(Result(job.name, seconds, peak_mib, node_count(file), file.stat().st_size, str(artifact.folder)))


def _peak_mib() -> float | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    own, children = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return float(own + children) / RSS_UNITS_PER_MIB


def _fate(code: int | None) -> str:
    if code is None or code >= 0:
        return f"ended with exit code {code} and no result"
    name = signal_name(-code)
    return f"was killed by {name}" + (", perhaps for lack of memory" if name == "SIGKILL" else "")
