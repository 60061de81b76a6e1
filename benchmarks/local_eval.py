"""Local evaluation: our `hf` engine beside lm-eval's `hf` model, same checkpoint, prompts and machine, in one run.

    python benchmarks/local_eval.py --prompts 5000 --out docs/results/local_eval

Two conditions, greedy, at most 128 new tokens each:

    eos      answers end by themselves (nano: after 20 tokens on average, some never)
    fixed    no answer ends before 128 tokens: 5,000 prompts x 128 tokens

lm-eval is run at every batch size of `--batches` on `--scan` prompts (its default, 1, on `--slow` prompts: it needs
minutes for a thousand). Then ours and lm-eval at its best size take turns on all prompts, `--rounds` times. Ratios are
of the best round of each, since other work on the machine only ever adds time. lm-eval's texts are compared with ours,
so both are known to do the same work. Model loading is left out; rendering the prompts and reading the answers are in.
Threads: `--threads`, 1 by default, since with other work on the cores two threads wait for each other.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NEW_TOKENS = 128
BATCH = 128
UNREACHABLE = frozenset([-1])


def prompts_of(count: int) -> list[Any]:
    """Nano test items of all kinds, shuffled; the numbers of items are scaled up until there are enough."""
    from safekeel.bench.nano import NanoSuiteConfig, test_items
    from safekeel.nano.words import load_words

    half = count // 2
    config = NanoSuiteConfig(num_arithmetic=half, num_knowledge=half)
    items = test_items(load_words(None), config)
    random.Random(0).shuffle(items)
    if len(items) < count:
        raise SystemExit(f"only {len(items)} nano items, expected {count}; lower --prompts")
    return items[:count]


def run_ours(engine: Any, prompts: list[Any], fixed: bool) -> tuple[float, list[str]]:
    """Seconds, and the texts."""
    from safekeel.engines.base import Sampling

    stop_ids = engine.stop_ids
    engine.stop_ids = UNREACHABLE if fixed else stop_ids
    started = time.perf_counter()
    rows = engine.generate(prompts, Sampling(max_tokens=NEW_TOKENS))
    seconds = time.perf_counter() - started
    engine.stop_ids = stop_ids
    return seconds, [row.raw for row in rows]


def run_lm_eval(folder: Path, prompts: list[Any], batch: str, fixed: bool) -> tuple[float, list[str]]:
    """Seconds, and the texts. `min_new_tokens` is how lm-eval's users fix a length."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    size = int(batch) if batch.isdigit() else batch
    lm = HFLM(pretrained=str(folder), device="cpu", dtype="float32", batch_size=size, max_length=512)
    options: dict[str, Any] = {"until": [], "max_gen_toks": NEW_TOKENS, "do_sample": False}
    options |= {"min_new_tokens": NEW_TOKENS} if fixed else {}
    started = time.perf_counter()
    contexts = [lm.apply_chat_template([m.model_dump() for m in prompt.messages]) for prompt in prompts]
    requests = [Instance("generate_until", {}, (text, dict(options)), 0) for text in contexts]
    texts = lm.generate_until(requests, disable_tqdm=True)
    return time.perf_counter() - started, texts


def measure(label: str, count: int, run: Callable[[], tuple[float, list[str]]]) -> dict[str, Any]:
    """One measurement, printed and returned with the load of the machine around it."""
    before = os.getloadavg()[0]
    cpu = time.process_time()
    seconds, texts = run()
    row = {
        "system": label,
        "prompts": count,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "prompts_per_second": round(count / seconds, 2),
        "load_before": round(before, 2),
        "load_after": round(os.getloadavg()[0], 2),
    }
    print(json.dumps(row), flush=True)
    return row | {"texts": texts}


