"""`safekeel eval` and `safekeel score`: a model on named benchmarks, outside a run folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage, digest, read_manifest, run_lock
from safekeel.bench import nano as nano_bench
from safekeel.bench.nano import family_pools
from safekeel.bench.routing import judge_for
from safekeel.bench.run import JUDGED_BY, PROMPTS, SCORES, STAGE, VERSION, evaluate, rejudge
from safekeel.bench.safety import BENCHMARKS
from safekeel.config import build
from safekeel.engines import model_folder, open_engine
from safekeel.engines.base import Sampling
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.judges.base import Judge
from safekeel.judges.open import notice, open_judge
from safekeel.nano.words import load_words
from safekeel.progress import ProgressReporter
from safekeel.records import Completion, Prompt, Score, read_jsonl
from safekeel.taxonomy import load_taxonomy

NANO = "nano"
FAMILIES = "05-eval-before/families.json"  # of the run folder an evaluation may lie in
KEPT = ("completions*.jsonl", "verdicts.jsonl")
"""Files of rows that are found again by their key, whatever else about the evaluation changes."""
R1_NAME = re.compile(r"deepseek-?r1|r1-distill", re.IGNORECASE)
R1_TEMPERATURE, R1_TOP_P = 0.6, 0.95
"""DeepSeek's own recommendation for R1 and its distilled models (README of deepseek-ai/DeepSeek-R1, usage)."""
_UNKNOWN_WEIGHTS = "; if another model now answers to this name, say so with --revision, or use another --out"
Say = Callable[[str], None]


@dataclass(frozen=True)
class JudgeRequest:
    """Which judge, and how to reach it where it is a model behind an endpoint."""

    name: str = "linear"
    base_urls: tuple[str, ...] = ()
    api_key_env: str | None = None
    concurrency: int | None = None
    card: Path | None = None
    rubric: str = "chisafetybench"
    second: str | None = None

    def open(self) -> Judge:
        """The judge.

        Raises:
            UsageError: there is none of that name.
            EngineError: its model cannot be used.
        """
        return open_judge(
            self.name,
            base_urls=self.base_urls,
            api_key_env=self.api_key_env,
            concurrency=self.concurrency,
            card=self.card,
            answer_rubric=self.rubric,
            second=self.second,
        )


@dataclass(frozen=True)
class EvalRequest:
    """What is asked of which model, and how the model is reached."""

    model: str
    benches: tuple[str, ...]
    judge: JudgeRequest
    samples: int = 1
    think: str = "default"
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    limit: int | None = None
    data_dir: Path | None = None
    seed: int = 0
    taxonomy: str = "tc260"
    test_words: Path | None = None
    base_urls: tuple[str, ...] = ()
    api_key_env: str | None = None
    revision: str | None = None
    tokenizer: Path | None = None
    timeout: float | None = None
    concurrency: int | None = None
    batch_size: int = 64
    plain_template: bool = False
    reuse: tuple[Path, ...] = ()

    @property
    def scheme(self) -> str:
        return self.model.partition(":")[0]

    def engine_options(self) -> dict[str, Any]:
        """Options of the engine of this scheme. An option of another scheme is refused where it was given."""
        of_scheme: dict[str, dict[str, Any]] = {
            "api": {
                "base_urls": self.base_urls,
                "api_key_env": self.api_key_env,
                "revision": self.revision,
                "tokenizer": self.tokenizer,
                "timeout": self.timeout,
                "concurrency": self.concurrency,
            },
            "hf": {"batch_size": self.batch_size, "plain_template": self.plain_template or None},
        }
        return {name: value for name, value in of_scheme.get(self.scheme, {}).items() if value not in (None, ())}


def load_prompts(request: EvalRequest) -> tuple[list[Prompt], int]:
    """All prompts of the benchmarks and the largest token budget any of them states.

    Raises:
        UsageError: no benchmark of that name.
        DataError: its data is missing or malformed, or it gives no items.
    """
    prompts: list[Prompt] = []
    budget = 0
    for name in dict.fromkeys(request.benches):
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


def sampling_of(request: EvalRequest, max_tokens: int, say: Say) -> Sampling:
    """Greedy, unless the model is an R1 by its name: greedy decoding makes those repeat themselves without end."""
    is_r1 = R1_NAME.search(request.model) is not None
    defaults = (R1_TEMPERATURE, R1_TOP_P) if is_r1 else (0.0, 1.0)
    temperature = defaults[0] if request.temperature is None else request.temperature
    top_p = defaults[1] if request.top_p is None else request.top_p
    if is_r1 and request.temperature is None:
        say(f"{request.model}: an R1 model, sampled at temperature {temperature}, top-p {top_p} (DeepSeek's advice)")
    settings = {
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "num_samples": request.samples,
        "seed": request.seed,
        "think": request.think,
    }
    return build(Sampling, settings, "the command line")


