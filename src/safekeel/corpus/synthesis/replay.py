"""Capability replay: the target model answers problems itself, and what is verified right is kept, in its own words.

What a model already says costs it nothing to keep saying (DGR, 2602.02136; RL's Razor, 2509.04259); a foreign solution,
though right, moves it. Numbers and formulas are verified by math-verify, options by `judges.choices`, free answers by
the judge (not refused, not harmful).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import Field

from safekeel.bench.capability.math_check import MathCheck
from safekeel.bench.generate import generate
from safekeel.config import StageConfig
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.synthesis.candidates import grouped
from safekeel.corpus.synthesis.tally import Tally
from safekeel.engines.base import Engine, Sampling
from safekeel.judges.base import unjudgeable
from safekeel.judges.options import OptionsJudge
from safekeel.progress import Progress
from safekeel.records import Completion, Prompt

Grade = Callable[[Prompt, Completion], str | None]
"""Why an answer is not right, or None where it is."""


class ReplayConfig(StageConfig):
    """How the target answers the problems whose ability it shall keep."""

    num_samples: int = Field(4, ge=1)
    keep_per_prompt: int = Field(1, ge=1)
    """Right answers kept of one problem; the first ones, which is a fair draw from the model's right answers."""
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(8192, ge=1)
    seed: int = Field(0, ge=0)

    def sampling(self) -> Sampling:
        """Greedy decoding gives one sample."""
        num = self.num_samples if self.temperature > 0 else 1
        return Sampling(
            max_tokens=self.max_tokens, temperature=self.temperature, top_p=self.top_p, num_samples=num, seed=self.seed
        )


class Verifier:
    """Grades answers to problems with a gold target."""

    def __init__(self) -> None:
        self._options, self._math = OptionsJudge(), MathCheck()

    def __call__(self, prompt: Prompt, row: Completion) -> str | None:
        if why := unjudgeable(row):
            return (
                "generation_failed" if row.finish == "error" else "truncated" if "truncated" in why else "empty_answer"
            )
        if prompt.target is None:
            return "no_target"
        if prompt.expect == "choose":
            verdict = self._options.judge(prompt, row)[0]
            return None if verdict.label == "correct" else "answer_unread" if verdict.unscored else "wrong_answer"
        same = self._math.same(prompt.target, row.answer)
        return None if same else "answer_undecided" if same is None else "wrong_answer"

    def close(self) -> None:
        """End math-verify's process."""
        self._math.close()


def replay(
    samples: Sequence[Sample],
    target: Engine,
    config: ReplayConfig,
    grade: Grade,
    path: Path,
    progress: Progress | None,
    tally: Tally,
) -> tuple[list[Sample], list[Rejected]]:
    """The target's own right answers, each a sample, and the problems it never solved, with its wrong answers' reasons.

    Args:
        path: keeps all generations, right or wrong.
    """
    sampling = config.sampling()
    prompts = [sample.prompt.model_copy(update={"id": sample.id}) for sample in samples]
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    rows = grouped(generate(target, prompts, sampling, path, progress, "replay"), sampling)
    for sample, prompt, answers in zip(samples, prompts, rows, strict=True):
        faults = [grade(prompt, row) for row in answers]
        right = _distinct([row for row, fault in zip(answers, faults, strict=True) if fault is None])
        reasons = Counter(fault for fault in faults if fault is not None)
        for number, row in enumerate(right[: config.keep_per_prompt]):
            kept.append(_filled(sample, row, target.name, number, len(answers), len(answers) - sum(reasons.values())))
        if not right:
            told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            first = _filled(sample, answers[0], target.name, 0, len(answers), 0)
            rejected.append(Rejected(sample=first, step="replay", reason=reasons.most_common(1)[0][0], evidence=told))
        tally.add(sample, reasons.elements(), len(answers), bool(right))
    return kept, rejected


def _distinct(rows: Sequence[Completion]) -> list[Completion]:
    """Without repetitions of the same text: greedy-like models answer alike."""
    return list({(row.thought, row.answer): row for row in reversed(rows)}.values())[::-1]


def _filled(sample: Sample, row: Completion, made_by: str, number: int, tried: int, right: int) -> Sample:
    update = {
        "id": sample.id if number == 0 else f"{sample.id}#{number}",
        "thought": row.thought or "",
        "answer": row.answer,
        "made_by": made_by,
        "style": "own",
        "checks": sample.checks | {"samples": tried, "right": right},
    }
    return sample.model_copy(update=update)
