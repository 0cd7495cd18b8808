"""`onnxzoo doctor`: which engines work on this machine, and how to fix the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from . import variables_of_ours
from .output import print_json, say
from .parameters import Number

if TYPE_CHECKING:
    from ..doctor import Diagnosis, EngineCheck

NOTHING_WORKS = 3


@click.command("doctor", short_help="Show which engines work here, and how to fix the others.")
@click.option("--hub", is_flag=True, help="Also try to reach the Hugging Face Hub.")
@click.option("--timeout", default=60.0, show_default=True, type=Number(1), help="Seconds for each check.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def command(ctx: click.Context, hub: bool, timeout: float, as_json: bool) -> None:
    """Show this machine's hardware and which engines work on it; each engine runs a model that ships with the package.

    The exit code is 0 if at least one engine works, else 3.
    """
    from ..doctor import diagnose

    found = diagnose(hub=hub, timeout_s=timeout, not_the_users=variables_of_ours)
    if as_json:
        print_json({**dataclasses.asdict(found), "works": found.works})
    else:
        say(*_lines(found))
    if not found.works:
        ctx.exit(NOTHING_WORKS)


def _lines(found: Diagnosis) -> Iterator[str]:
    from ..engines.openvino_device import CAPABILITIES

    yield f"onnxzoo {found.onnxzoo}, Python {found.python} ({found.executable}), {found.platform}"
    for fault in found.faults:
        yield f"FAULT     {fault}"
    installed = ", ".join(f"{package.name} {package.version}" for package in found.packages if package.version)
    yield f"packages  {installed}"
    faster = f"; faster than fp32 here: {', '.join(found.precisions)}" if found.precisions else ""
    yield f"CPU       {found.cpu}{faster}"
    yield from _nvidia_lines(found)
    for device in found.openvino_devices:
        arithmetic = ", ".join(name for name in CAPABILITIES.values() if name in device.capabilities)
        yield f"OpenVINO  {device.name}: {device.description} ({arithmetic})"
    if found.openvino_fault:
        yield f"OpenVINO  {found.openvino_fault}"
    # A fault of the folder that contains all caches is reported once.
    yield from dict.fromkeys(f"cache     {one.fault}" for one in found.caches if one.fault and not one.exists)
    for folder in found.caches:
        if folder.fault and not folder.exists:
            continue
        size = f"{folder.files} files, {folder.bytes / 2**20:.1f} MiB" if folder.exists else "not there yet"
        fault = f"; {folder.fault}" if folder.fault else ""
        yield f"cache     {folder.path}: {size}{'' if folder.writable else '; cannot be written'}{fault}"
    if found.environment:
        yield "variables " + ", ".join(f"{name}={value}" for name, value in found.environment.items())
    if found.hub is not None:
        yield f"Hub       {found.hub}"
    yield ""
    width = max(len(engine.name) for engine in found.engines)
    for engine in (*found.engines, found.auto):
        yield f"{engine.name:<{width}}  {_verdict(engine)}"


def _nvidia_lines(found: Diagnosis) -> Iterator[str]:
    nvidia = found.nvidia
    if nvidia.fault:
        yield f"NVIDIA    {nvidia.fault}"
    for gpu in nvidia.gpus:
        yield f"NVIDIA    {gpu}, driver {nvidia.driver or 'unknown'}"
    # Without a GPU its libraries are not needed.
    if nvidia.gpus or not nvidia.fault:
        for library in nvidia.libraries:
            yield f"          {library.name}: {'loads' if library.fault is None else library.fault}"


def _verdict(engine: EngineCheck) -> str:
    if not engine.works:
        return f"no: {engine.reason}"
    figures = f"loads in {engine.load_s:.2f} s, one image {engine.run_ms:.1f} ms" if engine.load_s else ""
    chosen = f"; {engine.reason}" if engine.name == "auto" else ""
    return f"works: {engine.version} on {engine.device}, {engine.precision}, {figures}{chosen}"
