"""Capability benchmarks: lm-eval's documents and contexts as our prompts, so that generation, resuming, judging and
pairing work as for any benchmark. Whether an answer is right is lm-eval's metric (`grader.py`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.bench.base import BenchmarkBase, require_split, sample
from safekeel.bench.capability import lmeval
from safekeel.bench.capability.lm_context import messages_of
from safekeel.bench.capability.sources import LETTERS
from safekeel.errors import UsageError
from safekeel.records import Expect, Lang, Prompt


@dataclass
class LmEvalBenchmark(BenchmarkBase):
    """One task of `tasks/`, answered in words: the model may think, and only its answer part is graded."""

    name: str
    lang: Lang
    expect: Expect
    source: str
    licence: str
    max_tokens: int
    """Token budget, thought included. DeepSeek-R1 is evaluated with 32,768 (arXiv:2501.12948); ours are lower where the
    thoughts of R1's distilled models are short, and whatever is cut off is counted as `truncated`, never as right."""
    metrics: tuple[str, ...] = ("acc",)

    def prompts(self, split: str, limit: int | None, data_dir: Path | None, seed: int) -> list[Prompt]:
        """The prompts; see `Benchmark.prompts`. There is one split, `test`: the best public one of the data at hand
        (`sources.py`), which the ids of multiple-choice items name.

        Raises:
            EngineError: lm-eval is not installed.
        """
        require_split(self.name, split, ("test",))
        task = lmeval.load_task(self.name, data_dir)
        first_with: dict[str, str] = {}  # context -> id of the first item with it; the same question counts once
        prompts = [self._prompt(task, doc, first_with) for doc in task.eval_docs]
        return sample(prompts, limit, seed)

    def _prompt(self, task: Any, doc: dict[str, str], first_with: dict[str, str]) -> Prompt:
        context = task.fewshot_context(
            doc,
            task.config.num_fewshot,
            apply_chat_template=True,
            fewshot_as_multiturn=True,
            chat_template=lmeval.chat_json,
        )
        prompt_id = f"{self.name}/{doc['id']}"
        cluster = first_with.setdefault(context, prompt_id)
        meta: dict[str, Any] = {"grader": f"lm-eval:{self.name}", "cluster": cluster}
        slices = [f"subject:{doc['subject']}"] if doc.get("subject") else []
        if self.expect == "choose":
            meta["options"] = {letter: doc[letter] for letter in LETTERS}
            slices.append(f"split:{doc['id'].split('/')[0]}")
        return Prompt(
            id=prompt_id,
            messages=messages_of(context),
            lang=self.lang,
            risk=None,
            expect=self.expect,
            target=task.doc_to_target(doc),
            source=self.source,
            licence=self.licence,
            meta=meta | {"slices": slices},
        )


MMLU = LmEvalBenchmark("mmlu", "en", "choose", "MMLU (arXiv:2009.03300)", "MIT", 8192)
CEVAL = LmEvalBenchmark("ceval", "zh", "choose", "C-Eval validation (arXiv:2305.08322)", "CC-BY-NC-SA-4.0", 8192)
CMMLU = LmEvalBenchmark("cmmlu", "zh", "choose", "CMMLU (arXiv:2306.09212)", "CC-BY-NC-SA-4.0", 8192)
GSM8K = LmEvalBenchmark("gsm8k", "en", "solve", "GSM8K test (arXiv:2110.14168)", "MIT", 8192)
MATH500 = LmEvalBenchmark("math500", "en", "solve", "MATH-500 (arXiv:2305.20050)", "MIT", 32768)
CMATH = LmEvalBenchmark("cmath", "zh", "solve", "CMATH (arXiv:2306.16636)", "CC-BY-4.0 upstream", 8192)
AIME24 = LmEvalBenchmark("aime24", "en", "solve", "AIME 2024 (unverified here)", "none stated", 32768)
AIME25 = LmEvalBenchmark("aime25", "en", "solve", "AIME 2025 (unverified here)", "none stated", 32768)
GPQA = LmEvalBenchmark("gpqa-diamond", "en", "choose", "GPQA (arXiv:2311.12022; unverified here)", "CC-BY-4.0", 32768)


class LiveCodeBench(BenchmarkBase):
    """Named so that asking for it says what to do: its answers are programs, which SafeKeel does not run."""

    name = "livecodebench"

    def prompts(self, split: str, limit: int | None, data_dir: Path | None, seed: int) -> list[Prompt]:
        """
        Raises:
            UsageError: always.
        """
        require_split(self.name, split, ("test",))
        raise UsageError(
            "livecodebench runs programs that a model wrote, which needs a sandbox that SafeKeel does not have, and "
            "lm-eval has no task for it. Run https://github.com/LiveCodeBench/LiveCodeBench against the same endpoint."
        )
