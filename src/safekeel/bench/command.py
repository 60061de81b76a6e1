"""`safekeel eval` and `safekeel score`: a model on named benchmarks, outside a run folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from safekeel.artifact import Stage, read_manifest
from safekeel.bench import nano as nano_bench
from safekeel.bench.nano import family_pools
from safekeel.bench.run import JUDGED_BY, evaluate, rejudge
from safekeel.bench.safety import BENCHMARKS
from safekeel.config import build
from safekeel.engines import open_engine
from safekeel.engines.base import Sampling
from safekeel.errors import DataError, UsageError
from safekeel.judges.base import Judge
from safekeel.judges.nano import NanoJudge
from safekeel.judges.rules import RulesJudge
from safekeel.nano.words import load_words
from safekeel.progress import ProgressReporter
from safekeel.records import Completion, Prompt, Score, Verdict, read_jsonl

NANO = "nano"
FAMILIES = "05-eval-before/families.json"  # of the run folder an evaluation may lie in


@dataclass(frozen=True)
class EvalRequest:
    """Everything that decides an evaluation; it is the stage's configuration."""

    model: str
    benches: tuple[str, ...]
    judge: str
    samples: int
    think: str
    max_tokens: int | None
    temperature: float
    top_p: float
    limit: int | None
    data_dir: Path | None
    batch_size: int
    seed: int
    test_words: Path | None


class JudgeByWorld:
    """Nano items are read by the world's grammar, all others by the judge that was asked for."""

    def __init__(self, other: Judge, test_words: Path | None) -> None:
        self.nano, self.other = NanoJudge(load_words(test_words)), other
        self.name, self.version = other.name, f"{self.nano.version}+{other.version}"
        self.label_source, self.card = other.label_source, other.card

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        judge = self.nano if prompt.meta.get("world") == NANO else self.other
        return judge.judge(prompt, completion)


def open_judge(name: str) -> Judge:
    """The judge called `name`.

    Raises:
        UsageError: there is none.
    """
    if name != RulesJudge.name:
        raise UsageError(
            f"--judge {name!r}: this version has `rules`; trained and LLM judges come with the next release."
        )
    return RulesJudge()


def choose_judge(only_nano: bool, name: str, test_words: Path | None) -> Judge:
    """The grammar judge for nano items alone, otherwise the named one with the grammar judge beside it."""
    return NanoJudge(load_words(test_words)) if only_nano else JudgeByWorld(open_judge(name), test_words)


def load_prompts(request: EvalRequest) -> tuple[list[Prompt], int]:
    """All prompts of the benchmarks and the largest token budget any of them states."""
    prompts: list[Prompt] = []
    budget = 0
    for name in request.benches:
        if name == NANO:
            items, tokens = (
                nano_bench.test_items(load_words(request.test_words), nano_bench.NanoSuiteConfig()),
                nano_bench.MAX_TOKENS,
            )
            items = items[: request.limit]
        else:
            bench = BENCHMARKS.get(name)
            items, tokens = bench.prompts("test", request.limit, request.data_dir, request.seed), bench.max_tokens
        prompts += items
        budget = max(budget, tokens)
    if not prompts:
        raise DataError(f"--bench {','.join(request.benches)!r} gives no items.")
    return prompts, request.max_tokens or budget


def evaluate_model(request: EvalRequest, out: Path, command: str, say: Callable[[str], None]) -> list[Score]:
    """Generate, judge and score into `out`; continues an interrupted evaluation, skips a finished one."""
    prompts, max_tokens = load_prompts(request)
    only_nano = all(prompt.meta.get("world") == NANO for prompt in prompts)
    judge = choose_judge(only_nano, request.judge, request.test_words)
    scheme, _, location = request.model.partition(":")
    inputs = [Path(location)] if Path(location).exists() else []
    config = json.loads(json.dumps(asdict(request) | {"judge": None, "max_tokens": max_tokens}, default=str))
    stage = Stage(out, "eval", "1", config, inputs, request.seed, command)
    if stage.is_current():
        if read_manifest(out)["counts"][JUDGED_BY] != judge.version:
            say(f"{out}: completions up to date, judged again by {judge.name}")
            return rejudge(out, judge, None, only_nano)
        say(f"{out}: up to date, skipped")
        return [Score.model_validate(row) for row in json.loads((out / "scores.json").read_text("utf-8"))]
    drawing = {
        "max_tokens": max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "num_samples": request.samples,
        "seed": request.seed,
        "think": request.think,
    }
    sampling = build(Sampling, drawing, "the command line")
    engine = open_engine(request.model, **({"batch_size": request.batch_size} if scheme == "hf" else {}))
    with ProgressReporter() as progress:
        return evaluate(stage, engine, prompts, judge, sampling, headline=only_nano, progress=progress)


def rescore_folder(folder: Path, judge_name: str, test_words: Path | None) -> list[Score]:
    """Judge and score the completions of a finished evaluation again and replace its verdicts and scores."""
    prompts = read_jsonl(folder / "prompts.jsonl", Prompt) if (folder / "prompts.jsonl").exists() else []
    headline = all(prompt.meta.get("world") == NANO for prompt in prompts)
    pools = family_pools(folder.parent / FAMILIES) if (folder.parent / FAMILIES).exists() else None
    return rejudge(folder, choose_judge(headline, judge_name, test_words), pools, headline)
