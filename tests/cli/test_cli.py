"""The command line: answers on stdout, one readable line per error on stderr, exit codes that scripts can use."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tiny import LABELS, write_artifact

import onnxzoo
from onnxzoo import model as model_module
from onnxzoo import registry
from onnxzoo.cli import COMMANDS, LazyGroup, main
from onnxzoo.cli import predict as predict_module
from onnxzoo.data.walk import NoImages, find_images
from onnxzoo.engines import EngineOptions
from onnxzoo.engines.protocol import Engine, ModelFiles
from onnxzoo.errors import ImageError, InputError
from onnxzoo.hub import lookup
from onnxzoo.model import BATCH_SIZE, load


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], prog_name="onnxzoo")


def run_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "onnxzoo", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def is_one_error_line(stderr: str) -> bool:
    return stderr.startswith("onnxzoo: error: ") and stderr.count("\n") == 1 and stderr.endswith("\n")


# The program as a whole


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: onnxzoo {name} ")


def test_the_version():
    assert run("--version").stdout.startswith("onnxzoo 0.")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["list", "--colour"], 2, "No such option '--colour'"),
        (["lst"], 2, "No such command 'lst'"),
        (["predict", "pvt_v2_b0"], 2, "Missing argument 'IMAGE...'"),
        (["info", "pvt_v2_b9"], 2, "unknown model 'pvt_v2_b9'; did you mean"),
        (["predict", "pvt_v2_b0", "cat.jpg"], 3, "then onnxzoo export pvt_v2_b0"),
        (["info", "."], 1, "is not an artifact"),
        (["info", "./nowhere"], 3, "there is no folder nowhere"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    done = run_process(*arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert is_one_error_line(done.stderr)
    assert message in done.stderr


def test_a_bug_is_one_line_and_a_traceback_only_on_request(monkeypatch):
    def fail(_: str) -> list[str]:
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr(registry, "list_models", fail)
    result = run("list")
    assert result.exit_code == 1
    assert is_one_error_line(result.stderr)
    assert "ZeroDivisionError: a slip; this is a bug in onnxzoo, run 'onnxzoo --debug" in result.stderr
    result = run("--debug", "list")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert 'raise ZeroDivisionError("a slip")' in result.stderr


def test_debug_shows_where_an_error_comes_from():
    result = run("--debug", "info", "nothing")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.endswith("shows all 18)\n")


def test_log_lines_go_to_stderr_and_results_to_stdout(tiny, photos, monkeypatch):
    """A program that reads the results must not find a warning among them."""
    original = model_module.Model.predict

    def predict(self, *arguments, **options):
        logging.getLogger("onnxzoo").warning("the cache cannot be written")
        return original(self, *arguments, **options)

    monkeypatch.setattr(model_module.Model, "predict", predict)
    result = run("predict", tiny, photos / "red.png", "--json")
    assert json.loads(result.stdout)
    assert result.stderr == "onnxzoo: warning: the cache cannot be written\n"


def test_an_interrupt_is_130(monkeypatch):
    def interrupt(_: str) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "list_models", interrupt)
    result = run("list")
    assert result.exit_code == 130
    assert result.stderr.strip() == "onnxzoo: interrupted"


@pytest.mark.skipif(os.name != "posix", reason="a closed pipe is an OSError elsewhere")
def test_a_reader_that_leaves_early_is_no_error():
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-P", "-m", "onnxzoo", "list"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize(
    "arguments", [["list"], ["list", "--json"], ["--version"], ["--help"], ["predict", "--help"], ["info", "pvt_v2_b0"]]
)
def test_output_that_cannot_be_written_is_said(arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-P", "-m", "onnxzoo", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert is_one_error_line(done.stderr)
    assert "the output cannot be written: No space left on device" in done.stderr
    assert done.returncode == 1


@pytest.mark.skipif(os.name != "posix", reason="closes a file descriptor in POSIX's shell")
def test_a_closed_output_is_said():
    command = ["/bin/sh", "-c", '"$0" -P -m onnxzoo list >&-', sys.executable]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert is_one_error_line(done.stderr)
    assert "the output cannot be written: standard output is closed" in done.stderr
    assert done.returncode == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_messages_that_cannot_be_written_change_nothing():
    for ending in ("2>/dev/full", "2>&-"):
        command = ["/bin/sh", "-c", f'"$0" -P -m onnxzoo info nothing {ending}', sys.executable]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stdout) == (2, "")


def test_what_comes_from_outside_is_escaped_for_people_and_data_for_programs(tmp_path):
    """A label that would set the terminal's title, clear the screen and forge a line."""
    forged = "black\x1b]0;owned\x07\x1b[2J\n  0.9999     1  red\u202e"
    folder = tmp_path / "a\x1b[31m"
    write_artifact(folder)
    config = json.loads((folder / "config.json").read_text())
    config["id2label"]["0"] = forged
    config["label2id"] = {label: int(number) for number, label in config["id2label"].items()}
    (folder / "config.json").write_text(json.dumps(config))
    image = tmp_path / "b\nlack.png"
    Image.new("RGB", (32, 32)).save(image)
    for command in (["predict", folder, image], ["info", folder], ["info", f"{folder}\r"]):
        result = run(*command)
        assert all(line.isprintable() for line in result.output.split("\n"))
    lines = run("predict", folder, image).stdout.splitlines()
    assert len(lines) == 5
    assert lines[1].endswith(r"black\x1b]0;owned\x07\x1b[2J\n  0.9999     1  red\u202e")
    document = json.loads(run("predict", folder, image, "--json").stdout)
    assert document["results"][0]["top"][0]["label"] == forged
    assert document["results"][0]["image"] == str(image)


