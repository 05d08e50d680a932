"""``pool-export doctor``: what this installation can do, and why not more."""

from __future__ import annotations

import importlib.metadata
import platform
import re
import sys
from typing import Any

import click

from ..runtime.backends.choice import RULE
from ..runtime.backends.devices import device_states
from ..runtime.backends.providers import load_onnxruntime
from ..runtime.cache import cache_folder
from ..runtime.errors import MissingExtraError
from ..runtime.system import available_cpus
from .options import debug_option, json_option
from .output import print_json, print_table, print_wrapped

# Extras that a user chooses between; "base" stands for what is always installed.
EXTRAS = (
    "base",
    "cpu",
    "gpu",
    "openvino",
    "tensorrt",
    "tensorrt-rtx",
    "image",
    "server",
    "otel",
    "export",
    "text-input",
    "adopt",
)
# Extras without which something cannot be done: what that is, and what can be done all the same.
ABILITIES = {"server": ("serve over HTTP", "the commands still run bundles"), "export": ("export", "bundles still run")}
_REQUIREMENT = re.compile(r"""(?P<name>[\w.-]+)[^;]*(?:;.*extra\s*==\s*["'](?P<extra>[\w-]+)["'])?""")


@click.command("doctor")
@json_option
@debug_option
def doctor_command(as_json: bool) -> None:
    """Tell which packages, execution providers and devices are here, and what is missing for more.

    \b
    Examples:
      pool-export doctor
      pool-export doctor --json
    """
    facts = collect()
    if as_json:
        print_json(facts)
    else:
        _show(facts)
    if any(item["level"] == "error" for item in facts["findings"]):
        raise click.exceptions.Exit(1)


def collect() -> dict[str, Any]:
    """Gather versions, providers and findings. Imports onnxruntime, never torch."""
    packages = _packages()
    findings: list[dict[str, str]] = []
    runtimes = packages["cpu"] | packages["gpu"]
    providers: list[str] = []
    if not any(runtimes.values()):
        _find(findings, "error", "no onnxruntime: nothing can be run", "pip install 'pool-export[cpu]'")
    else:
        providers = _providers(findings)
    if all(runtimes.values()):
        _find(
            findings,
            "error",
            "onnxruntime and onnxruntime-gpu share one folder and overwrite each other",
            "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'pool-export[gpu]'",
        )
    if providers and "CUDAExecutionProvider" not in providers:
        remedy = "on an NVIDIA machine: pip install 'pool-export[gpu]'"
        _find(findings, "info", "no CUDA provider: runs on the CPU", remedy)
    for extra, (ability, otherwise) in ABILITIES.items():
        if missing := [name for name, version in packages[extra].items() if version is None]:
            text = f"cannot {ability}, missing {', '.join(missing)}; {otherwise}"
            _find(findings, "info", text, f"pip install 'pool-export[{extra}]'")
    return {
        "version": _version("pool-export"),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "cpus": available_cpus(),
        "cpu_flags": _cpu_flags(),
        "packages": packages,
        "providers": providers,
        "devices": device_states(),
        "rules": RULE,
        "cache": str(cache_folder()),
        "findings": findings,
    }


def _packages() -> dict[str, dict[str, str | None]]:
    """Extra -> package -> installed version, from the requirements this installation declares."""
    found: dict[str, dict[str, str | None]] = {extra: {} for extra in EXTRAS}
    for line in importlib.metadata.requires("pool-export") or []:
        match = _REQUIREMENT.fullmatch(line)
        extra = (match["extra"] or "base") if match else ""
        if match and extra in found:
            found[extra][match["name"]] = _version(match["name"])
    return found


def _providers(findings: list[dict[str, str]]) -> list[str]:
    try:
        onnxruntime = load_onnxruntime()
    except MissingExtraError as error:
        _find(findings, "error", f"onnxruntime is installed and does not import: {error.__cause__}", "reinstall it")
        return []
    return list(onnxruntime.get_available_providers())


def _find(findings: list[dict[str, str]], level: str, what: str, remedy: str) -> None:
    findings.append({"level": level, "what": what, "remedy": remedy})


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpu_flags() -> list[str]:
    """Instruction sets that decide the speed of matrix products (Linux; empty elsewhere)."""
    wanted = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8", "amx_bf16")
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            line = next((line for line in stream if line.startswith("flags")), "")
    except OSError:
        return []
    return [flag for flag in wanted if flag in line.split()]


def _show(facts: dict[str, Any]) -> None:
    print_wrapped(f"pool-export {facts['version']}, Python {facts['python']}, {facts['platform']}")
    print_wrapped(f"{facts['cpus']} usable core(s), {', '.join(facts['cpu_flags']) or 'no known vector extensions'}")
    print_wrapped(f"providers: {', '.join(facts['providers']) or 'none'}")
    for state in facts["devices"]:
        print_wrapped(f"device {state.device}: {state.about if state.usable else f'no; {state.about}'}")
    for rule in facts["rules"]:
        print_wrapped(rule)
    click.echo(f"cache: {facts['cache']}\n")
    rows = [
        (extra, name, version or "-")
        for extra, versions in facts["packages"].items()
        for name, version in versions.items()
    ]
    print_table("", ("extra", "package", "version"), rows)
    for item in facts["findings"]:
        click.echo(f"{item['level']}: {item['what']}\n  → {item['remedy']}")
    if not facts["findings"]:
        click.echo("nothing to complain about")