def compare(condition: str, arguments: argparse.Namespace, engine: Any, prompts: list[Any]) -> dict[str, Any]:
    """All measurements of one condition and the ratios."""
    fixed = condition == "fixed"
    print(f"--- {condition}", flush=True)
    run_ours(engine, prompts[:64], fixed)  # warm up
    scans = []
    for batch in arguments.batches.split(","):
        some = prompts[: arguments.slow if batch == "1" else arguments.scan]
        run = lambda batch=batch, some=some: run_lm_eval(engine.folder, some, batch, fixed)  # noqa: E731
        scans.append(measure(f"lm-eval hf, batch {batch}", len(some), run) | {"batch": batch})
    order = sorted(scans, key=lambda row: row["cpu_seconds"] / row["prompts"])
    sizes = [row["batch"] for row in order[:2]]  # more prompts make more alike batches: the runner-up may win
    rounds = []
    for _ in range(arguments.rounds):
        rounds.append(measure(f"safekeel hf, batch {BATCH}", len(prompts), lambda: run_ours(engine, prompts, fixed)))
        turn = []
        for batch in sizes:
            run = lambda batch=batch: run_lm_eval(engine.folder, prompts, batch, fixed)  # noqa: E731
            turn.append(measure(f"lm-eval hf, batch {batch}", len(prompts), run) | {"batch": batch})
        sizes = [min(turn, key=lambda row: row["cpu_seconds"])["batch"]]
        rounds += turn
    ours = [row for row in rounds if row["system"].startswith("safekeel")]
    theirs = [row for row in rounds if row not in ours]
    default = next((row["prompts_per_second"] for row in scans if row["batch"] == "1"), None)
    same = sum(a == b for a, b in zip(ours[0]["texts"], theirs[0]["texts"], strict=True)) if not fixed else None
    rows = [*scans, *rounds]
    speed = max(row["prompts_per_second"] for row in ours)
    return {
        "condition": condition,
        "command": arguments.command,
        "rows": [{key: value for key, value in row.items() if key not in ("texts", "batch")} for row in rows],
        "ratio_to_best": round(speed / max(row["prompts_per_second"] for row in theirs), 2),
        "ratio_to_best_cpu": round(min(r["cpu_seconds"] for r in theirs) / min(r["cpu_seconds"] for r in ours), 2),
        "ratio_to_default": None if default is None else round(speed / default, 2),
        "same_texts": same,
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The tables."""
    lines = ["# Local evaluation: our `hf` engine beside lm-eval's `hf` model", ""]
    lines += [f"{result['machine']}.", ""]
    for part in result["conditions"]:
        lines += [
            f"## {part['condition']}",
            "",
            f"`{part['command']}`",
            "",
            "| system | prompts | seconds | CPU seconds | prompts/s | load |",
        ]
        lines += ["|---|---:|---:|---:|---:|---:|"]
        for row in part["rows"]:
            load = f"{row['load_before']} → {row['load_after']}"
            cells = (row["system"], row["prompts"], row["seconds"], row["cpu_seconds"], row["prompts_per_second"], load)
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        lines += [
            "",
            f"Ours to lm-eval at its best batch size, the best round of each: **{part['ratio_to_best']}×**; in CPU "
            f"seconds {part['ratio_to_best_cpu']}×.",
        ]
        if part["ratio_to_default"] is not None:
            lines.append(f"To lm-eval's default (batch 1): **{part['ratio_to_default']}×**.")
        if part["same_texts"] is not None:
            lines.append(f"Same text in {part['same_texts']} of {part['rows'][-1]['prompts']} prompts.")
        lines.append("")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=5000)
    parser.add_argument("--fixed-prompts", type=int, default=5000, help="prompts of the condition `fixed`")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scan", type=int, default=512, help="prompts per batch size when the best one is looked for")
    parser.add_argument("--slow", type=int, default=100, help="prompts for lm-eval's default batch size of 1")
    parser.add_argument("--batches", default="1,16,64,128,256,auto")
    parser.add_argument("--conditions", default="eos,fixed")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/results/local_eval"))
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": str(arguments.threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    import torch
    import transformers

    from safekeel.engines.hf import HfEngine
    from safekeel.nano.model import shipped_checkpoint

    torch.set_num_threads(arguments.threads)
    engine = HfEngine(shipped_checkpoint(), batch_size=BATCH, device="cpu")
    prompts = prompts_of(max(arguments.prompts, arguments.fixed_prompts))
    given = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in vars(arguments).items())
    arguments.command = f"python benchmarks/local_eval.py {given}"
    file = arguments.out / "local_eval.json"
    earlier = json.loads(file.read_text("utf-8"))["conditions"] if file.exists() else []
    found = {part["condition"]: part for part in earlier}
    arguments.out.mkdir(parents=True, exist_ok=True)
    for condition in arguments.conditions.split(","):
        count = arguments.fixed_prompts if condition == "fixed" else arguments.prompts
        found[condition] = compare(condition, arguments, engine, prompts[:count])
        print(json.dumps({k: v for k, v in found[condition].items() if k != "rows"}), flush=True)
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, {arguments.threads} thread(s), torch "
            f"{torch.__version__}, transformers {transformers.__version__}, shared with other work (see load)",
            "conditions": [found[name] for name in sorted(found)],
        }
        file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
        (arguments.out / "local_eval.md").write_text(as_markdown(result), "utf-8")


if __name__ == "__main__":
    main()
