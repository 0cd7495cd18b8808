"""`onnxzoo validate`: checks that every engine reproduces the reference's outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..artifact.folder import Artifact
from ..comparison.tolerances import TOLERANCES
from ..data.walk import NoImages, Skipped, find_images
from ..errors import ModelNotFoundError
from ..files import refuse_unwritable
from ..precisions import FP32
from ..source import resolve
from .completion import engine_names, model_names, precision_names
from .engine_options import trust_option
from .output import print_json
from .output import report as report_error
from .output import say as print_lines
from .parameters import FILE, OUTPUT_FILE, Number, Whole
from .progress import progress, quiet_option
from .validate_text import advice_lines, check_lines, difference_lines, head_lines, preprocess_lines, summary_lines

if TYPE_CHECKING:
    from ..artifact.onnx_checks import Trust
    from ..validators.many import Summary
    from ..validators.result import PreprocessResult, ValidationResult


@click.command("validate", short_help="Compare every engine with the reference.")
@click.argument("model", metavar="[NAME|DIR]", required=False, shell_complete=model_names)
@click.option("--all", "every_model", is_flag=True, help="Validate every shipped or cached model, with a summary.")
@click.option(
    "--weights", type=FILE, help="The artifact's checkpoint, to compare also with the reference, run on this machine."
)
@click.option(
    "--reference",
    type=click.Choice(["paddle", "exact"]),
    help="The reference to run --weights with: the model in Paddle, or in NumPy and float64. Without --weights, the "
    "file that the artifact was made from is used.  [default: exact for models assembled from official weights and if "
    "Paddle is not installed, else paddle]",
)
@click.option(
    "--against",
    metavar="NAME|DIR",
    shell_complete=model_names,
    help="Compare with another artifact in the same engine as well.",
)
@click.option("--against-precision", metavar="P", help=f"Precision of the other artifact's model.  [default: {FP32}]")
@click.option(
    "--tol",
    "tolerance",
    type=Number(0, above=True),
    help=f"Passes if |y - ref| <= tol + tol * |ref| for every value; for {FP32} and the precisions of --precision.  "
    f"[default: {', '.join(f'{name} {tolerance.value:g}' for name, tolerance in TOLERANCES.items())}]",
)
@click.option(
    "--engine",
    "engines",
    multiple=True,
    shell_complete=engine_names,
    help="Engine to check; may be repeated. oip:http://HOST:PORT/MODEL checks a server of the Open Inference Protocol "
    "(https, grpc, grpcs).  [default: all that work]",
)
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    shell_complete=precision_names,
    help="Precision to check; may be repeated.  [default: all]",
)
@click.option("--batch-size", "batch_sizes", multiple=True, type=Whole(1), help="May be repeated.  [default: 1 2 3]")
@click.option("--images", metavar="DIR", help="With --weights or --against: run on these images as well.")
@click.option(
    "--samples",
    type=Whole(1, 1000),
    help="Number of noise inputs, and maximum number of --images, spread evenly.  [default: 3 and 32]",
)
@click.option("--seed", type=Whole(0, 2**32 - 1), help="Seed of the noise inputs.  [default: 7]")
@click.option("--preprocess", is_flag=True, help="Check the image pipeline with golden images; needs no model.")
@click.option("--layers", is_flag=True, help="With --weights or --against: compare layer by layer even if all is well.")
@click.option("--report", type=OUTPUT_FILE, help="Write an HTML page with all results.")
@click.option("--record", "recording", is_flag=True, help="Record a passed validation in the artifact's config.json.")
@trust_option
@quiet_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def command(context: click.Context, /, **given: Any) -> None:
    """Compare a model on every engine with the outputs of the reference.

    By default the outputs recorded in the artifact are used. With --weights or --against a reference is also run now,
    on noise, plain images and --images; if the outputs differ, the first differing layer is reported.
    """
    options = Options(**given)
    options.refuse_nonsense()
    say = _say(options)
    result: ValidationResult | Summary | PreprocessResult
    if options.every_model:
        result = _validate_all(options)
        code = 1 if result.failed else 0 if result else ModelNotFoundError.exit_code
    elif options.model is not None:
        result = _validate_one(options.artifact(options.model), options)
        code = 0 if result else 1
    else:
        result = _check_preprocess(None, options)
        code = 0 if result else 1
    if options.as_json:
        print_json(result.to_dict())
    if options.report is not None:
        from ..validators.report import write_report
        from ..validators.result import ValidationResult

        # The page is written last, so that the result is printed even if writing fails. --report needs a model.
        if isinstance(result, ValidationResult):
            write_report(options.report, result)
            say(f"report: {options.report}")
    context.exit(code)


@dataclass(frozen=True, slots=True)
class Options:
    """The command's arguments as click passes them."""

    model: str | None
    every_model: bool
    weights: Path | None
    reference: str | None
    against: str | None
    against_precision: str | None
    tolerance: float | None
    engines: tuple[str, ...]
    precisions: tuple[str, ...]
    batch_sizes: tuple[int, ...]
    images: str | None
    samples: int | None
    seed: int | None
    preprocess: bool
    layers: bool
    report: Path | None
    recording: bool
    trust: Trust
    quiet: bool
    as_json: bool

    def artifact(self, name: str) -> Artifact:
        """The artifact of this name or folder, read with the requested --trust."""
        return resolve(name, files=None, trust=self.trust).artifact

    @property
    def choices(self) -> dict[str, Any]:
        """The given options that apply to any model, as arguments of a Validation."""
        names = ("tolerance", "engines", "precisions", "batch_sizes")
        return {name: value for name in names if (value := getattr(self, name)) not in (None, ())}

    def refuse_nonsense(self) -> None:
        """Raise UsageError for options that cannot be combined."""
        for_one = ("weights", "reference", "against", "images", "samples", "seed", "layers", "report", "recording")
        given = [name for name in for_one if getattr(self, name) not in (None, False)]
        flags = ", ".join("--record" if name == "recording" else f"--{name}" for name in given)
        if self.every_model and (self.model is not None or given):
            raise click.UsageError(f"--all validates every model; leave out {flags or self.model}")
        if self.every_model and self.trust != "known":
            raise click.UsageError("--trust cannot be combined with --all, which also runs models of others")
        if self.model is None and not self.every_model and not self.preprocess:
            raise click.UsageError("name a model or an artifact folder, or give --all or --preprocess")
        if self.model is None and given:
            raise click.UsageError(f"{flags} need a model; give its name or its artifact folder")
        if self.layers and self.weights is None and self.reference is None and self.against is None:
            raise click.UsageError("--layers needs a reference that has layers: give --weights or --against")
        from ..engines import is_remote

        if self.recording and any(map(is_remote, self.engines)):
            raise click.UsageError("--record is for engines that run the artifact's file, and a server runs its own")
        if self.against_precision is not None and self.against is None:
            raise click.UsageError("--against-precision needs --against")


