"""`onnxzoo doctor`: what works is proved, what does not is named with its cure, nothing that is broken breaks it."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from onnxzoo import cpu as processor
from onnxzoo import doctor, doctor_children
from onnxzoo.cli.doctor import _lines
from onnxzoo.cpu import Cpu, cpu, implied_precisions
from onnxzoo.doctor import EngineCheck
from onnxzoo.doctor_children import Children
from onnxzoo.packages import ONNXRUNTIME_PACKAGES, installed_versions


def run_doctor(*options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "onnxzoo", "doctor", *options]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that child processes search for packages before any other."""
    folder = tmp_path / "fakes"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return folder


def fake_package(folder: Path, name: str, version: str | None) -> None:
    info = folder / f"{name.replace('-', '_')}-{version or 0}.dist-info"
    info.mkdir()
    text = f"Metadata-Version: 2.1\nName: {name}\n" + (f"Version: {version}\n" if version else "")
    (info / "METADATA").write_text(text, encoding="utf-8")


@pytest.mark.slow
def test_a_working_machine():
    for name in ("openvino", "onnxruntime"):
        pytest.importorskip(name)
    done = run_doctor("--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["works"], document["hub"]) == (0, True, None)
    engines = {engine["name"]: engine for engine in document["engines"]}
    assert list(engines) == ["openvino", "onnxruntime", "cuda", "tensorrt", "tensorrt-rtx"]
    for name in ("openvino", "onnxruntime"):
        assert engines[name]["works"] is True
        assert engines[name]["device"] == "CPU"
        assert 0 < engines[name]["max_difference"] < 1e-4
        assert engines[name]["version"][0].isdigit()
    assert document["auto"]["works"] is True
    assert document["auto"]["reason"].startswith("auto: the first of")
    assert [device["name"] for device in document["openvino_devices"]][:1] == ["CPU"]
    packages = {package["name"]: package["version"] for package in document["packages"]}
    assert packages["openvino"] == document["auto"]["version"]
    assert {Path(folder["path"]).name for folder in document["caches"]} == {"models", "checkpoints", "engines"}
    assert not any(folder["exists"] for folder in document["caches"])  # trying the engines left nothing behind


@pytest.mark.slow
def test_everything_broken_at_once(fakes, tmp_path):
    (fakes / "openvino.py").write_text("raise RuntimeError('no\\nluck')\n", encoding="utf-8")
    crash = "import ctypes\nctypes.string_at(0)\n"
    (fakes / "onnxruntime.py").write_text(crash, encoding="utf-8")
    fake_package(fakes, "onnxruntime", "1.31.1")
    fake_package(fakes, "onnxruntime-gpu", "1.31.0")
    fake_package(fakes, "tensorrt-cu13", None)
    in_the_way = tmp_path / "cache"
    in_the_way.mkdir()
    (in_the_way / "engines").write_text("a file", encoding="utf-8")
    variables = {"ONNXZOO_CACHE": str(in_the_way), "HF_TOKEN": "hf_secret", "ONNXZOO_ENGINE": "openvino,onnxruntime"}
    done = run_doctor(**variables)
    assert (done.returncode, done.stderr) == (3, "")
    lines = done.stdout.splitlines()
    assert lines[1] == (
        "FAULT     onnxruntime 1.31.1 and onnxruntime-gpu 1.31.0 are installed together and overwrite each other's "
        "files, whichever came last: pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxzoo[gpu]'"
    )
    assert lines[2].startswith(
        "FAULT     tensorrt-cu13: its metadata cannot be read (it names no version); pip install"
    )
    verdicts = {line.split()[0]: line for line in lines[lines.index("") + 1 :]}
    assert verdicts["openvino"] == (
        "openvino      no: openvino is installed but cannot be imported (no luck); reinstall it: pip install openvino"
    )
    assert "no: it crashed (SIGSEGV)" in verdicts["onnxruntime"] or sys.platform == "win32"
    for name in ("cuda", "tensorrt", "tensorrt-rtx", "auto"):
        assert "  no: " in verdicts[name]
    assert any(line.startswith("OpenVINO") and "cannot be imported" in line for line in lines)
    assert any("engines: 0 files, 0.0 MiB" in line and "Not a directory" in line for line in lines)
    assert "ONNXZOO_ENGINE=openvino,onnxruntime" in done.stdout
    assert "hf_secret" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("code", ["raise ImportError('numpy.core failed')", "import os; os._exit(9)"])
def test_without_a_working_numpy(fakes, code):
    (fakes / "numpy.py").write_text(code + "\n", encoding="utf-8")
    done = run_doctor("--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["works"]) == (3, False)
    cause = "numpy.core failed" if "raise" in code else "ended with exit code 9"
    assert all(cause in engine["reason"] for engine in document["engines"])
    assert cause in document["openvino_fault"]
    assert document["cpu"]["cores"] >= 1


@pytest.mark.slow
def test_an_engine_that_hangs_is_ended(fakes):
    (fakes / "onnxruntime.py").write_text(
        "print('loading', flush=True)\nimport time\ntime.sleep(100)\n", encoding="utf-8"
    )
    check = doctor._check_engine(Children(), "onnxruntime", 3)
    assert (check.works, check.reason) == (False, "it hung: no answer in 3 s, and was ended: ...loading")


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_ends_the_children_and_says_so_in_one_line(fakes, tmp_path):
    """Whatever the children do: these ignore the signal, as a library that is being loaded does."""
    started = tmp_path / "started"
    (fakes / "numpy.py").write_text(
        "import os, pathlib, signal, time\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"pathlib.Path({str(started)!r}, str(os.getpid())).parent.mkdir(exist_ok=True)\n"
        f"pathlib.Path({str(started)!r}, str(os.getpid())).touch()\n"
        "time.sleep(100)\n",
        encoding="utf-8",
    )
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "onnxzoo", "doctor"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
        start_new_session=True,
    ) as running:  # fmt: skip
        while not started.is_dir() or len(list(started.iterdir())) < 2:
            assert running.poll() is None
            time.sleep(0.01)
        asked = time.monotonic()
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does
        out, err = running.communicate(timeout=60)
        seconds = time.monotonic() - asked
    assert (running.returncode, out, err.strip()) == (130, "", "onnxzoo: interrupted")
    # Far from the 100 s of the children, and the least that says more than a slow machine.
    assert seconds < 10
    for child in started.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(child.name), 0)
    assert not list(tmp_path.glob("onnxzoo-doctor-*"))


