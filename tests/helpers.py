"""Shared by the end-to-end tests: a loop small enough for seconds, and the command as a user runs it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

# Every station of the loop is real; only the numbers of items and steps are small.
TINY = [
    "suite.num_refuse=62",
    "suite.num_answer=24",
    "suite.num_risk_choice=12",
    "suite.num_per_family=4",
    "suite.num_eligibility=4",
    "suite.num_arithmetic=30",
    "suite.num_knowledge=30",
    "corpus.num_pairs=62",
    "corpus.num_replay=100",
    "corpus.num_rl_pairs=20",
    "corpus.num_rl_capability=12",
    "sft.num_epochs=2",
    "sft.num_checkpoints=2",
    "select.num_refuse=31",
    "select.num_answer=12",
    "select.num_problems=6",
    "select.num_per_family=2",
    "rl.num_steps=4",
    "rl.prompts_per_step=2",
    "rl.num_generations=4",
    "rl.num_checkpoints=2",
]


def tiny_arguments(out: Path, *more: str) -> list[str]:
    """Arguments of `safekeel run` for the tiny loop."""
    return ["run", "--out", str(out), *(part for override in [*TINY, *more] for part in ("--set", override))]


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "safekeel.cli", *arguments]


def environment() -> dict[str, str]:
    """Offline, as a user without a network would be."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}


def start(*arguments: str) -> subprocess.Popen[str]:
    """Begin the command line, to be stopped in the middle: its stderr is a pipe, its stdout goes nowhere."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        # A shell that runs the tests in the background has them ignore it, and so would the command.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def safekeel(*arguments: str, timeout: float = 420) -> subprocess.CompletedProcess[str]:
    """Run the command line and wait for it."""
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=timeout, env=environment(), check=False
    )
