"""Speed of the corpus steps: normalise, duplicates and contamination on made prompts, beside datatrove's MinHash.

    python benchmarks/corpus_speed.py [--rows 1000000] [--datatrove-python PATH] [--out docs/results/corpus]

Both read the same JSONL and write what they keep. Ours is one process and the steps that `corpus build` runs, streamed;
datatrove has two workers, character 5-grams as ours, and its own bands (14 of 8; ours are 32 of 6, which find more).
Memory is the sum over all processes of what they hold, sampled five times a second. Held-out texts are made ones and
every benchmark at hand (SAFEKEEL_DATA). Prints and writes `speed.json` and `speed.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
    os.environ[variable] = "1"  # before numpy and rensa are imported

from corpus_rows import HELD_SHARES, SHARES, write  # noqa: E402
from process_cost import measured  # noqa: E402

from safekeel.corpus.sample import Rejected, Sample  # noqa: E402
from safekeel.corpus.steps.band_index import BandHasher  # noqa: E402
from safekeel.corpus.steps.base import StepReport, stream_steps  # noqa: E402
from safekeel.corpus.steps.contamination import Contamination  # noqa: E402
from safekeel.corpus.steps.duplicates import Duplicates  # noqa: E402
from safekeel.corpus.steps.held_out import HeldOutItem, collect_held_out  # noqa: E402
from safekeel.corpus.steps.normalise import Normalise  # noqa: E402
from safekeel.records import Message, Prompt  # noqa: E402

HERE = Path(__file__).resolve().parent
TARGET = {"rows": 1_000_000, "seconds": 180, "gib": 4}  # issue 4
BANDS, OWN_BANDS = (14, 8), (32, 6)
WORKERS = 2


def samples(path: Path) -> Iterator[Sample]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            prompt = Prompt(
                id=row["id"],
                messages=(Message(role="user", content=row["text"]),),
                lang=row["lang"],
                risk=None,
                expect="answer",
                target=None,
                source="made",
                licence="Apache-2.0",
            )
            yield Sample(id=row["id"], role="general", prompt=prompt)


def ours(folder: Path) -> None:
    """The steps on `folder/rows.jsonl`; writes kept and rejected rows and `ours.json`. Runs as a process of its own."""
    started = time.perf_counter()
    made = [json.loads(line) for line in (folder / "held_out.jsonl").read_text("utf-8").splitlines()]
    items = [HeldOutItem(row["id"], "made", row["text"]) for row in made] + collect_held_out(None).items
    hasher = BandHasher(0.8)
    steps = [Normalise(), Duplicates(hasher=hasher), Contamination(items, hasher=hasher)]
    ready = time.perf_counter() - started
    reports = [StepReport(step.name) for step in steps]
    with (folder / "kept.jsonl").open("wb") as kept, (folder / "rejected.jsonl").open("wb") as rejected:
        for row in stream_steps(samples(folder / "rows.jsonl"), steps, reports):
            (rejected if isinstance(row, Rejected) else kept).write(row.model_dump_json().encode() + b"\n")
    total = time.perf_counter() - started
    result = {
        "held_out": len(items),
        "seconds": {"index of held-out items": ready} | {report.step: report.seconds for report in reports},
        "reports": [vars(report) for report in reports],
        "total": total,
    }
    result["seconds"]["reading and writing rows"] = total - sum(result["seconds"].values())
    (folder / "ours.json").write_text(json.dumps(result))


def found_by_us(folder: Path) -> dict[str, Any]:
    """Planted rows that were dropped for the right reason, and rows dropped though nothing was planted."""
    rows = read(folder / "rows.jsonl")
    dropped = {row["sample"]["id"]: row for row in read(folder / "rejected.jsonl")}
    planted, found, wrong = Counter[str](), Counter[str](), Counter[str]()
    for row in rows:
        rejected = dropped.get(row["id"])
        if row["kind"] == "base":
            if rejected:
                wrong[rejected["reason"]] += 1
            continue
        planted[row["kind"]] += 1
        wanted = {
            "copy": ["exact_duplicate"],
            "disguised": ["exact_duplicate", "near_duplicate"],
            "near": ["near_duplicate"],
        }
        reasons = wanted.get(row["kind"], ["contaminated"])
        found[row["kind"]] += bool(rejected and rejected["reason"] in reasons and row["of"] in rejected["evidence"])
    return {"planted": dict(planted), "found": dict(found), "unplanted_dropped": dict(wrong)}


def found_by_datatrove(folder: Path) -> dict[str, Any]:
    """Planted pairs of which it did not keep both; base rows it dropped that nothing was planted from."""
    kept = set((folder / "datatrove/kept.txt").read_text("utf-8").split("\n"))
    rows = read(folder / "rows.jsonl")
    planted, found, originals = Counter[str](), Counter[str](), {row["of"] for row in rows}
    for row in rows:
        if row["kind"] in SHARES:
            planted[row["kind"]] += 1
            found[row["kind"]] += not (row["id"] in kept and row["of"] in kept)
    wrong = sum(row["kind"] == "base" and row["id"] not in kept and row["id"] not in originals for row in rows)
    return {"planted": dict(planted), "found": dict(found), "unplanted_dropped": wrong}


def read(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Make the rows, run both sides, compare."""
    print(f"making {args.rows:,} rows", file=sys.stderr)
    write(folder, args.rows, args.seed)
    load = os.getloadavg()[0]
    result: dict[str, Any] = {
        "rows": args.rows,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
        "load_before": load,
        "versions": {name: version(name) for name in ("numpy", "opencc", "rensa")},
    }
    print("running ours", file=sys.stderr)
    cost = measured([sys.executable, str(Path(__file__).resolve()), "--worker", str(folder)])
    result["ours"] = cost | json.loads((folder / "ours.json").read_text()) | found_by_us(folder)
    if args.datatrove_python:
        (folder / "datatrove").mkdir()
        for buckets, hashes in args.bands:
            print(f"running datatrove, {buckets} bands of {hashes}", file=sys.stderr)
            place = folder / "datatrove"
            script = [str(HERE / "corpus_speed_datatrove.py"), str(folder / "rows.jsonl"), str(place)]
            cost = measured([args.datatrove_python, *script, str(buckets), str(hashes), str(WORKERS)])
            stages = json.loads((place / "stages.json").read_text())
            found = {"bands": [buckets, hashes], "seconds": stages, "total": sum(stages.values())}
            result.setdefault("datatrove", []).append(cost | found | found_by_datatrove(folder))
            shutil.rmtree(place)
            place.mkdir()
    return result


