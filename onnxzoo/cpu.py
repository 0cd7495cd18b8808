"""The processor: its name, the instruction sets that decide which arithmetic is fast, and how many threads to use.

The number of threads is decided here for the engines, the workers that read images, training and the benchmarks. The
libraries' own defaults follow the cores of the host. In a container with a CPU quota they start more threads than the
quota can serve, and each call waits until the kernel lets the group run again.
"""

from __future__ import annotations

import contextlib
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from .precisions import PRECISIONS

CPUINFO = Path("/proc/cpuinfo")
TOPOLOGY = Path("/sys/devices/system/cpu")
# This process's control groups, the mounts of their file systems, and its initial environment.
CGROUP, MOUNTINFO, ENVIRON = Path("/proc/self/cgroup"), Path("/proc/self/mountinfo"), Path("/proc/self/environ")
OMP_NUM_THREADS = "OMP_NUM_THREADS"

# Instruction sets that matter here -> the flags that announce them, of Linux on x86 and ARM and of macOS's sysctl.
INSTRUCTION_SETS = {
    "sse4.2": {"sse4_2", "sse4.2"},
    "avx2": {"avx2"},
    "fma": {"fma"},
    "f16c": {"f16c"},
    "avx512": {"avx512f"},
    "avx512_vnni": {"avx512_vnni", "avx512vnni"},
    "avx_vnni": {"avx_vnni"},
    "avx512_bf16": {"avx512_bf16"},
    "avx512_fp16": {"avx512_fp16"},
    "amx_bf16": {"amx_bf16"},
    "amx_int8": {"amx_int8"},
    "amx_fp16": {"amx_fp16"},
    "neon": {"asimd", "neon", "advsimd"},
    "fp16": {"asimdhp", "feat_fp16"},
    "dotprod": {"asimddp", "feat_dotprod"},
    "bf16": {"bf16", "feat_bf16"},
    "i8mm": {"i8mm", "feat_i8mm"},
    "sve": {"sve"},
}


@dataclass(frozen=True, slots=True)
class Cpu:
    """The processor of this machine.

    `cores`: the logical processors that this process may use (its affinity). `quota`: the CPUs that its control groups
    grant it, 0.5 being half of one; None without a quota. `threads`: how many an engine starts (see `engine_threads`).
    `instruction_sets`: of INSTRUCTION_SETS; None if the system does not report them, as opposed to an empty tuple.
    """

    name: str
    architecture: str
    cores: int
    quota: float | None
    threads: int
    instruction_sets: tuple[str, ...] | None

    def __str__(self) -> str:
        quota = "" if self.quota is None else f", a CPU quota of {self.quota:.3g}"
        if self.instruction_sets is None:
            sets = "unknown instruction sets"
        else:
            sets = " ".join(self.instruction_sets) or "none known"
        return f"{self.name} ({self.architecture}), {self.cores} cores{quota}, {self.threads} for an engine: {sets}"


def cpu() -> Cpu:
    """What is known about the processor without any library; never raises."""
    name, sets = _description()
    architecture = platform.machine() or "unknown"
    name = name or platform.processor() or architecture
    return Cpu(name, architecture, len(_affinity()), cpu_quota(), engine_threads(), sets)


@lru_cache(maxsize=1)
def _description() -> tuple[str, tuple[str, ...] | None]:
    name, flags = "", None
    with contextlib.suppress(Exception):
        if sys.platform == "darwin":
            name, flags = _from_sysctl()
        elif sys.platform != "win32":
            name, flags = _from_cpuinfo(CPUINFO.read_text(encoding="utf-8", errors="replace"))
    return name, None if flags is None else tuple(key for key, known in INSTRUCTION_SETS.items() if known & flags)


def worker_threads() -> int:
    """Threads for work on independent items, such as decoding images, at least 1.

    The smallest of: the logical processors of the affinity; the CPU quota, rounded up (with 1.5 CPUs two threads do
    1.5 times the work of one, half a CPU is one thread); OMP_NUM_THREADS, which can lower the number but not raise it.
    """
    return _limited(len(_affinity()))


def engine_threads() -> int:
    """Threads for one matrix product, at least 1: as `worker_threads`, but no more than there are physical cores.

    The two hardware threads of a core share its arithmetic units.
    """
    return _limited(available_cores())


def available_cores() -> int:
    """The physical cores of the affinity, which is `engine_threads` without any other limit."""
    return physical_cores(_affinity(), TOPOLOGY)


def _limited(cores: int) -> int:
    quota = cpu_quota()
    limits = (cores, None if quota is None else math.ceil(quota), asked_threads(_omp_num_threads()))
    return max(1, min(limit for limit in limits if limit is not None))


def _affinity() -> frozenset[int]:
    with contextlib.suppress(AttributeError, OSError):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def physical_cores(processors: Iterable[int], topology: Path) -> int:
    """How many cores these logical processors are on; each counts as one if Linux's `topology` does not say."""
    cores = set()
    for processor in processors:
        try:
            cores.add((topology / f"cpu{processor}" / "topology" / "thread_siblings_list").read_text().strip())
        except (OSError, ValueError):
            cores.add(str(processor))
    return len(cores)


