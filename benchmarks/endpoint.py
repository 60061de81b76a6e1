"""Speed and faults of the endpoint client, beside a bare aiohttp loop, lm-eval and Inspect in the same run.

    python benchmarks/endpoint.py [--inspect-python .venv-inspect/bin/python] [--scale 0.1] [--out DIR]

Each client runs in its own process against a mock server in another (`mock_endpoint.py` for speed, `tests/endpoint.py`
for faults), one after the other. Writes `endpoint.json` and `endpoint.md`. Needs `pip install 'lm-eval[api]'`; Inspect
needs other versions than SafeKeel, so it comes from an environment of its own, and is left out where there is none.

span      seconds from the first request to the last reply, as the server sees them
ideal     N / C x latency; ratio = span / ideal
CPU       of the client process, per request, without imports; RSS = its highest, with them
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.endpoint import endpoint  # noqa: E402

CASES = ((500, 1.0, 10_000), (2_000, 10.0, 10_000))
"""In flight, seconds of latency, requests."""
INSPECT_WINDOWS = {500: 2, 2_000: 1}
"""Inspect gets so many windows of requests: at 20 ms of CPU each, 10,000 would take minutes."""
CLIENTS = ("bare aiohttp", "safekeel", "lm-eval", "inspect")
FAULTS = {
    "2% 429, Retry-After 1 s": {"busy": 0.02},
    "1% resets": {"reset": 0.01},
    "0.5% hangs": {"hang": 0.005},
    "1% garbage JSON": {"garbage": 0.01},
    "1% half a UTF-8 character": {"half_utf8": 0.01},
    "1% `choices: []`": {"no_choices": 0.01},
    "1% `content: null`": {"null_content": 0.01},
    "1% stopped by a filter": {"filter": 0.01},
    "all of these": {
        "busy": 0.02, "reset": 0.01, "hang": 0.005, "garbage": 0.01, "half_utf8": 0.01, "no_choices": 0.01,
        "null_content": 0.01, "filter": 0.01,
    },
}  # fmt: skip
FAULT_REQUESTS, FAULT_CONCURRENCY, FAULT_LATENCY, FAULT_TIMEOUT = 1_000, 100, 0.1, 3


@contextmanager
def mock(latency: float) -> Iterator[str]:
    """The fast server; its base URL."""
    command = [sys.executable, str(ROOT / "benchmarks/mock_endpoint.py"), str(latency)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.kill()
        process.wait()


def run_client(client: str, python: str, options: dict[str, Any]) -> dict[str, Any]:
    """What `endpoint_clients.py` measured."""
    command = [python, str(ROOT / "benchmarks/endpoint_clients.py"), client, json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=900)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        return {"died": (done.stderr.strip().splitlines() or ["no output"])[-1][:200]}
    return dict(json.loads(lines[-1].removeprefix("RESULT ")))


def ask(url: str) -> dict[str, Any]:
    """The mock's counters."""
    with urllib.request.urlopen(url.replace("/v1", "/stats"), timeout=30) as reply:
        return dict(json.load(reply))


def speed(client: str, python: str, concurrency: int, latency: float, number: int) -> dict[str, Any]:
    """One client at one load."""
    options = {"requests": number, "concurrency": concurrency, "timeout": 600}
    with mock(0.01) as warm_up, mock(latency) as url:
        result = run_client(client, python, options | {"url": url, "warm_up": warm_up})
        seen = ask(url)
    ideal = number / concurrency * latency
    row = {"client": client, "concurrency": concurrency, "latency": latency, "requests": number, "ideal": ideal}
    row |= {"load_average": os.getloadavg()[0], "server_cpu": seen["server_cpu"], "died": result["died"]}
    if not result["died"]:
        row |= {"span": seen["seconds"], "ratio": seen["seconds"] / ideal, "peak": seen["peak"]}
        row |= {"cpu_ms": 1000 * result["cpu"] / number, "rss_mb": result["rss_mb"], "wall": result["wall"]}
        row |= {"lost": result["lost"], "wrong": result["wrong"]}
    return row


def stream_cost() -> dict[str, float]:
    """CPU per streamed event (token) of the bare loop: its whole CPU time less that of unstreamed replies."""
    options = {"requests": 200, "concurrency": 100, "timeout": 600, "warm_up": ""}
    with mock(4.0) as url:
        plain = run_client("bare aiohttp", sys.executable, options | {"url": url})
        streamed = run_client("bare aiohttp, streamed", sys.executable, options | {"url": url})
    events = 200 * options["requests"]
    return {"events": events, "cpu_us_per_event": 1e6 * (streamed["cpu"] - plain["cpu"]) / events}


def faults(client: str, python: str, name: str) -> dict[str, Any]:
    """One client under one kind of fault; asked again, a chosen prompt is answered, so nothing need be lost."""
    options = {"requests": FAULT_REQUESTS, "concurrency": FAULT_CONCURRENCY, "timeout": FAULT_TIMEOUT, "warm_up": ""}
    with endpoint(latency=FAULT_LATENCY, faults=FAULTS[name], fault_times=1, retry_after=1) as server:
        result = run_client(client, python, options | {"url": server.base_url})
        seen = server.stats()["faults"]
    kept = {key: result.get(key) for key in ("lost", "told", "wrong", "twice", "wall", "died")}
    return {"client": client, "fault": name, "requests": FAULT_REQUESTS, "sent_faults": seen, **kept}


