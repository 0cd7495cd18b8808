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
from click.testing import CliRunner
from command_line import is_one_error_line, run, run_process
from PIL import Image
from tiny import write_artifact

import onnxzoo
from onnxzoo import model as model_module
from onnxzoo import registry
from onnxzoo.cli import COMMANDS, LazyGroup, main

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
        (["predict", "pvt_v2_b0"], 2, "no images were given; expected files, folders"),
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
    original = model_module.Model.stream

    def stream(self, *arguments, **options):
        logging.getLogger("onnxzoo").warning("the cache cannot be written")
        return original(self, *arguments, **options)

    monkeypatch.setattr(model_module.Model, "stream", stream)
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
def test_a_reader_that_closes_early_is_not_an_error():
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


EDITABLE = Path(onnxzoo.__file__).parents[1].joinpath("pyproject.toml").exists()


@pytest.mark.skipif(EDITABLE, reason="after `make dev` Python finds the other folders, wherever it looks first")
def test_the_source_folder_says_that_it_is_not_the_package(tmp_path):
    """`python -m` looks in the working directory first, where a checkout has the folder `onnxzoo`."""
    elsewhere = shutil.ignore_patterns("exports", "training", "validators", "shipped", "__pycache__")
    shutil.copytree(Path(onnxzoo.__file__).parent, tmp_path / "onnxzoo", ignore=elsewhere)
    command = [sys.executable, "-m", "onnxzoo", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert is_one_error_line(done.stderr)
    assert "run 'make install', then .venv/bin/onnxzoo" in done.stderr


# Completion


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("predict swinv2_nano", ["plain,swinv2_nano_fashion"]),
        ("export pvt_v2_b0 pvt_v2_b", [f"plain,pvt_v2_b{n}" for n in ("1", "2", "2_linear", "3", "4", "5")]),
        ("validate ./o", ["dir,./o"]),
        # Another project's name only where none of ours begins so.
        ("info SwinTransformerV2_tiny_patch4_window16", ["plain,SwinTransformerV2_tiny_patch4_window16_256"]),
        ("info pvt_v2_b2_li", ["plain,pvt_v2_b2_linear"]),
        ("info swinv2_tiny_window8", [f"plain,swinv2_tiny_window8_256{tag}" for tag in ("", ".ms_in1k")]),
        ("predict --engine op", ["plain,openvino"]),
        ("validate --engine tens", ["plain,tensorrt", "plain,tensorrt-rtx"]),
        ("eval --engine pad", ["plain,paddle"]),
        ("predict --engine ex", ["plain,exact"]),
        ("predict --precision b", ["plain,bf16"]),
        ("validate --precision i", ["plain,int8"]),
        ("warmup --precision a", ["plain,auto"]),
        ("cache remove ", [""]),
        ("do", ["plain,download", "plain,doctor"]),
    ],
)
def test_the_shell_completes_commands_and_models(words, offered):
    given = f"onnxzoo {words}"
    environment = {"_ONNXZOO_COMPLETE": "bash_complete", "COMP_WORDS": given, "COMP_CWORD": str(given.count(" "))}
    result = CliRunner().invoke(main, [], prog_name="onnxzoo", env=environment)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == offered


def test_the_shell_completes_what_the_cache_has(cache):
    write_artifact(cache / "models" / "mine")
    (cache / "verdicts" / ("a" * 16)).mkdir(parents=True)
    (cache / "verdicts" / ("a" * 16) / "one.json").write_text("{}")
    test_the_shell_completes_commands_and_models("cache remove m", ["plain,mine"])
    test_the_shell_completes_commands_and_models("cache verify v", ["plain,verdicts", f"plain,verdicts/{'a' * 16}"])
    test_the_shell_completes_commands_and_models("cache remove mine m", [""])


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_the_shells_script_is_there(shell):
    result = CliRunner().invoke(main, [], prog_name="onnxzoo", env={"_ONNXZOO_COMPLETE": f"{shell}_source"})
    assert result.exit_code == 0
    assert f"_ONNXZOO_COMPLETE={shell}_complete" in result.stdout