def test_the_group_can_be_called_by_other_programs():
    assert isinstance(main, LazyGroup)
    assert main.main(["list", "pvt_v2_b0"], standalone_mode=False) is None


@pytest.mark.parametrize("name", ["pvt_v2_nano_fashion", "pvt_v2_b0"])
def test_info_shows_no_none(name):
    lines = run("info", name).stdout.splitlines()
    assert not [line for line in lines if "None" in line or (len(line.split(maxsplit=1)) == 1 and line.startswith(" "))]


def test_the_source_folder_says_that_it_is_not_the_package(tmp_path):
    """`python -m` looks in the working directory first, where a checkout has the folder `onnxzoo`."""
    elsewhere = shutil.ignore_patterns("exports", "training", "validators", "shipped", "__pycache__")
    shutil.copytree(Path(onnxzoo.__file__).parent, tmp_path / "onnxzoo", ignore=elsewhere)
    command = [sys.executable, "-m", "onnxzoo", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_error_line(done.stderr)
    assert "run 'make install', then .venv/bin/onnxzoo" in done.stderr


# list and info


def test_list():
    lines = run("list").stdout.splitlines()
    assert len(lines) == 19
    assert lines[1].split() == ["pvt_v2_b0", "224", "3.67", "0.53", "0.7052", "0.9016"]
    assert len(run("list", "SWIN*").stdout.splitlines()) == 11


def test_list_marks_what_is_exported(cache):
    write_artifact(cache / "models" / "pvt_v2_b1")
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)["models"]}
    assert len(rows) == 18
    assert [name for name, row in rows.items() if row["exported"]] == ["pvt_v2_b1"]
    assert rows["pvt_v2_b1"]["aliases"] == ["PVT_V2_B1", "pvt_v2_b1.in1k"]
    assert run("list", "pvt_v2_b1").stdout.splitlines()[1].endswith("  exported")


def test_list_marks_what_ships(cache, tmp_path, monkeypatch):
    monkeypatch.setattr(lookup, "SHIPPED_DIR", tmp_path)
    write_artifact(tmp_path / "pvt_v2_b1")
    write_artifact(cache / "models" / "pvt_v2_b1")
    rows = {row["name"]: row for row in json.loads(run("list", "--json").stdout)["models"]}
    assert [name for name, row in rows.items() if row["shipped"]] == ["pvt_v2_b1"]
    assert run("list", "pvt_v2_b1").stdout.splitlines()[1].endswith("  shipped, exported")


def test_list_without_a_match():
    result = run("list", "resnet*")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "no model matches 'resnet*'" in result.stderr


