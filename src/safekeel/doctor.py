"""What is installed here, what each missing extra would give, and the exact command that installs it.

Nothing heavy is imported: versions come from package metadata, so a broken PyTorch cannot break the doctor.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from safekeel.bench.base import DATA_VARIABLE

Status = Literal["ok", "missing", "wrong"]
EXTRAS = {
    "train": "local models: `safekeel run`, the hf engine, SFT, GRPO, nano build",
    "capability": "benchmarks of ability through lm-eval: mmlu, gsm8k, ceval, cmmlu, math500, cmath",
    "corpus": "`safekeel corpus build`: near duplicates, languages, personal data, verified replay, Parquet",
    "attacks": "Chinese attack families: pinyin, homophones, traditional characters",
    "vllm": "the vllm engine: fast generation on a CUDA machine",
    "dev": "tests, style and type checks",
}
"""Extra -> what it gives; without any, endpoint evaluation, judging, scoring and reports work."""
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Check:
    """One line of the report."""

    name: str
    status: Status
    detail: str
    remedy: str = ""
    """A command, or what to do; empty where nothing is needed."""


def report() -> list[Check]:
    """All checks, most basic first."""
    needs = requirements()
    checks = [
        Check("python", "ok", f"{platform.python_version()} ({sys.executable})"),
        _packages("core", needs.get("", {})),
    ]
    checks += [_packages(extra, needs.get(extra, {})) for extra in EXTRAS]
    return [*checks, _torch_build(), _data(os.environ)]


def as_text(checks: list[Check]) -> str:
    """The report for a terminal: one line per check, its remedy below."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<8}{check.name:<{width}}  {check.detail}")
        if check.remedy:
            lines.append(f"{'':<8}{'':<{width}}  → {check.remedy}")
    return "\n".join(lines)


def requirements(declared: list[str] | None = None) -> dict[str, dict[str, str]]:
    """Extra ("" = core) -> package -> version range, as the installed SafeKeel declares them."""
    if declared is None:
        try:
            declared = metadata.requires("safekeel") or []
        except metadata.PackageNotFoundError:  # run from a source folder that is not installed
            declared = []
    found: dict[str, dict[str, str]] = {}
    for line in declared:
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        name = _NAME.match(requirement.strip())
        if name:
            found.setdefault(extra[1] if extra else "", {})[name[0]] = requirement.strip()[name.end() :].strip()
    return found


def _packages(extra: str, needs: Mapping[str, str], version: Callable[[str], str] = metadata.version) -> Check:
    """Whether all packages of an extra (or of the core) are there, in the versions asked for."""
    command = install_command("" if extra == "core" else extra)
    gives = EXTRAS.get(extra, "endpoint evaluation, judging, scoring, reports")
    if not needs:
        return Check(extra, "missing", "SafeKeel itself is not installed in this Python", command)
    found: dict[str, str] = {}
    for name in needs:
        try:
            found[name] = version(name)
        except metadata.PackageNotFoundError:
            continue
    if absent := [name for name in needs if name not in found]:
        return Check(extra, "missing", f"would give {gives}; not installed: {', '.join(absent)}", command)
    wrong = [
        f"{name} {found[name]} (needs {needs[name]})" for name in needs if not _satisfies(found[name], needs[name])
    ]
    if wrong:
        return Check(extra, "wrong", f"not a version that SafeKeel works with: {', '.join(wrong)}", command)
    return Check(extra, "ok", f"{gives}: {', '.join(f'{name} {found[name]}' for name in needs)}")


def _satisfies(version: str, wanted: str) -> bool:
    """Whether a version is in a range; True where `packaging` (no dependency of the core) is not there to tell."""
    try:
        from packaging.specifiers import SpecifierSet
    except ModuleNotFoundError:
        return True
    return SpecifierSet(wanted).contains(version, prereleases=True)


def install_command(extra: str) -> str:
    """The pip command for this Python; from a checkout it installs the checkout under its constraints.

    vLLM pins most of what constraints.txt holds to other versions, so it is left to its own pins.
    """
    root = Path(__file__).resolve().parents[2]
    suffix = f"[{extra}]" if extra else ""
    command = [sys.executable, "-m", "pip", "install"]
    if (root / "pyproject.toml").is_file():
        constraints = ["-c", str(root / "constraints.txt")] if extra != "vllm" else []
        return shlex.join([*command, *constraints, "-e", f"{root}{suffix}"])
    return shlex.join([*command, f"safekeel{suffix}"])


def _torch_build() -> Check:
    """Which PyTorch build is installed, beside which hardware."""
    gpu = NVIDIA_DRIVER.exists() or shutil.which("nvidia-smi") is not None
    machine = "an NVIDIA driver" if gpu else "no NVIDIA driver"
    try:
        build = metadata.version("torch")
    except metadata.PackageNotFoundError:
        remedy = shlex.join([sys.executable, "-m", "pip", "install", "torch"])
        if not gpu and sys.platform == "linux":  # the default build on Linux brings gigabytes of CUDA libraries
            remedy += f" --extra-index-url {TORCH_CPU_INDEX}"
        return Check("torch", "missing", f"not installed; this machine has {machine}", remedy)
    if gpu and build.endswith("+cpu"):
        release = build.removesuffix("+cpu")
        remedy = f"{shlex.quote(sys.executable)} -m pip install --force-reinstall --no-deps torch=={release}"
        return Check("torch", "wrong", f"{build} cannot use the GPU of this machine", remedy)
    return Check("torch", "ok", f"{build}; this machine has {machine}")


def _data(environment: Mapping[str, str]) -> Check:
    """The folder of public data."""
    value = environment.get(DATA_VARIABLE)
    gives = "benchmarks on public data, such as chisafetybench-refusal"
    if not value:
        return Check(
            "data", "missing", f"{DATA_VARIABLE} is not set; would give {gives}", f"export {DATA_VARIABLE}=DIR"
        )
    if not Path(value).is_dir():
        return Check("data", "wrong", f"{DATA_VARIABLE}={value} is no folder", f"export {DATA_VARIABLE}=DIR")
    return Check("data", "ok", f"{DATA_VARIABLE}={value}: {gives}")