def markdown(result: dict[str, Any]) -> str:
    """The page."""
    ours, rows = result["ours"], result["rows"]
    lines = [
        f"Normalise, duplicates and contamination on {rows:,} made prompts (half Chinese, half English, 20 to 200 "
        f"characters) against {ours['held_out']:,} held-out texts. `python benchmarks/corpus_speed.py`, "
        f"{result['date']}, {result['machine']}, load {result['load_before']:.1f} before the run.",
        "",
        f"Asked for (issue 4): 1,000,000 rows in {TARGET['seconds']} s and {TARGET['gib']} GiB on two cores. "
        f"Ours: **{ours['wall']:.0f} s and {ours['peak_gib']:.2f} GiB for {rows:,} rows**, one process, "
        f"{ours['cpu']:.0f} s of CPU time.",
        "",
        "| step of ours | rows in | seconds | rows/s | dropped |",
        "|---|---|---|---|---|",
    ]
    for report in ours["reports"]:
        dropped = ", ".join(f"{count:,} {reason}" for reason, count in report["dropped"].items())
        rate = report["rows_in"] / report["seconds"]
        lines.append(
            f"| {report['step']} | {report['rows_in']:,} | {report['seconds']:.1f} | {rate:,.0f} | {dropped} |"
        )
    for name in ("index of held-out items", "reading and writing rows"):
        lines.append(f"| {name} | | {ours['seconds'][name]:.1f} | | |")
    sides = [("ours, exact and near, 32 bands of 6, Jaccard checked", ours)]
    sides += [
        (f"datatrove 0.10, {run['bands'][0]} bands of {run['bands'][1]}", run) for run in result.get("datatrove", [])
    ]
    kinds = [*SHARES, *HELD_SHARES]
    lines += [
        "",
        "Same rows, same shingles (5 characters). datatrove does neither normalise nor decontaminate here; it is given "
        "two workers. A planted pair counts as found where not both rows are kept, for ours where the second goes for "
        "the right reason and names the first.",
        "",
        "| | seconds | CPU seconds | peak GiB | " + " | ".join(kinds) + " | dropped, not planted |",
        "|---|---|---|---|" + "---|" * (len(kinds) + 1),
    ]
    for name, side in sides:
        shares = [f"{side['found'][k]:,}/{side['planted'][k]:,}" if k in side["planted"] else "" for k in kinds]
        wrong = side["unplanted_dropped"]
        wrong = wrong if isinstance(wrong, int) else sum(wrong.values())
        figures = f"{side['total']:.1f} | {side['cpu']:.1f} | {side['peak_gib']:.2f}"
        lines.append(f"| {name} | {figures} | {' | '.join(shares)} | {wrong} |")
    for name, side in sides[1:]:
        lines += ["", f"{name} takes {side['total'] / ours['total']:.1f} times as long as ours."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=TARGET["rows"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--datatrove-python", help="Python of an environment with datatrove[processing] 0.10")
    parser.add_argument("--same-bands", action="store_true", help="datatrove also with our 32 bands of 6")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/results/corpus")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        ours(args.worker)
        return
    args.bands = [BANDS, OWN_BANDS] if args.same_bands else [BANDS]
    with tempfile.TemporaryDirectory() as folder:
        result = run(args, Path(folder))
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "speed.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    (args.out / "speed.md").write_text(page := markdown(result), "utf-8")
    print(page)


if __name__ == "__main__":
    main()