def test_info_of_a_model_that_is_not_exported():
    result = run("info", "PVT_V2_B2_Linear")
    assert result.exit_code == 0
    for part in ("pvt_v2_b2_linear", "22.55 M", "0.8205", "short side to 256 (bicubic)", "PVT_V2_B2_Linear_pretrained"):
        assert part in result.stdout
    assert "not on this machine; get it: onnxzoo download pvt_v2_b2_linear, or make it: onnxzoo export" in result.stdout
    document = json.loads(run("info", "PVT_V2_B2_Linear", "--json").stdout)
    assert document["artifact"] is None
    assert document["model"]["name"] == "pvt_v2_b2_linear"
    assert document["model"]["architecture"]["linear"] is True
    assert document["model"]["source"]["url"].endswith(".pdparams")


def test_info_of_an_exported_model(cache):
    folder = write_artifact(cache / "models" / "pvt_v2_b0", name="pvt_v2_b0")
    text = run("info", "pvt_v2_b0").stdout
    assert str(folder) in text
    assert "0" * 64 in text
    document = json.loads(run("info", "pvt_v2_b0", "--json").stdout)
    assert document["model"]["name"] == document["artifact"]["name"] == "pvt_v2_b0"
    assert document["artifact"]["precisions"] == ["fp32"]
    assert document["artifact"]["files"]["onnx/model.onnx"]["bytes"] > 0


def test_info_of_a_folder_that_the_registry_does_not_know(tiny):
    document = json.loads(run("info", tiny, "--json").stdout)
    assert document["model"] is None
    assert document["artifact"]["num_classes"] == 4
    (tiny / "onnx" / "model.onnx").unlink()
    assert "bytes, missing" in run("info", tiny).stdout


# predict


def test_predict_one_image(tiny, photos):
    result = run("predict", tiny, photos / "red.png", "--top-k", "2")
    assert result.exit_code == 0
    first, best, second = result.stdout.splitlines()
    assert first == str(photos / "red.png")
    assert best.split()[1:] == ["1", "red"]
    assert len(second.split()) == 3
    assert result.stderr == ""


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_predict_a_folder_as_json(tiny, photos, engine):
    result = run("predict", tiny, photos, "--json", "--engine", engine)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["model"] == "tiny"
    assert (document["engine"]["name"], document["engine"]["precision"]) == (engine, "fp32")
    assert [Path(one["image"]).stem for one in document["results"]] == ["black", "blue", "green", "red"]
    for one in document["results"]:
        assert one["top"][0]["label"] == Path(one["image"]).stem
        assert one["top"][0].keys() == {"class_id", "label", "score"}
        assert len(one["top"]) == 4


def test_a_bad_image_among_good_ones(tiny, photos):
    bad = photos / "bad.png"
    bad.write_bytes(b"no image")
    result = run("predict", tiny, photos / "red.png", bad, photos / "blue.png", photos / "missing.png")
    assert result.exit_code == 1
    assert [line for line in result.stdout.splitlines() if line.endswith(".png")] == [
        str(photos / "red.png"),
        str(photos / "blue.png"),
    ]
    lines = result.stderr.splitlines()
    assert len(lines) == 2
    assert str(bad) in lines[0]
    assert "missing.png" in lines[1]
    result = run("predict", tiny, "--json", photos / "red.png", bad)
    assert result.exit_code == 1
    good, failed = json.loads(result.stdout)["results"]
    assert good["top"][0]["label"] == "red"
    assert failed.keys() == {"image", "error"}
    assert failed["image"] == str(bad)


def test_more_images_than_one_batch(tiny, photos):
    for i in range(2 * BATCH_SIZE + 3):
        shutil.copy(photos / "green.png", photos / f"x{i:03}.png")
    (photos / "x005.png").write_bytes(b"")
    results = json.loads(run("predict", tiny, photos, "--json").stdout)["results"]
    assert len(results) == 4 + 2 * BATCH_SIZE + 3
    assert [Path(one["image"]).name for one in results] == sorted(path.name for path in photos.iterdir())
    assert [Path(one["image"]).name for one in results if "error" in one] == ["x005.png"]