def evaluate_model(request: EvalRequest, out: Path, command: str, say: Say) -> list[Score]:
    """Generate, judge and score into `out`; continues an interrupted evaluation, skips a finished one, and asks again
    for rows that failed.

    Raises:
        UsageError, DataError, EngineError: see `safekeel.errors`; what is done stays in `out`.
    """
    load_taxonomy(request.taxonomy)
    if request.reuse and request.scheme == "api" and not request.revision:
        raise UsageError(
            "--reuse with an endpoint needs --revision: a server does not show its weights, and the same name may have "
            "stood for another model when the rows in that folder were made."
        )
    prompts, max_tokens = load_prompts(request)
    sampling = sampling_of(request, max_tokens, say)
    judge = judge_for(prompts, request.judge.open, request.test_words)
    if guard := notice(request.judge.name):
        say(guard)
    with run_lock(out):
        stage = _stage(request, prompts, sampling, out, command)
        if stage.is_current():
            if not (failed := read_manifest(out)["counts"]["failed"]):
                return _finished(out, judge, request.scheme == "api" and not request.revision, say)
            say(f"{out}: {failed} of its rows failed; asking for these again")
        engine = open_engine(request.model, **request.engine_options())
        with ProgressReporter() as progress:
            rows = evaluate(stage, engine, prompts, judge, sampling, reuse=request.reuse, progress=progress)
    _report_failures(out, say)
    return rows


def _stage(request: EvalRequest, prompts: list[Prompt], sampling: Sampling, out: Path, command: str) -> Stage:
    folder = model_folder(request.model)
    config = {
        "model": request.model,
        "revision": request.revision,
        "base_urls": list(request.base_urls),
        "tokenizer": str(request.tokenizer) if request.tokenizer else None,
        "plain_template": request.plain_template,
        "benches": list(request.benches),
        "limit": request.limit,
        "taxonomy": request.taxonomy,
        "prompts": digest([prompt.model_dump(mode="json") for prompt in prompts]),
        "sampling": sampling.model_dump(mode="json"),
    }
    inputs = [folder] if folder else []
    return Stage(out, STAGE, VERSION, config, inputs, request.seed, command, keep=KEPT)


def _finished(out: Path, judge: Judge, is_unknown: bool, say: Say) -> list[Score]:
    if read_manifest(out)["counts"][JUDGED_BY] != judge.version:
        say(f"{out}: completions up to date, judged again by {judge.name}")
        with ProgressReporter() as progress:
            return rejudge(out, judge, None, progress)
    say(f"{out}: up to date, skipped{_UNKNOWN_WEIGHTS if is_unknown else ''}")
    return [Score.model_validate(row) for row in json.loads((out / SCORES).read_text("utf-8"))]


def _report_failures(out: Path, say: Say) -> None:
    """Say what failed and why.

    Raises:
        EngineError: nothing was answered at all.
    """
    rows = read_jsonl(out / "completions.jsonl", Completion)
    failed = [row for row in rows if row.finish == "error"]
    if not failed:
        return
    reasons = [row.error or "" for row in failed]
    most = max(set(reasons), key=reasons.count)
    text = f"{len(failed)} of {len(rows)} completions failed; most often: {most}"
    if len(failed) == len(rows):
        raise EngineError(f"{text} Put it right and run the same command again.")
    say(f"{out}: {text} They are unscored and widen the bounds; the same command asks for them again.")


def rescore_folder(folder: Path, request: JudgeRequest, test_words: Path | None) -> list[Score]:
    """Judge and score the completions of a finished evaluation again and replace its verdicts and scores.

    Raises:
        DataError: the folder is no finished evaluation.
    """
    if not (folder / PROMPTS).exists():
        raise DataError(f"{folder / PROMPTS} does not exist; expected a folder written by `safekeel eval`.")
    judge = judge_for(read_jsonl(folder / PROMPTS, Prompt), request.open, test_words)
    families = folder.parent / FAMILIES
    with ProgressReporter() as progress:
        return rejudge(folder, judge, family_pools(families) if families.exists() else None, progress)
