"""`onnxzoo warmup`: compiled models are kept, found again, and used by the next start."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from quantizing import write_colours

pytest.importorskip("openvino")

from onnxzoo.cli import main
from onnxzoo.engines.openvino_compile import BLOB, Compiler
from onnxzoo.loading import load
from onnxzoo.source import Source


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], prog_name="onnxzoo")


def test_what_was_built_where_and_that_it_is_found_again(tiny, cache):
    result = run("warmup", tiny, "--engine", "openvino", "--batch-size", "1,8", "--hint", "latency", "--json")
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (document["model"], document["engine"]["name"], document["engine"]["precision"]) == (
        "tiny",
        "openvino",
        "fp32",
    )
    assert [(one["batch_size"], one["found"]) for one in document["kept"]] == [(1, False), (8, False)]
    for one in document["kept"]:
        assert (Path(one["folder"]) / BLOB).is_file()
        assert one["bytes"] > 1000
        assert one["seconds"] > 0
    again = run("warmup", tiny, "--engine", "openvino", "--batch-size", "8,1,1", "--hint", "latency")
    lines = again.stdout.splitlines()
    assert lines[0].startswith("for batches of up to 8, compiled at 8: was there already, ")
    assert lines[1].startswith("for batches of up to 8, compiled at 1: was there already, ")
    assert lines[2].startswith("tiny on openvino ")
    assert lines[2].endswith("(CPU, fp32): 2 compiled models are kept")


def test_the_next_start_compiles_nothing(tiny, photos, monkeypatch):
    run("warmup", tiny, "--engine", "openvino")

    def refuse(*_: object) -> object:
        raise AssertionError("compiled again")

    monkeypatch.setattr(Compiler, "_build", refuse)
    with load(tiny, engine="openvino") as model:
        assert model.predict(photos / "red.png").label == "red"
        assert len(model.predict([photos / "red.png"] * 9)) == 9
    assert run("predict", tiny, photos / "red.png", "--engine", "openvino").exit_code == 0
    # Whole batches, and their rest, run for throughput.
    many = [photos / "red.png"] * 19
    assert run("predict", tiny, *many, "--engine", "openvino").exit_code == 0


def test_a_folder_finds_what_was_kept_for_its_batch_size(tiny, photos, monkeypatch):
    run("warmup", tiny, "--engine", "openvino", "--batch-size", "4")
    compiled: list[int] = []
    monkeypatch.setattr(Compiler, "_build", lambda _self, size, _folder: compiled.append(size))
    with load(tiny, engine="openvino", batch_size=4, hint="throughput") as model:
        assert len(model.predict([photos / "red.png"] * 5)) == 5
    assert compiled == []


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_a_warmup_verifies_so_that_no_start_has_to(engine, tmp_path, monkeypatch):
    pytest.importorskip(engine)
    colours = write_colours(tmp_path / "colours")
    unverified = run("warmup", colours, "--engine", engine, "--no-verify", "--json")
    assert json.loads(unverified.stdout)["engine"]["verification"] == "skipped: verify=False"
    result = run("warmup", colours, "--engine", engine)
    assert result.exit_code == 0
    assert "results: verified before (" in result.stderr, "at the second batch size"
    monkeypatch.setattr(Source, "vectors", lambda _self: pytest.fail("they are not needed"))
    with load(colours, engine=engine) as model:
        assert model.engine.verified


def test_an_engine_without_a_cache_says_that_there_is_nothing_to_do(tiny, cache):
    pytest.importorskip("onnxruntime")
    result = run("warmup", tiny, "--engine", "onnxruntime")
    assert result.exit_code == 0
    assert result.stdout.rstrip().endswith("(CPU, fp32): nothing to do, it compiles nothing worth keeping")
    assert not (cache / "engines").exists()


@pytest.mark.parametrize("precision", ["auto", "int8", "bf16"])
def test_a_model_on_the_hub_in_every_precision(precision, loopback, tiny):
    config = json.loads((tiny / "config.json").read_text())
    (tiny / "onnx" / "model_int8.onnx").write_bytes((tiny / "onnx" / "model.onnx").read_bytes())
    config["files"]["onnx/model_int8.onnx"] = config["files"]["onnx/model.onnx"] | {"precision": "int8"}
    (tiny / "config.json").write_text(json.dumps(config))
    loopback.store.add_repo("someone/two", tiny)
    result = run("warmup", "someone/two", "--engine", "openvino", "--precision", precision, "--batch-size", "1")
    if result.exit_code:  # a CPU without bf16 says so, once the file is here
        assert "bf16" in result.stderr
        assert "is missing" not in result.stderr
    loopback.log.clear()
    wrong = run("warmup", "someone/two", "--engine", "opnvino")
    assert wrong.exit_code == 2
    assert loopback.log.all() == []


@pytest.mark.parametrize("sizes", ["0", "1,x", "", "1,,2", "-1", "9" * 5000])
def test_wrong_batch_sizes_are_wrong_usage(tiny, sizes):
    result = run("warmup", tiny, f"--batch-size={sizes}")
    assert result.exit_code == 2
    assert "--batch-size takes whole numbers from 1 with commas between them" in result.stderr


def test_one_size_that_is_too_large_is_refused_before_anything_is_built(tiny, cache):
    result = run("warmup", tiny, "--engine", "openvino", "--batch-size", "1,65537")
    assert result.exit_code == 2
    assert "batch_size must be at most 65536, got 65537" in result.stderr
    assert not (cache / "engines").exists()


def test_a_cache_that_cannot_be_written_is_an_error_with_its_reason(tiny, cache):
    (cache / "engines").write_text("in the way", encoding="utf-8")
    result = run("warmup", tiny, "--engine", "openvino")
    assert result.exit_code == 2
    assert f"onnxzoo: error: the cache folder {cache}{os.sep}engines cannot be written (" in result.stderr
    assert "name another one, or free it" in result.stderr


def test_a_damaged_compiled_model_is_found_by_cache_verify(tiny, cache):
    assert run("warmup", tiny, "--engine", "openvino", "--batch-size", "1").exit_code == 0
    assert run("cache", "verify").exit_code == 0
    (blob,) = (cache / "engines").glob("*/*/*/model.blob")
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 0xFF
    blob.write_bytes(content)
    result = run("cache", "verify", "engines")
    assert result.exit_code == 1
    assert f"{blob.parent}: model.blob was altered" in result.stdout
    (blob.parent / "manifest.json").write_text("{}")
    assert "manifest.json does not list files" in run("cache", "verify").stdout