@pytest.mark.parametrize("name", ["a b.png", "übung 犬.png", "new\nline.png", "[1].png", "-x.png", "100%.png"])
def test_file_names_of_any_kind(tiny, photos, name):
    strange = photos / name
    shutil.copy(photos / "red.png", strange)
    (one,) = json.loads(run("predict", tiny, "--json", strange).stdout)["results"]
    assert one["image"] == str(strange)
    assert one["top"][0]["label"] == "red"
    text = run("predict", tiny, strange).stdout
    assert len(text.splitlines()) == 1 + len(LABELS)


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")
def test_a_file_name_that_is_no_text(tiny, photos):
    strange = os.fsencode(photos) + b"/caf\xe9.png"
    shutil.copy(photos / "red.png", strange)
    command = [
        sys.executable,
        "-P",
        "-m",
        "onnxzoo",
        "predict",
        str(tiny),
        strange,
        os.fsencode(photos) + b"/no\xe9.png",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stdout.splitlines()[0].endswith("/caf\\udce9.png")
    assert is_one_error_line(done.stderr)


def test_nothing_to_predict_is_wrong_usage(tiny, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    for argument in (empty, tmp_path / "*.jpg"):
        done = run_process("predict", tiny, argument)
        assert done.returncode == 2
        assert is_one_error_line(done.stderr)
        assert "has no image in it" in done.stderr


def test_a_pattern_without_images_among_good_ones(tiny, photos):
    result = run("predict", tiny, photos / "*.jpg", photos / "red.png")
    assert result.exit_code == 1
    assert "*.jpg' has no image in it" in result.stderr
    assert "red" in result.stdout


def test_an_engine_that_is_not_here_is_something_missing(tiny, photos):
    result = run("predict", tiny, photos / "red.png", "--engine", "openvino:GPU.7")
    assert result.exit_code == 3
    assert "openvino finds no device GPU.7 here; it has CPU" in result.stderr
    assert is_one_error_line(result.stderr)


def test_the_engine_is_run_as_the_options_say_and_the_document_says_how(tiny, photos):
    options = ["--engine", "openvino:AUTO", "--threads", "1", "--batch-size", "3", "--precision", "fp32", "--strict"]
    result = run("predict", tiny, *[photos] * 2, "--json", *options)
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert len(document["results"]) == 8
    engine = document["engine"]
    assert (engine["name"], engine["device"], engine["precision"]) == ("openvino", "CPU", "fp32")
    assert engine["version"][0].isdigit()
    assert (engine["reason"], engine["considered"]) == ("requested", [])
    assert engine["nodes"]["CPU"] > 0


@pytest.mark.parametrize(
    ("options", "batch_size", "hint"),
    [([], None, "latency"), (["--batch-size", "4"], 4, "throughput"), (["--batch-size", "5"], 5, "latency")],
)
def test_a_folder_of_whole_batches_runs_for_throughput(tiny, photos, monkeypatch, options, batch_size, hint):
    import onnxzoo.model

    asked: list[EngineOptions] = []
    create = onnxzoo.model.create_engine

    def recorded(name: str, files: ModelFiles, chosen: EngineOptions) -> Engine:
        asked.append(chosen)
        return create(name, files, chosen)

    monkeypatch.setattr(onnxzoo.model, "create_engine", recorded)
    result = run("predict", tiny, photos, *options)
    assert (result.exit_code, result.stdout.count("black.png")) == (0, 1)
    assert [(one.batch_size, one.hint) for one in asked] == [(batch_size, hint)]


def test_wrong_values_are_wrong_usage(tiny, photos):
    for options, message in (
        (["--engine", "cudnn"], "'cudnn' is not an engine"),
        (["--precision", "fp64"], "'fp64' is not a precision"),
        (["--threads", "0"], "--threads"),
        (["--batch-size", "0"], "--batch-size"),
        (["--batch-size", "99999999999999999999"], "batch_size must be at most 65536, got 99999999999999999999"),
        (["--top-k", "0"], "--top-k"),
    ):
        result = run("predict", tiny, photos / "red.png", *options)
        assert result.exit_code == 2
        assert message in result.stderr
        assert is_one_error_line(result.stderr)


def test_an_altered_model_is_rejected(tiny, photos):
    (tiny / "onnx" / "model.onnx").write_bytes(b"something else")
    done = run_process("predict", tiny, photos / "red.png")
    assert done.returncode == 1
    assert done.stdout == ""
    assert is_one_error_line(done.stderr)


def test_predict_in_a_process_of_its_own(tiny, photos):
    done = run_process("predict", tiny, photos / "blue.png", "--json")
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout)["results"][0]["top"][0]["label"] == "blue"


# Which images the arguments stand for


def test_folders_patterns_and_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.jpg", "a.JPEG", "notes.txt", ".hidden.jpg", "deep/er/c.png", ".git/d.png", "[x].jpg"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()
    found = [str(one).replace(os.sep, "/") for one in find_images(["."])]
    assert found == ["./[x].jpg", "./a.JPEG", "./b.jpg", "./deep/er/c.png"]
    assert list(find_images(["*"])) == ["[x].jpg", "a.JPEG", "b.jpg"]
    assert [str(one).replace(os.sep, "/") for one in find_images(["**/*.png"])] == ["deep/er/c.png"]
    assert list(find_images(["[x].jpg", "notes.txt", "missing.jpg", ".hidden.jpg"])) == [
        "[x].jpg",
        "notes.txt",
        "missing.jpg",
        ".hidden.jpg",
    ]
    assert list(find_images(["*.gif", "b.jpg"])) == [NoImages("*.gif"), "b.jpg"]


def test_an_image_on_standard_input(tiny, photos):
    good = (photos / "blue.png").read_bytes()
    result = CliRunner().invoke(main, ["predict", str(tiny), "-", str(photos / "red.png"), "--json"], input=good)
    assert result.exit_code == 0
    found = {row["image"]: row["top"][0]["label"] for row in json.loads(result.stdout)["results"]}
    assert found == {"-": "blue", str(photos / "red.png"): "red"}
    (photos / "bad.png").write_bytes(b"x")
    result = CliRunner().invoke(main, ["predict", str(tiny), "-", str(photos / "bad.png")], input=good)
    assert result.exit_code == 1, "the bad image"
    assert "blue" in result.stdout, "standard input is not lost beside it"
    result = CliRunner().invoke(main, ["predict", str(tiny), "-"], input=b"")
    assert result.exit_code == 1
    assert "standard input: " in result.stderr


def test_what_a_folder_has_besides_images_is_said_in_one_line(tiny, photos):
    os.mkfifo(photos / "pipe.png")
    (photos / "notes.txt").write_text("x")
    result = run("predict", tiny, photos)
    assert result.exit_code == 0
    assert result.stderr.count("\n") == 1
    assert "skipped 2 files: " in result.stderr
    assert "1 not a regular file" in result.stderr


def test_the_largest_image_is_an_option(tiny, photos, monkeypatch):
    monkeypatch.delenv("ONNXZOO_MAX_PIXELS", raising=False)
    result = run("predict", tiny, photos / "red.png", "--max-pixels", "3")
    os.environ.pop("ONNXZOO_MAX_PIXELS", None)
    assert result.exit_code == 1
    assert "the limit is 3 in all" in result.stderr
    assert "--max-pixels" in result.stderr


# Completion


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("predict swinv2_nano", ["plain,swinv2_nano_fashion"]),
        ("export pvt_v2_b0 pvt_v2_b", [f"plain,pvt_v2_b{n}" for n in ("1", "2", "2_linear", "3", "4", "5")]),
        ("validate ./o", ["dir,./o"]),
        ("do", ["plain,download", "plain,doctor"]),
    ],
)
def test_the_shell_completes_commands_and_models(words, offered):
    given = f"onnxzoo {words}"
    environment = {"_ONNXZOO_COMPLETE": "bash_complete", "COMP_WORDS": given, "COMP_CWORD": str(given.count(" "))}
    result = CliRunner().invoke(main, [], prog_name="onnxzoo", env=environment)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == offered


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_shells_script_is_there(shell):
    result = CliRunner().invoke(main, [], prog_name="onnxzoo", env={"_ONNXZOO_COMPLETE": f"{shell}_source"})
    assert result.exit_code == 0
    assert f"_ONNXZOO_COMPLETE={shell}_complete" in result.stdout


def test_a_closed_standard_input_is_said(tiny, monkeypatch):
    monkeypatch.setattr("onnxzoo.cli.predict.sys.stdin", None)
    with pytest.raises(ImageError, match="standard input is closed"):
        predict_module._image("-")


def test_an_engine_is_named_by_text(tiny):
    for wrong in (None, 3):
        with pytest.raises(InputError, match="an engine is named by text"):
            load(tiny, engine=wrong)
