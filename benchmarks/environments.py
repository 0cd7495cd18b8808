"""Results of `auto`, every engine by name and `onnxzoo doctor` in complete and in broken installations.

    python benchmarks/environments.py [NAME ...] [--folder DIR]

Makes a virtual environment per installation (needs the package index and 2 GB of disk in DIR; removed afterwards),
installs this checkout into it, and prints the results as Markdown. Names: those of ENVIRONMENTS, default all.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = "pvt_v2_nano_fashion"

# Name -> packages for consecutive `pip install` commands, then packages for one `pip uninstall`.
ENVIRONMENTS: dict[str, tuple[list[str], list[str]]] = {
    "base": ([], []),
    "base + onnxruntime": (["onnxruntime"], []),
    "base + onnxruntime-gpu": (["onnxruntime-gpu"], []),
    "broken: onnxruntime over onnxruntime-gpu": (["onnxruntime-gpu", "onnxruntime"], []),
    "broken: both, one removed": (["onnxruntime-gpu", "onnxruntime"], ["onnxruntime"]),
    "broken: no openvino": ([], ["openvino"]),
    "broken: no openvino, but onnxruntime": (["onnxruntime"], ["openvino"]),
}

SAY = """
import sys, time
import onnxzoo
from onnxzoo.engines import ENGINES
for name in ["auto", *ENGINES, *sys.argv[2:]]:
    started = time.perf_counter()
    try:
        with onnxzoo.load(sys.argv[1], engine=name) as model:
            info = model.engine
            said = f"{info.name} {info.version} on {info.device}, {info.precision}, nodes {info.nodes}; {info.reason}"
    except onnxzoo.OnnxzooError as error:
        said = f"{type(error).__name__} (exit code {error.exit_code}): {error}"
    print(f"{name} [{time.perf_counter() - started:.2f} s]: {said}")
"""


def main() -> int:
    """Parse the arguments, make the environments, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a key of ENVIRONMENTS; default all")
    parser.add_argument("--folder", type=Path, help="folder for the environments; default a temporary folder")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - ENVIRONMENTS.keys()
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(ENVIRONMENTS)}")
    print(f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores\n")
    for name in arguments.names or ENVIRONMENTS:
        with tempfile.TemporaryDirectory(prefix="onnxzoo-", dir=arguments.folder) as folder:
            show(name, Path(folder))
    return 0


def show(name: str, folder: Path) -> None:
    """Make one environment and print its results."""
    install, remove = ENVIRONMENTS[name]
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python")
    for packages in (str(ROOT), *install):
        run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", packages])
    if remove:
        run([python, "-m", "pip", "uninstall", "-q", "-y", *remove])
    environment = {**os.environ, "ONNXZOO_CACHE": str(folder / "cache")}
    print(f"## {name}\n\n```\n{output([python, '-P', '-c', SAY, MODEL, 'onnxruntime:dml'], environment)}```\n")
    print(
        f"`onnxzoo doctor`:\n\n```\n{output([python, '-P', '-m', 'onnxzoo', 'doctor'], environment)}```\n", flush=True
    )


def run(command: list[str]) -> None:
    """Run a command; if it fails, exit with its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")


def output(command: list[str], environment: dict[str, str]) -> str:
    """A command's stdout and stderr without the temporary folder's name, and its exit code if that is not 0."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, env=environment
    )
    text = done.stdout.replace(str(Path(command[0]).parents[2]), "...").replace(platform.platform(), platform.system())
    return text if done.returncode == 0 else f"{text}(exit code {done.returncode})\n"


if __name__ == "__main__":
    sys.exit(main())
