"""The fuzzer finds what it looks for; and a small run of it over every format, which `make fuzz` makes a large one."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random

import fuzz
import pytest
from fuzz_mutators import MOST_ADDED_BYTES, mutate_json, mutate_npz
from fuzz_onnx import mutate_graph
from fuzz_readers import FORMATS

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="reads /proc for the memory")

# What the second of four mutants becomes: (outcome, a part of what is said).
EXPECTED = {
    "crash": ("crash", "exit code -11"),
    "leave": ("crash", "exit code 0"),
    "draw badly": ("not tried", "KeyError"),
    "fill": ("memory", "MiB, and then: read"),
    "stumble": ("foreign exception", "KeyError"),
    "quit": ("foreign exception", "SystemExit"),
    "rattle": ("long message", "501 characters"),
    "ramble": ("message of several lines", "two"),
    "escape": ("message of several lines", "x1b"),
    "refuse": ("refused", ""),
    "accept": ("read", ""),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", EXPECTED)
def test_a_fault_is_found_and_the_others_go_on(kind: str) -> None:
    results = fuzz.chunk(kind, 0, 0, 4, readers="fuzz_faulty")
    outcome, said = EXPECTED[kind]
    again = outcome if outcome in ("crash", "not tried") else "read"  # a new process begins to count anew
    assert [one.token for one in results] == [f"{kind}:0:{number}" for number in range(4)]
    assert [one.outcome for one in results] == ["read", outcome, "read", again]
    assert said in results[1].detail
    assert results[1].is_fault == (kind not in ("refuse", "accept"))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "outcome"), [("hang", "hang"), ("draw for ever", "not tried")])
def test_a_hang_is_ended_and_told_from_the_rest(kind: str, outcome: str) -> None:
    results = fuzz.chunk(kind, 0, 0, 3, readers="fuzz_faulty", seconds=2)
    assert [one.outcome for one in results] == ["read", outcome, "read"]
    assert results[1].is_fault


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "said"), [("start never", "KeyError"), ("start for ever", "hang")])
def test_a_process_that_does_not_start_costs_its_chunk_and_no_more(kind: str, said: str, tmp_path: Path) -> None:
    seconds = 120.0 if kind == "start never" else 1.0
    results = fuzz.chunk(kind, 0, 5, 8, readers="fuzz_faulty", start_seconds=seconds)
    assert [one.token for one in results] == [f"{kind}:0:{number}" for number in (5, 6, 7)]
    assert {one.outcome for one in results} == {"not tried"}
    assert all(one.is_fault and "did not start" in one.detail and said in one.detail for one in results)
    assert "   3 x start " in fuzz.table(results)
    fuzz.keep(results, tmp_path / "kept", "fuzz_faulty")
    assert not (tmp_path / "kept").exists(), "nothing was tried that could be wrong"


def test_a_process_is_started_a_second_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FUZZ_FAULTY_STARTED", str(tmp_path / "started"))
    results = fuzz.chunk("start late", 0, 0, 3, readers="fuzz_faulty")
    assert [one.outcome for one in results] == ["read"] * 3
    assert (tmp_path / "started").exists()


def test_lists_of_lists_do_not_grow_without_bound() -> None:
    """This drawing took minutes: a list of labels repeated 2,000 times in a list that was repeated, too."""
    for number in range(200):
        assert len(mutate_json(b'{"a": [[["x", "y"], ["z"]], [["x"]]]}', Random(number))) < 8 * MOST_ADDED_BYTES


def test_a_damaged_archive_is_mutated_further() -> None:
    """Whatever the modules for its compression raise over it."""
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w", method) as archive:
            archive.writestr("inputs.npy", bytes(200))
        data = written.getvalue()
        for place in range(len(data)):
            changed = data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :]
            assert mutate_npz(changed, Random(1)) != b""


@pytest.mark.slow
def test_graphs_that_stay_well_formed_reach_the_engine(tmp_path: Path) -> None:
    """Else nothing but the loading would be tried."""
    onnx = pytest.importorskip("onnx", reason="makes the graphs")
    read = FORMATS["onnx-openvino"].reader(tmp_path)
    wholes = FORMATS["onnx-openvino"].wholes()
    mutants = [mutate_graph(wholes[number % 2], Random(number)) for number in range(40)]
    for data in mutants:
        onnx.ModelProto.FromString(data)
    assert sum(data not in wholes for data in mutants) >= 30
    outcomes = [fuzz.judged(read, data) for data in mutants]
    assert sum(outcome == "read" for outcome, _ in outcomes) >= 8
    assert not [one for one in outcomes if one[0] not in fuzz.GOOD]


@pytest.mark.slow
def test_a_mutant_is_the_same_whenever_it_is_drawn() -> None:
    for kind in FORMATS:
        if FORMATS[kind].here:
            drawn = [fuzz.mutant(FORMATS, kind, 0, number) for number in range(20)]
            assert drawn == [fuzz.mutant(FORMATS, kind, 0, number) for number in range(20)]
            assert len(set(drawn)) > 10, "numbers give other mutants"
            assert drawn != [fuzz.mutant(FORMATS, kind, 1, number) for number in range(20)]


def test_every_format_has_its_share() -> None:
    here = [kind for kind, one in FORMATS.items() if one.here]
    assert list(fuzz.shares(FORMATS, 20_000)) == here
    assert fuzz.shares(FORMATS, 500, ["npz"]) == {"npz": 500}
    assert abs(sum(fuzz.shares(FORMATS, 20_000).values()) - 20_000) < len(here)


def test_whole_files_are_read(tmp_path: Path) -> None:
    """What is mutated is good to begin with: else nothing would get far."""
    refused = set()
    for kind, one in FORMATS.items():
        folder = tmp_path / kind
        folder.mkdir()
        if not one.here or kind == "hub":  # which would change this process's own client
            continue
        read = one.reader(folder)
        for number, data in enumerate(one.wholes()):
            outcome, detail = fuzz.judged(read, data)
            assert outcome in fuzz.GOOD, (kind, number, outcome, detail)
            if outcome == fuzz.REFUSED:
                refused.add("EPS" if data.startswith(b"%!PS") else f"{kind} {number}")
    # A program; a graph of a fixed batch size.
    assert refused == {"EPS"} | {
        f"onnx-{engine} 2" for engine in ("openvino", "onnxruntime") if FORMATS[f"onnx-{engine}"].here
    }


def test_a_replayed_mutant_is_kept_with_its_token(tmp_path: Path) -> None:
    command = [sys.executable, fuzz.__file__, "--replay", "npz:0:1", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert "1 mutants in" in done.stdout
    fuzz.keep([fuzz.Result("npz:0:1", "crash")], tmp_path)
    assert (tmp_path / "npz-0-1.bin").read_bytes() == fuzz.mutant(FORMATS, "npz", 0, 1)


@pytest.mark.slow
def test_what_comes_from_outside_is_read_or_refused() -> None:
    """A small run: the reader of every format, a few hundred mutants in all."""
    results = fuzz.run(400, seed=1, jobs=2)
    assert len(results) >= 350
    assert not [one for one in results if one.is_fault], fuzz.table(results)