def asked_threads(value: str | None) -> int | None:
    """The number in OMP_NUM_THREADS, the first of a list (nested regions); None for values that OpenMP ignores too."""
    first = (value or "").partition(",")[0].strip()
    # Python refuses to parse numbers of thousands of digits, which would not limit anything.
    return int(first) or None if first.isascii() and first.isdigit() and len(first) < 10 else None


def _omp_num_threads() -> str | None:
    value = os.environ.get(OMP_NUM_THREADS)
    # Paddle sets it to 1 when it is imported, unless the user has set it.
    if value == "1" and "paddle" in sys.modules:
        with contextlib.suppress(OSError):
            started_with = ENVIRON.read_bytes().split(b"\0")
            return value if any(each.startswith(OMP_NUM_THREADS.encode() + b"=") for each in started_with) else None
    return value


def cpu_quota() -> float | None:
    """The CPUs that the control groups of this process grant it, read now; None without a quota. Never raises."""
    try:
        return quota_of(*(path.read_text(encoding="utf-8", errors="replace") for path in (CGROUP, MOUNTINFO)))
    except OSError:
        return None


def quota_of(cgroup: str, mountinfo: str) -> float | None:
    """The CPU quota of a process from the texts of its /proc/self/cgroup and /proc/self/mountinfo; None without one.

    Handles cgroup v1 and v2. It is the smallest quota on the path from the process's group to the root of the mount, as
    each limits everything below it. In a container the mount shows only a part of the tree (proc(5), cgroups(7)).
    """
    found = [quota for folder, read in _groups(cgroup, mountinfo) if (quota := read(folder)) is not None]
    return min(found, default=None)


def _groups(cgroup: str, mountinfo: str) -> Iterator[tuple[Path, Callable[[Path], float | None]]]:
    """Every folder that may hold a quota for this process, with the function that reads it."""
    for line in cgroup.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        unified = number == "0" and not controllers
        if not unified and "cpu" not in controllers.split(","):
            continue
        for root, mount in _mounts(mountinfo, unified):
            with contextlib.suppress(ValueError):
                below = PurePosixPath(group).relative_to(root)
                if ".." not in below.parts:
                    for folder in (mount / below, *(mount / parent for parent in below.parents)):
                        yield folder, _quota_v2 if unified else _quota_v1
                    continue
            # The group is outside the mounted tree; then the mount's root is what the container sees of it.
            yield mount, _quota_v2 if unified else _quota_v1


def _mounts(mountinfo: str, unified: bool) -> Iterator[tuple[PurePosixPath, Path]]:
    """The part of the tree that is mounted, and where, for each mount of cgroup v2, or of v1's controller `cpu`."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2" if unified else kind[0] == "cgroup" and "cpu" in kind[2].split(","):
            # A space in a path is written \040.
            root, mount = (re.sub(r"\\([0-7]{3})", lambda o: chr(int(o[1], 8)), each) for each in fields[3:5])
            yield PurePosixPath(root), Path(mount)


def _quota_v2(folder: Path) -> float | None:
    limit, period = (*_words(folder / "cpu.max"), "", "")[:2]
    return _share(limit, period)


def _quota_v1(folder: Path) -> float | None:
    quota, period = (next(_words(folder / f"cpu.cfs_{name}_us"), "") for name in ("quota", "period"))
    return _share(quota, period)


def _words(file: Path) -> Iterator[str]:
    try:
        yield from file.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return


def _share(quota: str, period: str) -> float | None:
    """Microseconds per period as CPUs; None for `max`, -1 and anything else that is not a quota."""
    try:
        microseconds, per = int(quota), int(period)
    except ValueError:
        return None
    return microseconds / per if microseconds > 0 and per > 0 else None


def _from_cpuinfo(text: str) -> tuple[str, set[str] | None]:
    values: dict[str, str] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip().lower(), value.strip())
    flags = values.get("flags", values.get("features"))
    return values.get("model name", ""), None if flags is None else set(flags.lower().split())


def _from_sysctl() -> tuple[str, set[str] | None]:
    name = _sysctl("-n", "machdep.cpu.brand_string").strip()
    # Intel: lists of names. Apple: one line per feature, 'hw.optional.arm.FEAT_BF16: 1'.
    lists = _sysctl("-n", "machdep.cpu.features") + " " + _sysctl("-n", "machdep.cpu.leaf7_features")
    flags = set(lists.lower().split())
    for line in _sysctl("hw.optional").splitlines():
        key, _, value = line.partition(":")
        if value.strip() == "1":
            flags.add(key.rpartition(".")[2].lower())
    return name, flags or None


def _sysctl(*arguments: str) -> str:
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            ["/usr/sbin/sysctl", *arguments], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    return ""


def implied_precisions(sets: Iterable[str]) -> tuple[str, ...]:
    """The precisions that these instruction sets make faster than fp32, fastest last."""
    have = set(sets)
    return tuple(name for name, precision in PRECISIONS.items() if have & precision.instruction_sets)
