"""NVIDIA's driver and libraries: found, asked and reported, with libraries compiled for the test in their place."""

from __future__ import annotations

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from stub_libraries import compiled, stub_driver

from onnxzoo.engines import nvidia, nvidia_loading
from onnxzoo.errors import EngineUnavailableError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="shared libraries of Linux")


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A driver with two GPUs that runs CUDA 12.4, and the device files of both."""
    cuda, management = stub_driver(tmp_path)
    monkeypatch.setattr(nvidia, "DRIVER_LIBRARY", str(cuda))
    monkeypatch.setattr(nvidia, "MANAGEMENT_LIBRARY", str(management))
    monkeypatch.setattr(nvidia, "DEVICE_FOLDER", tmp_path / "dev")
    monkeypatch.setenv("FAKE_CUINIT", "0")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidia0").touch()
    return tmp_path


def test_a_gpu_is_described_in_cudas_words(driver):
    assert nvidia.driver_fault() is None
    second = nvidia.gpu(1)
    assert second == nvidia.Gpu(1, "NVIDIA Second", (8, 9), "550.54.14", (12, 4), bus=(0, 10, 0), of=2)
    assert second.device == "cuda:1 NVIDIA Second"
    assert nvidia.gpu().name == "NVIDIA First"
    with pytest.raises(EngineUnavailableError, match="there is no GPU 2: CUDA finds 2"):
        nvidia.gpu(2)


def test_a_process_forked_after_cuda_started_gets_an_explanation(driver):
    """In a process of its own: this one has threads and shall not be forked."""
    script = (
        "import os, sys; from pathlib import Path; from onnxzoo.engines import nvidia\n"
        "nvidia.DRIVER_LIBRARY, nvidia.MANAGEMENT_LIBRARY, nvidia.DEVICE_FOLDER = *sys.argv[1:3], Path(sys.argv[3])\n"
        "def child():\n"
        "    sys.stdout.flush()\n"
        "    if (number := os.fork()): return os.waitpid(number, 0)\n"
        "    try: print(nvidia.gpu().name)\n"
        "    except Exception as error: print(type(error).__name__, error)\n"
        "    sys.stdout.flush(); os._exit(0)\n"
        "child(); os.environ['FAKE_CUINIT'] = '100'\n"
        "try: nvidia.gpu()\n"
        "except Exception: os.environ['FAKE_CUINIT'] = '0'\n"
        "child(); nvidia.gpu(); child(); print(nvidia.gpu().name, os.getpid())"
    )
    arguments = [nvidia.DRIVER_LIBRARY, nvidia.MANAGEMENT_LIBRARY, str(nvidia.DEVICE_FOLDER)]
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments], capture_output=True, text=True, check=True, timeout=60
    )
    before, after_failure, after_start, parent = done.stdout.splitlines()
    assert before == after_failure == "NVIDIA First", "a start that failed, or was in a child, is none"
    name, _, number = parent.rpartition(" ")
    assert name == "NVIDIA First"
    assert re.fullmatch(
        rf"EngineUnavailableError CUDA does not work here: this process \(\d+\) was forked from one that had started "
        rf"CUDA \({number}\); use the start method 'spawn': .*",
        after_start,
    )


def test_a_driver_that_does_not_tell_its_version_goes_by_that_of_cuda(driver, monkeypatch):
    monkeypatch.setattr(nvidia, "MANAGEMENT_LIBRARY", "no-such-library.so")
    assert nvidia.gpu().driver == "of CUDA 12.4"


def test_what_cuda_says_when_it_does_not_start_is_passed_on(driver, monkeypatch):
    monkeypatch.setenv("FAKE_CUINIT", "100")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(EngineUnavailableError, match=r"no CUDA-capable device is detected \(error 100\) .*DEVICES='7'"):
        nvidia.gpu()


def test_an_old_driver_is_refused_with_the_one_that_is_needed(driver):
    nvidia.check_driver(nvidia.gpu(), 12)
    with pytest.raises(EngineUnavailableError, match=r"550\.54\.14 is too old: it runs CUDA up to 12\.4.*580 or newer"):
        nvidia.check_driver(nvidia.gpu(), 13)
    with pytest.raises(EngineUnavailableError, match="install driver of that version or newer"):
        nvidia.check_driver(nvidia.gpu(), 14)


def test_no_device_and_no_driver_library_are_distinguished(driver, monkeypatch):
    monkeypatch.setattr(nvidia, "DRIVER_LIBRARY", "libno-such-driver.so.1")
    assert nvidia.driver_fault() == (
        "no NVIDIA driver (its library did not load: libno-such-driver.so.1: cannot open shared object file: No such "
        "file or directory)"
    )
    (driver / "dev" / "nvidia0").unlink()
    assert nvidia.driver_fault() == f"no NVIDIA driver (there is no {driver}/dev/nvidia0)"
    with pytest.raises(
        EngineUnavailableError, match=r"cuda cannot run here: no NVIDIA driver .*; install NVIDIA's driver"
    ):
        nvidia.require_driver("cuda")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of Python packages like NVIDIA's: nvidia/*/lib and tensorrt_libs."""
    folder = tmp_path / "site"
    compiled("int here(void) { return 1; }", folder / "nvidia" / "cu13" / "lib" / "libonnxzootest.so.13")
    libs = folder / "tensorrt_libs"
    compiled("int getInferLibVersion(void) { return 101302; }", libs / "libonnxzooinfer.so.11")
    (libs / "__init__.py").write_text("")
    (libs / "libonnxzooinfer.so.11.0.3").touch()
    (libs / "libonnxzoobroken.so.10").write_bytes(b"no library")
    monkeypatch.syspath_prepend(folder)
    return folder


