"""The grader of capability items: lm-eval's filter and metric decide whether the answer part is right."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from safekeel.bench.capability import lmeval
from safekeel.bench.capability.lm_context import gradable_text
from safekeel.bench.capability.loglikelihood import FAMILIES, SUFFIX
from safekeel.bench.capability.sources import ROWS
from safekeel.errors import DataError, nearest
from safekeel.judges.base import JudgeCard, unjudgeable, unscored
from safekeel.records import Completion, LabelSource, Prompt, Verdict

KNOWN = (*ROWS, *(f"{family}{SUFFIX}" for family in FAMILIES))


class LmEvalGrader:
    """Grades the items of one benchmark, `correct` or `wrong`. An answer without a letter or number is wrong, as in
    lm-eval; a thought or an answer that was cut off is unscored, which no rate counts as right."""

    label_source: LabelSource | None = "construction"
    card: JudgeCard | None = None

    def __init__(self, task: str) -> None:
        """
        Args:
            task: benchmark name, such as `gsm8k`.

        Raises:
            DataError: there is no such benchmark.
            EngineError: lm-eval is not installed.
        """
        if task not in KNOWN:
            raise DataError(
                f"an item names the grader 'lm-eval:{task}'.{nearest(task, KNOWN)} Expected one of {', '.join(KNOWN)}."
            )
        self.task = task
        self.name = f"lm-eval:{task}"
        self.version = lmeval.grading_version(task)
        self.metric = lmeval.headline_metric(task)

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        """See `Judge.judge`."""
        return self.judge_many([(prompt, completion)])[0]

    def judge_many(self, items: Sequence[tuple[Prompt, Completion]]) -> list[list[Verdict]]:
        """See `Judge.judge_many`. One verdict each: the thought is not graded.

        Raises:
            DataError: an item has no gold target.
        """
        found: dict[int, Verdict] = {}
        gradable = []
        for place, (prompt, completion) in enumerate(items):
            if prompt.target is None:
                raise DataError(f"{prompt.id}: no gold target; expected one, as {self.name} grades against it.")
            if reason := unjudgeable(completion):
                found[place] = unscored(self, completion, "answer", reason)
            else:
                gradable.append((place, prompt.target, completion))
        results = self._grade([gold for _, gold, _ in gradable], [row for *_, row in gradable])
        for (place, gold, row), metrics in zip(gradable, results, strict=True):
            found[place] = self._verdict(row, gold, metrics)
        return [[found[place]] for place in range(len(items))]

    def _grade(self, golds: list[str], rows: list[Completion]) -> list[dict[str, float]]:
        if self.task in ROWS:
            return lmeval.grade(self.task, golds, [gradable_text(row) for row in rows])
        try:
            return lmeval.grade_rankings(golds, [json.loads(row.raw) for row in rows])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(
                f"{self.name}: a completion holds no log-likelihoods of the options ({error}); expected rows that the "
                "hf engine made for this benchmark. Generate them again."
            ) from error

    def _verdict(self, completion: Completion, gold: str, results: dict[str, Any]) -> Verdict:
        if results.get("undecided"):
            return unscored(self, completion, "answer", f"not settled in time whether the answer equals {gold}")
        return Verdict(
            prompt_id=completion.prompt_id,
            sample=completion.sample,
            part="answer",
            label="correct" if results[self.metric] == 1 else "wrong",
            judge=self.name,
            judge_version=self.version,
            reason=f"{self.metric} against {gold}",
        )
