"""What a command costs with all its child processes: seconds, CPU seconds, peak memory (Linux)."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

SAMPLE_SECONDS = 0.2


def measured(command: list[str]) -> dict[str, float]:
    """Wall-clock and CPU seconds of a command, and the peak of what it and its children hold in memory, in GiB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    peak, cpu, done = [0.0], dict[int, float](), threading.Event()

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            usage = family(process.pid)
            peak[0] = max(peak[0], sum(memory for _, memory in usage.values()))
            cpu.update({number: seconds for number, (seconds, _) in usage.items()})

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    _, errors = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{errors[-2000:]}")
    return {"wall": time.perf_counter() - started, "cpu": sum(cpu.values()), "peak_gib": peak[0]}


def family(root: int) -> dict[int, tuple[float, float]]:
    """CPU seconds and GiB in memory of a process and of all below it, by process id (Linux)."""
    parents: dict[int, list[int]] = {}
    usage: dict[int, tuple[float, float]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has just ended
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            usage[int(entry.name)] = seconds, int(fields[21]) * os.sysconf("SC_PAGE_SIZE") / 2**30
    members, waiting = {}, [root]
    while waiting:
        number = waiting.pop()
        waiting += parents.get(number, [])
        if number in usage:
            members[number] = usage[number]
    return members