def test_libraries_of_python_packages_are_loaded_and_the_rest_is_named_with_the_systems_message(packages):
    missing = nvidia_loading.missing(["libonnxzootest.so.13", "libonnxzooabsent.so.1", "libonnxzoobroken.so.10"])
    assert list(missing) == ["libonnxzooabsent.so.1", "libonnxzoobroken.so.10"]
    assert "libonnxzooabsent.so.1: cannot open shared object file" in missing["libonnxzooabsent.so.1"]
    assert "libonnxzoobroken.so.10: file too short" in missing["libonnxzoobroken.so.10"]
    assert "libonnxzootest.so.13" in Path("/proc/self/maps").read_text()


def test_another_major_version_is_seen_and_a_version_is_read(packages):
    assert nvidia_loading.other_versions("libonnxzooinfer") == ["libonnxzooinfer.so.11"]
    assert nvidia_loading.tensorrt_version(str(packages / "tensorrt_libs" / "libonnxzooinfer.so.11")) == "10.13.2"


def test_libraries_of_cuda_follow_its_major_version():
    assert nvidia_loading.cuda_libraries(12)[0] == "libcudart.so.12"
    assert nvidia_loading.optional_libraries(13) == ("libnvJitLink.so.13", "libnvrtc.so.13", "libcufft.so.12")
    assert {"libcublasLt.so.13", "libcublas.so.13", "libcurand.so.10", "libcudnn.so.9"} < set(
        nvidia_loading.cuda_libraries(13)
    )


@pytest.mark.parametrize("name", ["libcublas.so.13", "libcudnn.so.9", "libnvinfer.so.10", "libtensorrt_rtx.so.1.7.1"])
def test_tf32_cannot_be_turned_off_once_cuda_is_loaded(tmp_path, monkeypatch, name):
    """TensorRT-RTX loads neither cuBLAS nor cuDNN."""
    monkeypatch.delenv(nvidia.TF32_VARIABLE, raising=False)
    library = compiled("int here(void) { return 1; }", tmp_path / name)
    script = (
        "import ctypes, os, sys; from onnxzoo.engines import nvidia\n"
        "nvidia.forbid_tf32('tensorrt'); print(os.environ['NVIDIA_TF32_OVERRIDE'])\n"
        "del os.environ['NVIDIA_TF32_OVERRIDE']; ctypes.CDLL(sys.argv[1]); print(nvidia.cuda_is_loaded())\n"
        "try: nvidia.forbid_tf32('tensorrt')\n"
        "except Exception as error: print(error)\n"
    )
    environment = {key: value for key, value in os.environ.items() if key != nvidia.TF32_VARIABLE}
    output = subprocess.run(
        [sys.executable, "-P", "-c", script, str(library)], capture_output=True, text=True, check=True, env=environment
    ).stdout.splitlines()
    assert output[:2] == ["0", name]
    assert output[2].startswith(f"tensorrt cannot promise exact fp32: {name} was loaded before, too late to turn")


