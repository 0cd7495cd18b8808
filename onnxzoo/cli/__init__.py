"""The command line: parses arguments, calls the library, prints. Each command is a module, imported when it is used.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 a check failed, or something was rejected or
cannot be written, 2 wrong usage, 3 something needed is missing, 130 interrupted, 141 the reader closed the output,
143 terminated.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from ..errors import OnnxzooError
from ..signals import Terminated, raise_when_terminated
from ..text import escaped, shortened
from .output import OutputError, discard_stdout, flush, report, require_stdout, say, unwritable

# Command -> 'module:attribute'. These modules import heavy modules inside their functions, so that
# `onnxzoo --help`, which shows the first line of every command's help, stays fast.
COMMANDS: dict[str, str] = {
    "list": "onnxzoo.cli.list:command",
    "info": "onnxzoo.cli.info:command",
    "predict": "onnxzoo.cli.predict:command",
    "embed": "onnxzoo.cli.embed:command",
    "download": "onnxzoo.cli.download:command",
    "cache": "onnxzoo.cli.cache:command",
    "export": "onnxzoo.cli.export:command",
    "quantize": "onnxzoo.cli.quantize:command",
    "convert": "onnxzoo.cli.convert:command",
    "bench": "onnxzoo.cli.bench:command",
    "validate": "onnxzoo.cli.validate:command",
    "publish": "onnxzoo.cli.publish:command",
    "train": "onnxzoo.cli.train:command",
    "eval": "onnxzoo.cli.eval:command",
    "serve": "onnxzoo.cli.serve:command",
    "deploy": "onnxzoo.cli.deploy:command",
    "web": "onnxzoo.cli.web:command",
    "warmup": "onnxzoo.cli.warmup:command",
    "doctor": "onnxzoo.cli.doctor:command",
}

QUIET = "HF_HUB_VERBOSITY"
# Environment variables set by this process, not by its user.
variables_of_ours: set[str] = set()

REFUSALS = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENAMETOOLONG, errno.ELOOP}
)
"""What a system says no with, whatever the program: not a bug of this one."""

INTERRUPTED = 130
OUTPUT_CLOSED = 141


class StderrLines(logging.Handler):
    """Prints the package's log (such as a compilation that takes minutes, an unwritable cache) as lines on stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        say(f"onnxzoo: {kind}{shortened(escaped(record.getMessage()))}", err=True)


class LazyGroup(click.Group):
    """A group that imports its commands on use, and the one place that turns errors into messages and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return [*COMMANDS]  # not list(COMMANDS): `list` is this package's module once it is imported

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            value = super().invoke(ctx)
            flush()
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            discard_stdout()
            ctx.exit(OUTPUT_CLOSED)
        except Exception as error:  # noqa: BLE001 - the last resort: no traceback reaches a user unasked
            if ctx.params.get("debug"):
                traceback.print_exc()
            ctx.exit(_report_error(error))
        return value

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        # huggingface_hub logs its retries; a final failure raises one of our errors.
        if QUIET not in os.environ:
            os.environ[QUIET] = "error"
            variables_of_ours.add(QUIET)
        # Pillow's warning about large images takes two lines; beyond our limit an error says it in one.
        warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
        # As does huggingface_hub's about a full disk, which our error names.
        warnings.filterwarnings("ignore", message="Not enough free disk space to download")
        package = logging.getLogger("onnxzoo")
        package.setLevel(logging.INFO)
        if not any(isinstance(handler, StderrLines) for handler in package.handlers):
            package.addHandler(StderrLines())
        # Temporary files are removed when the program is terminated, as on Ctrl-C.
        raise_when_terminated()
        for stream in (sys.stdout, sys.stderr):
            # A file name that the terminal's encoding cannot represent must not end the program.
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        try:
            require_stdout()
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except Terminated as error:
            say(f"onnxzoo: terminated by {error.signal.name}", err=True)
            raise
        except click.Abort as error:
            if isinstance(error.__cause__, KeyboardInterrupt):
                say("onnxzoo: interrupted", err=True)
            sys.exit(INTERRUPTED)
        except click.ClickException as error:
            _exit_for_usage(error)
        except OSError as error:  # from the help that click prints
            sys.exit(_report_error(error))
        sys.exit(code if isinstance(code, int) else 0)


def _report_error(error: Exception) -> int:
    """Report the error in one line; returns the exit code."""
    # Text that click prints itself, such as help or a prompt, fails with a plain OSError.
    if isinstance(error, OSError) and any(
        frame.f_code is click.echo.__code__ for frame, _ in traceback.walk_tb(error.__traceback__)
    ):
        error = unwritable(error)
    if isinstance(error, OutputError):
        discard_stdout()
    if isinstance(error, OnnxzooError):
        report(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.errno in REFUSALS:
        where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes | os.PathLike) else ""
        report(f"{where}{error.strerror}; check the path, its permissions and its disk")
        return OnnxzooError.exit_code
    report(f"{type(error).__name__}: {error}; this is a bug in onnxzoo, run 'onnxzoo --debug ...' to see where")
    return OnnxzooError.exit_code


def _exit_for_usage(error: click.ClickException) -> NoReturn:
    context = getattr(error, "ctx", None)
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
    else:
        hint = f" (see '{context.command_path} --help')" if context is not None else ""
        report(error.format_message() + hint)
    sys.exit(error.exit_code)


def _print_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"onnxzoo {version('onnxzoo')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--debug", is_flag=True, help="Show tracebacks of errors.")
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Show the version."
)
def main(debug: bool) -> None:  # LazyGroup.invoke reads it
    """PaddleClas image classifiers as ONNX models, without Paddle."""