def markdown(report: dict[str, Any]) -> str:
    """The tables that were measured."""
    inspect = f"Inspect {report['inspect']}" if report["inspect"] else "Inspect not run"
    lines = [
        f"# The endpoint client, measured\n\n`{report['command']}`, {report['date']}, {report['cpus']} cores shared "
        f"with other work (`load` = load average after the run), {inspect}.\n"
    ]
    lines += speed_table(report.get("speed", []), report.get("stream"))
    lines += [f"{note}\n" for note in report.get("notes", [])]
    lines += fault_table(report.get("faults", []))
    return "\n".join(lines) + "\n"


def speed_table(rows: list[dict[str, Any]], stream: dict[str, float] | None) -> list[str]:
    """One line per client and load."""
    lines = ["| client | in flight | latency | requests | ideal | span | ratio | peak | CPU/request | RSS | load |"]
    lines += ["|---|---|---|---|---|---|---|---|---|---|---|"]
    for row in rows:
        load = f"{row['concurrency']:,} | {row['latency']:g} s | {row['requests']:,} | {row['ideal']:g} s"
        measured = f"died: {row['died']} | | | | | "
        if not row["died"]:
            measured = (
                f"{row['span']:.2f} s | {row['ratio']:.3f} | {row['peak']:,} | {row['cpu_ms']:.2f} ms | "
                f"{row['rss_mb']:.0f} MB | {row['load_average']:.1f}"
            )
        lines.append(f"| {row['client']} | {load} | {measured} |")
    if stream:
        lines.append(
            f"\nA streamed token costs the bare loop {stream['cpu_us_per_event']:.0f} µs of CPU ({stream['events']:,} "
            "events), a thousand of them many milliseconds per reply: replies are not streamed.\n"
        )
    return lines


def fault_table(rows: list[dict[str, Any]]) -> list[str]:
    """One line per fault and client."""
    lines = [
        f"Under faults: {FAULT_REQUESTS:,} requests, {FAULT_CONCURRENCY} in flight, {FAULT_LATENCY:g} s latency, "
        f"timeout {FAULT_TIMEOUT} s. A chosen prompt fails once and is answered when asked again. *No answer*: lost, "
        "or an error the client reports (*told*); *mis-scored*: a text that is not the model's whole answer, given as "
        "its answer. What a filter stopped has no answer by rights.\n",
        "| fault | client | no answer | told | mis-scored | twice | seconds | |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        note = f"the run died: {row['died']}" if row["died"] else ""
        counts = [row[name] for name in ("lost", "told", "wrong", "twice")]
        cells = [row["fault"], row["client"], *counts, f"{row['wall'] or 0:.1f}", note]
        lines.append("| " + " | ".join(str(cell).replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    return lines


def write(report: dict[str, Any], folder: Path) -> None:
    """Both files."""
    (folder / "endpoint.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    (folder / "endpoint.md").write_text(markdown(report), "utf-8")


def main() -> None:
    """Measure everything, write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inspect-python", help="interpreter with inspect-ai")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the requests")
    parser.add_argument("--clients", default=",".join(CLIENTS))
    parser.add_argument("--only", choices=("speed", "faults"), help="one of the tables; the other is kept as it was")
    parser.add_argument("--note", action="append", default=[], help="a remark to print below the speed table")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the Markdown again")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/results/endpoint")
    options = parser.parse_args()
    clients = [name for name in options.clients.split(",") if name != "inspect" or options.inspect_python]
    if "inspect" in options.clients.split(",") and not options.inspect_python:
        print("inspect: skipped, no --inspect-python")
    options.out.mkdir(parents=True, exist_ok=True)
    target = options.out / "endpoint.json"
    report = json.loads(target.read_text("utf-8")) if (options.only or options.render) and target.exists() else {}
    report["notes"] = [*report.get("notes", []), *options.note]
    if options.render:
        write(report, options.out)
        return
    report |= {
        "command": "python benchmarks/endpoint.py",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpus": os.cpu_count(),
        "inspect": "0.3.285" if options.inspect_python else None,
    }
    pythons = {"inspect": options.inspect_python}
    if options.only != "faults":
        report["stream"] = stream_cost()
        report["speed"] = []
        for concurrency, latency, whole in CASES:
            for client in clients:
                windows = INSPECT_WINDOWS[concurrency] if client == "inspect" else whole // concurrency
                number = max(1, round(windows * options.scale)) * concurrency
                report["speed"].append(speed(client, pythons.get(client, sys.executable), concurrency, latency, number))
                print(json.dumps(report["speed"][-1]), flush=True)
    if options.only != "speed":
        report["faults"] = []
        for name in FAULTS:
            for client in clients:
                if client != "bare aiohttp":  # it has no retries: it would only die
                    report["faults"].append(faults(client, pythons.get(client, sys.executable), name))
                    print(json.dumps(report["faults"][-1], ensure_ascii=False), flush=True)
    write(report, options.out)


if __name__ == "__main__":
    main()
