"""Starts the processes of a sharded run, follows them, and turns the failure of one into one clear error.

A process that raises leaves its error in a file and torchrun ends the others. A process that is killed leaves nothing:
torchrun names its signal. A process that hangs makes the others wait in a collective, which fails after the timeout.
So every failure ends, and none of them leaves processes behind.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from safekeel.errors import DataError, EngineError, SafeKeelError, UsageError

WORKER = "safekeel.train.launch.worker"
POLL_SECONDS = 0.25
_KINDS: dict[int, type[SafeKeelError]] = {2: UsageError, 3: DataError, 4: EngineError}


def command(job: Path, processes: int) -> list[str]:
    """The torchrun command line of a job on this machine."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(processes), "-m", WORKER, str(job)),
    ]


def run(arguments: Sequence[str], errors: Path, log: Path, follow: Callable[[], None]) -> None:
    """Run torchrun to its end.

    Args:
        errors: folder where processes leave `rank-N.json`.
        log: file that gets everything the processes print.
        follow: called a few times a second, to report progress.

    Raises:
        SafeKeelError: a process failed: its own error where it left one, else EngineError with its signal or exit code.
    """
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "TORCH_CPP_LOG_LEVEL": "ERROR"}
    with log.open("ab") as stream:
        process = subprocess.Popen(
            arguments, stdout=stream, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
        try:
            while process.poll() is None:
                follow()
                time.sleep(POLL_SECONDS)
        finally:
            _end(process)
    follow()
    if process.returncode:
        raise failure(errors, log.read_text("utf-8", errors="replace"), process.returncode, log)


def failure(errors: Path, printed: str, code: int, log: Path) -> SafeKeelError:
    """The one error of a failed run. A process' own error comes before those of the others, whose collectives broke
    because of it."""
    found = {int(path.stem.split("-")[1]): json.loads(path.read_text("utf-8")) for path in errors.glob("rank-*.json")}
    own = {rank: error for rank, error in found.items() if error["exit_code"] is not None}
    if own:
        rank, error = min(own.items())
        return _KINDS.get(error["exit_code"], EngineError)(error["message"])
    if killed := re.search(r"exitcode\s*:\s*-(\d+) \(pid: \d+\)", printed):
        return EngineError(
            f"process {_rank_before(printed, killed.start())} of the run was ended by {_signal_name(int(killed[1]))}; "
            "the others were stopped. SIGKILL usually means that memory ran out: --dry-run estimates it. Start the "
            f"same command again to continue. Output: {log}"
        )
    if found:
        rank, error = min(found.items())
        hint = " A process did not answer in time: it hangs, or its machine is gone." if _timed_out(error) else ""
        first = error["message"].strip().splitlines()[0] if error["message"].strip() else ""
        return EngineError(f"process {rank} of the run failed with {error['kind']}: {first}.{hint} Output: {log}")
    return EngineError(f"torchrun ended with code {code} and no process left an error. Output: {log}")


def _timed_out(error: dict[str, str]) -> bool:
    return bool(re.search(r"time[d ]*out", error["message"], re.IGNORECASE))


def _rank_before(printed: str, place: int) -> str:
    ranks = re.findall(r"rank\s*:\s*(\d+)", printed[:place])
    return ranks[-1] if ranks else "?"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Leave no process behind, whatever ended the wait (Ctrl-C included)."""
    if process.poll() is not None:
        return
    process.terminate()  # torchrun passes it on to its processes
    try:
        process.wait(timeout=40)  # torchrun itself waits 30 seconds for them before it kills
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