def test_leaving_the_block_ends_the_children_and_starts_no_more(fakes):
    (fakes / "numpy.py").write_text("import time\ntime.sleep(100)\n", encoding="utf-8")
    answers: list[doctor_children.Answer] = []
    with Children() as children:
        asking = threading.Thread(target=lambda: answers.append(children.ask("cuda", 60, "engine")))
        asking.start()
        while not children._running:
            time.sleep(0.01)
    asking.join()
    assert answers == [({}, "it crashed (SIGKILL)")]
    assert children.ask("cuda", 60, "engine") == ({}, "the check was not made: the diagnosis was interrupted")


def test_a_child_that_answers_nonsense(fakes):
    (fakes / "numpy.py").write_text(
        "import sys\nopen(sys.argv[1], 'w').write('{\"works\": true')\nimport os\nos._exit(0)\n", encoding="utf-8"
    )
    check = doctor._check_engine(Children(), "onnxruntime", 30)
    assert not check.works
    assert "the check could not be made" in check.reason


def test_wrong_answers_are_found(monkeypatch, tmp_path):
    """An engine that computes something else does not work, however well it starts."""
    pytest.importorskip("onnxruntime")
    script = (
        "import onnxzoo.doctor_probe as p, onnxzoo.model as m, json\n"
        "right = m.Model.logits\n"
        "m.Model.logits = lambda self, batch: right(self, batch) + 0.01\n"
        "print(json.dumps(p.engine('onnxruntime')))\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True, timeout=60)
    answer = json.loads(done.stdout)
    assert answer["works"] is False
    assert answer["reason"] == "its answers are wrong, by up to 0.01; do not use it"


# The processor


def test_x86_flags():
    text = "processor: 0\nmodel name\t: A CPU\nflags\t\t: fpu avx2 avx512f avx512_bf16 amx_tile amx_bf16 amx_int8\n"
    name, flags = processor._from_cpuinfo(text)
    assert name == "A CPU"
    assert flags is not None
    assert {"avx2", "avx512_bf16"} <= flags
    assert implied_precisions(["avx512", "avx512_bf16", "amx_int8"]) == ("bf16", "int8")
    assert implied_precisions(["avx2"]) == ()


def test_arm_features(monkeypatch, tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nFeatures : fp asimd asimdhp asimddp bf16 i8mm sve\n", encoding="utf-8")
    monkeypatch.setattr(processor, "CPUINFO", info)
    monkeypatch.setattr(sys, "platform", "linux")
    processor._description.cache_clear()
    try:
        found = cpu()
    finally:
        processor._description.cache_clear()
    assert found.instruction_sets == ("neon", "fp16", "dotprod", "bf16", "i8mm", "sve")
    assert implied_precisions(found.instruction_sets) == ("fp16", "bf16", "int8")


def test_a_mac(monkeypatch):
    answers = {
        "machdep.cpu.brand_string": "Apple M9\n",
        "hw.optional": "hw.optional.arm.FEAT_BF16: 1\nhw.optional.AdvSIMD: 1\nhw.optional.arm.FEAT_SVE: 0\n",
    }
    monkeypatch.setattr(processor, "_sysctl", lambda *arguments: answers.get(arguments[-1], ""))
    monkeypatch.setattr(sys, "platform", "darwin")
    processor._description.cache_clear()
    try:
        found = cpu()
    finally:
        processor._description.cache_clear()
    assert found.name == "Apple M9"
    assert found.instruction_sets == ("neon", "bf16")


def test_without_proc_nothing_is_known_and_that_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "nowhere")
    monkeypatch.setattr(sys, "platform", "linux")
    processor._description.cache_clear()
    try:
        found = cpu()
    finally:
        processor._description.cache_clear()
    assert isinstance(found, Cpu)
    assert found.instruction_sets is None
    assert found.name
    assert found.cores >= 1


# Folders and the Hub


def test_folders_are_counted(cache):
    (cache / "models" / "one").mkdir(parents=True)
    (cache / "models" / "one" / "model.onnx").write_bytes(b"x" * 3000)
    (cache / "models" / "dangling").symlink_to(cache / "nowhere")
    models, checkpoints, engines = doctor._caches()
    assert (models.exists, models.files, models.fault, models.writable) == (True, 2, None, True)
    assert 3000 <= models.bytes < 4000
    assert (checkpoints.exists, engines.exists) == (False, False)


@pytest.mark.slow
def test_no_place_for_a_cache_is_the_folders_fault():
    done = run_doctor("--json", ONNXZOO_CACHE="~no such user/x")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert [(each["path"], each["writable"]) for each in document["caches"]] == [
        ("models", False),
        ("checkpoints", False),
        ("engines", False),
    ]
    assert all("set ONNXZOO_CACHE to a folder of yours" in each["fault"] for each in document["caches"])


def test_a_file_in_the_place_of_the_cache_folder_is_said_in_one_line(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    monkeypatch.setenv("ONNXZOO_CACHE", str(tmp_path / "cache"))
    folders = doctor._caches()
    (fault,) = {each.fault for each in folders}
    assert fault == (
        f"the cache folder {tmp_path / 'cache'} cannot be made: {tmp_path / 'cache'} is not a folder; "
        "set ONNXZOO_CACHE to a folder of yours"
    )
    assert [each.path for each in folders] == [str(tmp_path / "cache" / each.name) for each in folders]
    assert not any(each.writable or each.exists for each in folders)
    monkeypatch.setattr(doctor, "_check_engine", lambda _children, name, _limit: EngineCheck(name, False, "not tried"))
    monkeypatch.setattr(doctor.Children, "ask", lambda *_: ({}, None))
    lines = [line for line in _lines(doctor.diagnose()) if line.startswith("cache ")]
    assert lines == [f"cache     {fault}"]


def test_a_machine_without_a_temporary_folder(monkeypatch):
    def refuse() -> Any:
        raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(tempfile, "gettempdir", refuse)
    found = doctor.diagnose()
    assert not found.works
    assert {engine.reason for engine in (*found.engines, found.auto)} == {
        "the check could not be made: [Errno 2] No usable temporary directory found in ['/tmp']"
    }


def test_a_folder_that_cannot_be_read_is_said(cache, monkeypatch):
    (cache / "models").mkdir()

    def refuse(path: Any, **_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    models = doctor._folder("models", cache / "models")
    assert models.fault is not None
    assert "Permission denied" in models.fault


@pytest.mark.slow
def test_the_hub_is_asked_only_on_demand(monkeypatch):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.setenv("no_proxy", "*")
    assert doctor._hub().startswith(f"{endpoint} answers (200, ")
    server.shutdown()
    server.server_close()
    assert f"{endpoint} cannot be reached: " in doctor._hub()
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert "nonsense cannot be reached: unknown url type" in doctor._hub()


def test_passwords_and_variables_of_our_own_are_not_shown(monkeypatch):
    monkeypatch.setattr(doctor.Children, "ask", lambda *_: ({}, "not asked"))
    monkeypatch.setenv("HF_ENDPOINT", "http://me:p@ss@127.0.0.1:9/models")
    monkeypatch.setenv("HF_HUB_VERBOSITY", "error")
    monkeypatch.setenv("no_proxy", "*")
    found = doctor.diagnose(hub=True, not_the_users={"HF_HUB_VERBOSITY"})
    assert found.environment["HF_ENDPOINT"] == "http://127.0.0.1:9/models"
    assert "HF_HUB_VERBOSITY" not in found.environment
    assert found.hub is not None
    assert found.hub.startswith("http://127.0.0.1:9/models cannot be reached: ")
    assert "ss@" not in found.hub
    assert doctor.diagnose().environment["HF_HUB_VERBOSITY"] == "error"


@pytest.mark.parametrize("users", [None, "debug"])
def test_a_variable_is_listed_if_the_user_set_it(monkeypatch, users):
    monkeypatch.delenv("HF_HUB_VERBOSITY", raising=False)
    script = (
        "import sys; from onnxzoo import doctor; doctor.Children.ask = lambda *_: ({}, 'not asked'); "
        "from onnxzoo.cli import main; sys.argv = ['onnxzoo', 'doctor', '--json']; main()"
    )
    environment = {**os.environ, **({} if users is None else {"HF_HUB_VERBOSITY": users})}
    done = subprocess.run(
        [sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["environment"].get("HF_HUB_VERBOSITY") == users


def test_auto_is_tried_with_what_the_user_built_and_the_others_without(monkeypatch, cache):
    asked: dict[str, str] = {}

    def record(command: list[str], *, env: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
        asked[command[-1]] = env["ONNXZOO_CACHE"]
        return popen([sys.executable, "-S", "-c", ""], **options)

    popen = subprocess.Popen
    monkeypatch.setattr(doctor_children.subprocess, "Popen", record)
    doctor.diagnose()
    assert asked.pop("auto") == str(cache)
    assert {"openvino", "tensorrt", "cuda"} <= asked.keys()
    assert str(cache) not in asked.values()


def test_the_names_that_cannot_be_imported_there_are_the_same():
    """doctor.py repeats them, because importing the engines takes numpy, which may be what is broken."""
    from onnxzoo.engines import AUTO, ENGINES

    assert set(doctor.ENGINES) == set(ENGINES)
    assert doctor.AUTO == AUTO


def test_packages_that_overwrite_each_other_are_listed_and_found(monkeypatch):
    assert set(ONNXRUNTIME_PACKAGES) <= set(doctor.PACKAGES)
    versions = {"onnxruntime": "1.31.1", "onnxruntime-qnn": "1.31.0"}

    def version(name):
        if name not in versions:
            raise metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(metadata, "version", version)
    assert installed_versions(ONNXRUNTIME_PACKAGES) == versions