@pytest.mark.parametrize(
    ("text", "bus"),
    [
        ("0000:65:00.0", (0, 0x65, 0)),
        ("00000000:0A:1F.0", (0, 10, 31)),
        ("0001:0a:00", (1, 10, 0)),
        ("65:00.0", (0, 0x65, 0)),
        ("", None),
        ("GPU-65", None),
    ],
)
def test_a_pci_bus_id_is_the_same_in_every_spelling(text, bus):
    assert nvidia.pci_bus(text) == bus


def loaded(folder: Path) -> set[str]:
    """The libraries of this folder that are in this process."""
    return {
        Path(path).name for path in re.findall(rf"{re.escape(str(folder))}/\S+", Path("/proc/self/maps").read_text())
    }


def test_a_library_that_a_package_carries_is_loaded_once(tmp_path):
    name = "libonnxzoocarried.so.13"
    soname = [f"-Wl,-soname,{name}"]
    first, second = (tmp_path / side / f"{name}.4.36" for side in ("first", "second"))
    for path in (first, second):
        compiled("int here(void) { return 1; }", path, flags=soname)
    assert nvidia_loading.load_carried(first.parent / "libplugin.so", name) is None
    assert loaded(first.parent) == {first.name}
    assert nvidia_loading.load_carried(second.parent / "libplugin.so", name) is None
    assert loaded(second.parent) == set(), "one of that name is in the process"
    message = nvidia_loading.load_carried(tmp_path / "libplugin.so", "libonnxzoogone.so.13")
    assert message == "libonnxzoogone.so.13: cannot open shared object file: No such file or directory"
    (tmp_path / "libonnxzoocut.so.13.1").write_bytes(b"no library")
    message = nvidia_loading.load_carried(tmp_path / "libplugin.so", "libonnxzoocut.so.13")
    assert message is not None
    assert message.endswith("libonnxzoocut.so.13.1: file too short")


def test_every_library_of_tensorrts_package_is_loaded(tmp_path, monkeypatch):
    """The builder opens its resources by name, and nothing tells the system where they are."""
    folder = tmp_path / "onnxzoo_test_libs"
    for name in ("libnvinfer.so.10", "libnvinfer_builder_resource.so.10.13.2", "libnvinfer_builder_resource.so.11.1"):
        compiled("int here(void) { return 1; }", folder / name)
    (folder / "libnvinfer_broken.so.10").write_bytes(b"no library")
    monkeypatch.syspath_prepend(tmp_path)
    nvidia_loading.load_all("onnxzoo_test_libs", 10)
    assert loaded(folder) == {"libnvinfer.so.10", "libnvinfer_builder_resource.so.10.13.2"}
    nvidia_loading.load_all("onnxzoo_no_such_package", 10)


def test_the_version_of_cudas_runtime_is_asked_for(tmp_path, monkeypatch):
    assert nvidia_loading.runtime_version(99) is None
    source = "int cudaRuntimeGetVersion(int *version) { *version = 98040; return 0; }"
    library = compiled(source, tmp_path / "libcudart.so.98", flags=["-Wl,-soname,libcudart.so.98"])
    ctypes.CDLL(str(library))
    assert nvidia_loading.runtime_version(98) == "98.4"


def test_the_version_of_cudnn_is_asked_for(tmp_path, monkeypatch):
    library = compiled("unsigned long cudnnGetVersion(void) { return 91002; }", tmp_path / "libcudnn.so.9")
    opened = ctypes.CDLL(str(library))
    monkeypatch.setattr(nvidia_loading.ctypes, "CDLL", lambda name: opened)
    assert nvidia_loading.cudnn_version() == "9.10.2"


def test_it_looks_at_this_machine_without_failing():
    fault = nvidia.driver_fault()
    assert fault is None or fault.startswith("no NVIDIA driver (")
    assert nvidia.driver_version() is None or nvidia.driver_version()[0].isdigit()  # type: ignore[index]
    if fault:
        with pytest.raises(EngineUnavailableError, match="no NVIDIA driver"):
            nvidia.gpu()
