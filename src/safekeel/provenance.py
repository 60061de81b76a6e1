"""Where a result came from: the code's git state, package versions and hardware, as they go into a manifest."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    "safekeel",
    "torch",
    "transformers",
    "tokenizers",
    "trl",
    "peft",
    "accelerate",
    "datasets",
    "safetensors",
    "vllm",
    "numpy",
    "scipy",
    "datasketch",
    "pydantic",
    "aiohttp",
)
GIT_TIMEOUT_SECONDS = 10


@lru_cache(maxsize=1)
def git_state() -> dict[str, Any]:
    """`{commit, dirty}` of the checkout that this code runs from; both None where it is no checkout.

    `dirty` covers the package folder only: it tells whether the code differs from the commit.
    """
    package = Path(__file__).parent
    # A package inside another project's virtual environment must not report that project's commit.
    if _git(package, "ls-files", "--error-unmatch", Path(__file__).name) is None:
        return {"commit": None, "dirty": None}
    status = _git(package, "status", "--porcelain", "--", ".")
    return {"commit": _git(package, "rev-parse", "--verify", "HEAD"), "dirty": None if status is None else bool(status)}


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command, or None where git is missing, refuses or fails."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


@lru_cache(maxsize=1)
def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number; those not installed are left out."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def hardware() -> dict[str, Any]:
    """Platform, processor, usable cores, memory in GiB, and the accelerator if torch is loaded already."""
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "num_cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gib": _memory_gib(),
        "accelerator": _accelerator(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1)
    except (AttributeError, ValueError, OSError):
        return None


def _accelerator() -> str | None:
    """Name of the accelerator; never imports torch, because stages without a model must not pay for it."""
    torch = sys.modules.get("torch")
    if torch is None or not hasattr(torch, "accelerator") or not torch.accelerator.is_available():
        return None
    device = torch.accelerator.current_accelerator()
    module = getattr(torch, device.type, None)
    name = module.get_device_name() if module and hasattr(module, "get_device_name") else device.type
    return f"{torch.accelerator.device_count()} x {name}"