def _validate_one(artifact: Artifact, options: Options) -> ValidationResult:
    """Run all requested checks of one model, and print each result as soon as it is known."""
    from ..validators.locate import locate
    from ..validators.record import record, refuse_to_record
    from ..validators.validate import Validation

    if options.recording:
        refuse_to_record(artifact, options.tolerance, options.precisions or (FP32,))
    if options.report is not None:
        refuse_unwritable("the report", options.report)
    say = _say(options)
    with progress(f"validating {options.model}", "checks", quiet=options.quiet) as line:
        validation = Validation(
            artifact,
            weights=options.weights,
            reference=options.reference,
            against=None if options.against is None else options.artifact(options.against),
            against_precision=options.against_precision or FP32,
            images=_images(options.images),
            unreadable=lambda error: report_error(str(error)),
            samples=options.samples,
            seed=options.seed,
            **options.choices,
        )
        before = None
        for check in validation.run():
            if len(validation.checks) == 1:  # a refused engine leaves no head of an empty table
                say(*head_lines(validation.result()))
            say(*check_lines(check, validation.tolerances[check.precision], before))
            before = check
            line.advance(len(validation.checks))
        bisections = list(locate(validation, every_layer=options.layers))
        say(*difference_lines(validation.result(bisections=bisections), every_layer=options.layers))
        if not validation:
            say(*advice_lines(validation.result(), str(options.model), options.weights))
        pictures = _check_preprocess(artifact, options).checks if options.preprocess else None
        result = validation.result(bisections=bisections, preprocess=pictures)
        counted = f"{result.passed_checks} of {len(result.checks)} checks"
        say(f"passed: {counted}" if result else f"FAILED: {counted} passed")
        if options.recording and result:
            result = dataclasses.replace(result, recorded=(written := record(validation)))
            say(f"recorded in {artifact.config_file}: {len(written)} validations")
        elif options.recording:
            say("not recorded: only a validation that passed is")
    return result


def _validate_all(options: Options) -> Summary:
    """Validate every model on this machine; failures are printed to stderr as soon as they are known."""
    from ..validators.many import Summary, installed_models, validate_many

    with progress("validating", "checks", quiet=options.quiet):
        results = []
        for result in validate_many(
            installed_models(),
            options.choices,
            lambda model, number, count: print_lines(f"{model.name} ({number} of {count})", err=True),
        ):
            if result.error:
                report_error(f"{result.folder}: {result.error}")
            results.append(result)
        _say(options)(*summary_lines(results))
        pictures = _check_preprocess(None, options) if options.preprocess else None
    return Summary(tuple(results), pictures)


def _check_preprocess(artifact: Artifact | None, options: Options) -> PreprocessResult:
    from ..validators.preprocess import check_description, check_preprocess
    from ..validators.result import PreprocessResult

    checks = [*check_preprocess(), *(check_description(artifact) if artifact is not None else ())]
    _say(options)(*preprocess_lines(checks))
    return PreprocessResult(tuple(checks))


def _images(argument: str | None) -> list[str] | None:
    if argument is None:
        return None
    found, skipped = [], Skipped()
    for image in find_images([argument], skipped):
        if isinstance(image, NoImages):
            raise click.BadParameter(str(image), param_hint="--images")
        found.append(image)
    if skipped:
        print_lines(f"onnxzoo: {skipped}", err=True)
    return found


def _say(options: Options) -> Callable[..., None]:
    """A function that prints lines, or with --json nothing."""

    return (lambda *_lines: None) if options.as_json else print_lines
