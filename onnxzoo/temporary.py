"""Temporary files and folders, locked by the process that writes them so that leftovers of killed ones are recognised.

    .NAME.<12 hex digits>.tmp   next to NAME: a file or folder that replaces NAME when it is complete
    .NAME.<12 hex digits>.old   next to NAME: a folder that is being replaced, where names cannot be exchanged
    onnxzoo-KIND-<12 hex digits> in the system's temporary folder: working folders

The lock is the operating system's (`flock`) and is released when the process ends, however it ends. Where locks are not
available (Windows, some network file systems), nothing is considered abandoned and nothing is removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SCRATCH_PREFIX = "onnxzoo-"
PATIENCE_S = 10.0
"""How long to wait for another process that renames in the same folder (it takes milliseconds) before going ahead."""

_DIGITS = r"[0-9a-f]{12}"
_BESIDE = re.compile(rf"\.(.+)\.{_DIGITS}\.(tmp|old)")
_SCRATCH = re.compile(rf"{SCRATCH_PREFIX}[a-z]+-{_DIGITS}")
_CANNOT_EXCHANGE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # linux/fcntl.h, linux/fs.h


def beside(path: Path, suffix: str) -> Path:
    """A new hidden name in the folder of `path`, and so on the same file system, where a rename is atomic.

    `tempfile` is not used because its files are private to the user, and the umask that the final file should get
    can only be read by changing it for the whole process, including all threads.
    """
    return path.with_name(f".{path.name}.{secrets.token_hex(6)}.{suffix}")


@contextlib.contextmanager
def held_file(path: Path) -> Iterator[Path]:
    """Create an empty file under a new name next to `path`, locked until the block ends, even if it is renamed.

    It is removed if the block raises, and the block must rename it otherwise.
    """

    def make(temporary: Path) -> None:
        temporary.touch(exist_ok=False)

    with _held(lambda: beside(path, "tmp"), make) as temporary:
        yield temporary


@contextlib.contextmanager
def held_folder(path: Path) -> Iterator[Path]:
    """Like `held_file`, for an empty folder."""
    with _held(lambda: beside(path, "tmp"), Path.mkdir) as temporary:
        yield temporary


@contextlib.contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """A working folder that only this user can read, removed when the block ends; `kind`: lower-case letters.

    First removes the working folders of any kind that killed processes of this user left behind.
    """
    for leftover in abandoned_scratch():
        remove(leftover)
    root = Path(tempfile.gettempdir())

    def name() -> Path:
        return root / f"{SCRATCH_PREFIX}{kind}-{secrets.token_hex(6)}"

    with _held(name, lambda folder: folder.mkdir(0o700)) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def abandoned(folder: Path, name: str | None = None) -> list[Path]:
    """Leftovers of killed processes in `folder`, sorted: those for `name`, or all if it is None."""
    found = _matching(folder, _BESIDE)
    if name is not None:
        found = [path for path in found if _BESIDE.fullmatch(path.name)[1] == name]  # type: ignore[index]
    return [path for path in found if _is_abandoned(path)]


def is_temporary(path: Path) -> bool:
    """Whether a file or folder has a temporary name created by this module."""
    return _BESIDE.fullmatch(path.name) is not None


def abandoned_scratch() -> list[Path]:
    """Working folders left behind by killed processes of this user, sorted."""
    try:
        found = _matching(Path(tempfile.gettempdir()), _SCRATCH)
    except OSError:  # there is no folder for temporary files
        return []
    return [path for path in found if _is_abandoned(path) and _is_own(path)]


def remove(leftover: Path) -> None:
    """Remove a leftover found by `abandoned` unless it is locked; a folder that was moved away is moved back instead.

    A process that dies between two renames leaves that state. What cannot be removed is left in place.
    """
    named = _BESIDE.fullmatch(leftover.name)
    with alone(leftover.parent) if named else contextlib.nullcontext(), _locked(leftover) as is_free:
        if not is_free:
            return
        if named and named[2] == "old" and not os.path.lexists(target := leftover.with_name(named[1])):
            with contextlib.suppress(OSError):
                os.rename(leftover, target)  # noqa: PTH104 - as os.replace elsewhere
        else:
            _discard(leftover)


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two existing paths in one step; False if the system or the file system does not support it."""
    if sys.platform != "linux":
        return False
    import ctypes  # rarely needed

    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT_EXCHANGE:
        return False
    raise OSError(code, os.strerror(code), str(other))


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let only one thread of one process rename in `folder`; goes ahead after PATIENCE_S, or if it cannot be locked."""
    descriptor = _open(folder)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while descriptor is not None and _lock(descriptor) is False and time.monotonic() < deadline:
            time.sleep(0.002)
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def sole_user(path: Path) -> Iterator[bool]:
    """Whether no other process or thread is in a block of this function with `path`, a file that is created if missing.

    The block may remove the file; the next one creates it again. True also where locks are not available. `filelock`
    is not used because older versions of it hold a lock on a file that was removed while they waited.
    """
    descriptor = None
    try:
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
            free = fcntl is None or _lock(descriptor) is not False
            if not free or _is_still(path, descriptor):
                break
            os.close(descriptor)
            descriptor = None
        yield free
    finally:
        if descriptor is not None:
            os.close(descriptor)


@contextlib.contextmanager
def _held(name: Callable[[], Path], make: Callable[[Path], object]) -> Iterator[Path]:
    """What `make` creates at a path that `name` returns, locked; it is removed if the block raises.

    It is created again if a sweep removed it before it was locked. The path is known before it exists, so that an
    interrupt right after it was created does not leave it behind.
    """
    path = descriptor = None
    try:
        while True:
            path = name()
            make(path)
            descriptor = _open(path)
            if descriptor is not None:
                while _lock(descriptor) is False:
                    time.sleep(0.002)
            if os.path.lexists(path) if descriptor is None else _is_still(path, descriptor):
                break
            if descriptor is not None:
                os.close(descriptor)
                descriptor = None
        yield path
    except BaseException:
        if path is not None:
            _discard(path)
        raise
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _discard(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file or folder: True if locked now, False if another holds it, None if locks are not supported."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _open(path: Path) -> int | None:
    """A descriptor to lock; None if the path cannot be opened or locks are not supported."""
    if fcntl is None:
        return None
    try:
        # NFS only locks files that are open for writing, so folders cannot be locked there.
        return os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    except OSError:
        return None


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except OSError:
        return False


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether nobody else holds `path`; it is locked while the block runs."""
    descriptor = None if path.is_symlink() else _open(path)
    try:
        yield descriptor is not None and _lock(descriptor) is True and _is_still(path, descriptor)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _is_abandoned(path: Path) -> bool:
    with _locked(path) as is_free:
        return is_free


def _is_own(path: Path) -> bool:
    try:
        return path.lstat().st_uid == os.getuid()
    except OSError:
        return False


def _matching(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if pattern.fullmatch(path.name))
    except OSError:
        return []
