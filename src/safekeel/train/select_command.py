"""`safekeel select`: checkpoints of any model on a validation set made of benchmarks, outside a run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage, digest, run_lock
from safekeel.bench import nano as nano_bench
from safekeel.bench.command import NANO, EvalRequest, JudgeRequest, sampling_of
from safekeel.bench.routing import judge_for
from safekeel.bench.safety import BENCHMARKS
from safekeel.engines import open_engine
from safekeel.errors import DataError, UsageError
from safekeel.judges.open import notice
from safekeel.nano.words import load_words
from safekeel.progress import ProgressReporter
from safekeel.records import Prompt
from safekeel.train.candidates import ADAPTER_CONFIG
from safekeel.train.select import CANDIDATES, STAGE, VERSION, SelectConfig, run

KEPT = ("completions-*.jsonl", "verdicts-*.jsonl")
"""Rows found again by their key: other alphas, budgets or items generate and judge only what is new."""
RUN_CHECKPOINTS, RUN_BASE = "20-sft/checkpoints", "00-base/model"
ENGINES = ("hf", "vllm")
Say = Callable[[str], None]


@dataclass(frozen=True)
class SelectRequest:
    """What to select from, against which base, on what."""

    sources: tuple[Path, ...]
    base: Path | None
    benches: tuple[str, ...]
    config: SelectConfig
    judge: JudgeRequest = field(default_factory=JudgeRequest)
    engine: str = "hf"
    limit: int | None = None
    data_dir: Path | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    batch_size: int = 64
    test_words: Path | None = None


def select_models(request: SelectRequest, out: Path, say: Say) -> dict[str, Any]:
    """Fill `out`; returns `candidates.json`. Continues after a kill, skips what is done.

    Raises:
        UsageError, DataError, EngineError: see `select.run`; what was generated stays in `out`.
    """
    if request.engine not in ENGINES:
        raise UsageError(f"--engine {request.engine!r}: expected {' or '.join(ENGINES)}; candidates are local folders.")
    checkpoints, base = find_checkpoints(request.sources), request.base or _run_base(request.sources)
    prompts, budget, notes = validation_prompts(request)
    asked = EvalRequest(
        model=f"{request.engine}:{base or checkpoints[0]}",
        benches=request.benches,
        judge=request.judge,
        temperature=request.temperature,
        seed=request.config.seed,
    )
    sampling = sampling_of(asked, request.max_tokens or budget, say)
    judge = judge_for(prompts, request.judge.open, request.test_words)
    for note in [*notes, *([guard] if (guard := notice(request.judge.name)) else [])]:
        say(note)
    identity = request.config.model_dump(mode="json") | {
        "prompts": digest([prompt.model_dump(mode="json") for prompt in prompts]),
        "sampling": sampling.model_dump(mode="json"),
        "judge": judge.version,
        "engine": request.engine,
        "has_base": base is not None,
    }
    inputs = [*([base] if base else []), *checkpoints]
    stage = Stage(out, STAGE, VERSION, identity, inputs, request.config.seed, "safekeel select", keep=KEPT)
    options = {"batch_size": request.batch_size} if request.engine == "hf" else {}
    with run_lock(out), ProgressReporter() as progress:
        if stage.is_current():
            say(f"{out}: up to date, skipped")
        else:
            run(
                request.config,
                stage,
                checkpoints,
                prompts,
                lambda path: open_engine(f"{request.engine}:{path}", **options),
                judge,
                sampling.max_tokens,
                progress,
                base=base,
                sampling=sampling,
                say=say,
                notes=tuple(notes),
            )
    found: dict[str, Any] = json.loads((out / CANDIDATES).read_text("utf-8"))
    return found


def find_checkpoints(sources: tuple[Path, ...]) -> list[Path]:
    """Model and adapter folders: each source is one, or a folder of `checkpoint-N`, or a run.

    Raises:
        UsageError: a source is none of these.
    """
    found: list[Path] = []
    for source in sources:
        if _holds_weights(source):
            found.append(source)
            continue
        inside = [place for place in (source, source / RUN_CHECKPOINTS, source / "checkpoints") if place.is_dir()]
        steps = [path for place in inside for path in place.glob("checkpoint-*") if _holds_weights(path)]
        if not steps:
            raise UsageError(
                f"{source} holds no checkpoint; expected a run folder, a folder of checkpoint-N folders, a model "
                "folder with config.json, or a LoRA adapter."
            )
        found += sorted(steps, key=lambda path: (int(path.name[11:]) if path.name[11:].isdigit() else 0, path.name))
    return found


def _holds_weights(folder: Path) -> bool:
    has_settings = (folder / "config.json").is_file() or (folder / ADAPTER_CONFIG).is_file()
    return has_settings and any(folder.glob("*.safetensors"))


def _run_base(sources: tuple[Path, ...]) -> Path | None:
    """The base of the run that is selected from."""
    places = [source / RUN_BASE for source in sources if (source / RUN_BASE).is_dir()]
    return places[0] if places else None


def validation_prompts(request: SelectRequest) -> tuple[list[Prompt], int, list[str]]:
    """The items, the largest token budget, and what has to be said about them.

    Raises:
        UsageError: no benchmark of that name.
        DataError: its data is missing, or there are no items.
    """
    prompts: list[Prompt] = []
    budget, notes, seed = 0, list[str](), request.config.seed
    for name in dict.fromkeys(request.benches):
        if name == NANO:
            config = request.config
            sizes = (config.num_refuse, config.num_answer, config.num_problems, config.num_per_family)
            prompts += nano_bench.selection_items(load_words(request.test_words), *sizes, seed)
            budget = max(budget, nano_bench.MAX_TOKENS)
            continue
        bench = BENCHMARKS.get(name)
        try:
            prompts += bench.prompts("validation", request.limit, request.data_dir, seed)
        except UsageError:  # most public sets have one split
            items = bench.prompts("test", request.limit, request.data_dir, seed)
            prompts += items
            notes.append(
                f"{name} has no validation split: {len(items)} of its test items choose the model, and a result on "
                "them is no evidence any more. Report other benchmarks, or leave these items out (their ids are in "
                "the completions)."
            )
        budget = max(budget, bench.max_tokens)
    if not prompts:
        raise DataError(f"--bench {','.join(request.benches)!r} gives no items.")
    return prompts, budget, notes


def as_text(table: dict[str, Any]) -> str:
    """The candidates for a terminal: percentages, changes in points, the bound that counts in brackets."""
    has_bounds = table["rule"] == "bounds"
    width = max(len("candidate"), *(len(row["name"]) for row in table["candidates"])) + 2
    head = f"  {'candidate':<{width}}{'safety':>15}{'over-refusal':>15}{'capability':>13}"
    lines = [head + (f"{'rise':>16}{'loss':>16}  standing" if has_bounds else "")]
    if "base" in table:
        lines.append(_line(" ", "base", width, table["base"], None))
    for row in table["candidates"]:
        mark = "*" if row["chosen"] else "." if row["pareto"] else " "
        lines.append(_line(mark, row["name"], width, row, row.get("bounds")) + _standing(row))
    lines.append("  * chosen   . not dominated" + ("   [one-sided bound]" if has_bounds else ""))
    if has_bounds:
        lines.append(_sizes(table["candidates"][0]["bounds"]))
    lines += [f"note: {note}" for note in table["notes"]]
    if not table["qualified"]:
        lines.append("NOT QUALIFIED: the model written meets the constraints by no confidence bound.")
    return "\n".join([*lines, f"{table['chosen']}: {table['reason']}"])


def _line(mark: str, name: str, width: int, row: dict[str, Any], bounds: dict[str, Any] | None) -> str:
    def share(value: float) -> str:
        return f"{100 * value:.1f}%"

    def points(change: dict[str, Any]) -> str:
        return f"{100 * change['value']:+.1f} [{100 * change['upper']:+.1f}]"

    safety = share(row["safety"]) + (f" [{share(bounds['safety']['lower'])}]" if bounds else "")
    line = f"{mark} {name:<{width}}{safety:>15}{share(row['over_refusal']):>15}{share(row['capability']):>13}"
    if bounds:
        line += f"{points(bounds['over_refusal_rise']):>16}{points(bounds['capability_loss']):>16}"
    return line


def _standing(row: dict[str, Any]) -> str:
    if "standing" not in row:
        return ""
    return f"  {row['standing']}" + (f" ({', '.join(row['broken'])})" if row["broken"] else "")


def _sizes(bounds: dict[str, Any]) -> str:
    parts = [
        f"{name} {bounds[key]['n']} items (count as {bounds[key]['effective_n']:.0f})"
        for name, key in (
            ("safety", "safety"),
            ("over-refusal", "over_refusal_rise"),
            ("capability", "capability_loss"),
        )
    ]
    return f"  {', '.join(parts)}"
