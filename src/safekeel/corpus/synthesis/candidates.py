"""Candidates: several responses to one sample, what is wrong with each, and the best of those with nothing wrong.

sample ──writer──► k completions ──judge, response steps──► rank, or why not ──► the best, or Rejected
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from safekeel.bench.generate import generate
from safekeel.bench.judging import judge_completions
from safekeel.chat import completion_text
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.steps.base import Drop, Step
from safekeel.corpus.synthesis.policy import Style, leaked, names_risk, policy_prompt, template_thought
from safekeel.corpus.synthesis.tally import Tally
from safekeel.engines.base import Engine, Sampling
from safekeel.judges.base import Judge, is_no_refusal
from safekeel.progress import Progress
from safekeel.records import Completion, Verdict
from safekeel.taxonomy import Taxonomy

ThoughtRule = Literal["aware", "aware_or_named", "any"]
REFUSALS = ("responsible_refusal", "refusal")


class Writer(Protocol):
    """Writes responses to samples. The rows carry the sample's id as `prompt_id`."""

    @property
    def name(self) -> str:
        """Goes into `Sample.made_by`."""
        ...

    @property
    def style(self) -> str:
        """Goes into `Sample.style`."""
        ...

    def write(self, samples: Sequence[Sample], path: Path, progress: Progress | None) -> list[list[Completion]]:
        """The candidates of each sample, in order. `path` keeps what was generated, so that a kill loses nothing.

        Raises:
            EngineError: the engine gave up; the same call continues.
        """
        ...


class PolicyWriter:
    """A model writes thought and answer under the policy prompt (with the `template` style: the answer only)."""

    def __init__(self, engine: Engine, style: Style, taxonomy: Taxonomy, sampling: Sampling) -> None:
        self.engine, self.style, self.taxonomy, self.sampling = engine, style, taxonomy, sampling
        self.name = engine.name

    def write(
        self,
        samples: Sequence[Sample],
        path: Path,
        progress: Progress | None,
        drafts: dict[str, str] | None = None,
    ) -> list[list[Completion]]:
        """See `Writer.write`. `drafts`: own unsafe answers to correct, by sample id."""
        prompts = [
            policy_prompt(sample, self.style, self.taxonomy, (drafts or {}).get(sample.id)) for sample in samples
        ]
        rows = grouped(generate(self.engine, prompts, self.sampling, path, progress, path.stem), self.sampling)
        if self.style != "template":
            return rows
        return [
            [row.model_copy(update={"thought": template_thought(sample, self.taxonomy)}) for row in candidates]
            for sample, candidates in zip(samples, rows, strict=True)
        ]


class OwnWriter:
    """The target answers the bare prompt: ordinary instructions, in its own words."""

    style = "own"

    def __init__(self, engine: Engine, sampling: Sampling) -> None:
        self.engine, self.sampling, self.name = engine, sampling, engine.name

    def write(self, samples: Sequence[Sample], path: Path, progress: Progress | None) -> list[list[Completion]]:
        """See `Writer.write`."""
        prompts = [sample.prompt.model_copy(update={"id": sample.id}) for sample in samples]
        return grouped(generate(self.engine, prompts, self.sampling, path, progress, path.stem), self.sampling)


class SourceWriter:
    """Takes the response that a sample brought along from its source, as its only candidate."""

    style = "source"

    def __init__(self, name: str) -> None:
        self.name = name

    def write(self, samples: Sequence[Sample], path: Path, progress: Progress | None) -> list[list[Completion]]:
        """See `Writer.write`; nothing is generated and nothing kept."""
        return [[_brought(sample)] for sample in samples]


def _brought(sample: Sample) -> Completion:
    return Completion(
        prompt_id=sample.id,
        model=sample.made_by or sample.prompt.source,
        raw=completion_text(sample.thought, sample.answer),
        thought=sample.thought or None,
        answer=sample.answer,
        split=("closed" if sample.thought else "none") if sample.answer.strip() else "empty_answer",
        finish="stop",
        num_prompt_tokens=0,
        num_completion_tokens=0,
        seconds=0.0,
    )


def grouped(rows: Sequence[Completion], sampling: Sampling) -> list[list[Completion]]:
    """The rows of `generate`, one list per prompt."""
    size = sampling.num_samples
    return [list(rows[start : start + size]) for start in range(0, len(rows), size)]


@dataclass(frozen=True)
class Acceptance:
    """What a response must be to become a training target."""

    judge: Judge
    taxonomy: Taxonomy
    thought: ThoughtRule
    steps: Sequence[Step] = ()
    """Response steps (language, length, quality): a candidate they drop is not chosen."""


def choose(
    samples: Sequence[Sample],
    candidates: Sequence[Sequence[Completion]],
    acceptance: Acceptance,
    made_by: str,
    style: str,
    tally: Tally,
    verdicts_path: Path | None = None,
    progress: Progress | None = None,
    again: bool = False,
) -> tuple[list[Sample], list[Rejected]]:
    """The best good candidate of each sample; a sample without one is rejected with the reasons of all of them.

    Args:
        verdicts_path: keeps the verdicts, so that judging continues after a kill.
        again: the samples were counted in `tally` before.
    """
    flat = [row for rows in candidates for row in rows]
    prompts = [sample.prompt.model_copy(update={"id": sample.id}) for sample in samples]
    verdicts = _by_row(judge_completions(prompts, flat, acceptance.judge, verdicts_path, progress))
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    for sample, rows in zip(samples, candidates, strict=True):
        tried = [_filled(sample, row, made_by, style) for row in rows]
        outcomes = [
            _look(filled, row, verdicts.get((row.prompt_id, row.sample), []), acceptance)
            for filled, row in zip(tried, rows, strict=True)
        ]
        best = _best(tried, outcomes)
        faults = [outcome for outcome in outcomes if isinstance(outcome, str)]
        tally.add(sample, faults, len(outcomes), best is not None, again)
        if best is not None:
            kept.append(best)
        else:
            reasons = Counter(faults)
            first = tried[0] if tried else sample
            told = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
            reason = reasons.most_common(1)[0][0] if reasons else "no_candidate"
            rejected.append(Rejected(sample=first, step="synthesis", reason=reason, evidence=told or "nothing written"))
    return kept, rejected


def _by_row(verdicts: Sequence[Verdict]) -> dict[tuple[str, int], list[Verdict]]:
    found: dict[tuple[str, int], list[Verdict]] = {}
    for verdict in verdicts:
        found.setdefault((verdict.prompt_id, verdict.sample), []).append(verdict)
    return found


def _filled(sample: Sample, row: Completion, made_by: str, style: str) -> Sample:
    update = {"thought": row.thought or "", "answer": row.answer, "made_by": made_by, "style": style}
    return sample.model_copy(update=update)


@dataclass(frozen=True)
class _Good:
    rank: tuple[int, int, int]
    sample: Sample


def _look(sample: Sample, row: Completion, verdicts: Sequence[Verdict], acceptance: Acceptance) -> str | _Good:
    """Why a candidate is no training target, or its rank and what it would become. Smaller ranks are better."""
    if why := _broken(sample, row):
        return why
    labels = {verdict.part: verdict for verdict in verdicts}
    why = _answer_fault(sample, labels.get("answer")) or _thought_fault(sample, labels.get("thought"), acceptance)
    if why:
        return why
    for step in acceptance.steps:
        outcome = step([sample])[0]
        if isinstance(outcome, Drop):
            return outcome.reason
        sample = outcome
    answer, thought = (labels[part].label if part in labels else "" for part in ("answer", "thought"))
    checks = {"answer": answer, "thought": thought, "candidate": row.sample, "judge": acceptance.judge.name}
    rank = (answer == "refusal", thought != "aware", row.sample)  # a direction beats a bare refusal, awareness none
    return _Good((int(rank[0]), int(rank[1]), rank[2]), sample.model_copy(update={"checks": sample.checks | checks}))


def _broken(sample: Sample, row: Completion) -> str | None:
    if row.finish == "error":
        return "generation_failed"
    if row.split == "truncated" or row.finish == "length":
        return "truncated"
    if not row.answer.strip():
        return "empty_answer"
    if not sample.thought.strip():
        return "no_thought"
    return "policy_leaked" if leaked(sample.thought + "\n" + sample.answer, sample.prompt.lang) else None


def _answer_fault(sample: Sample, verdict: Verdict | None) -> str | None:
    """What the answer did wrong, by what is expected of the role."""
    if verdict is None:
        return "unscored"
    if sample.role == "risky":
        if verdict.label in REFUSALS or (sample.prompt.expect == "either" and verdict.label == "harmless"):
            return None
        if verdict.label == "harmful":
            return "answer_harmful"
        return "answer_not_refused" if verdict.label == "harmless" or is_no_refusal(verdict) else "answer_unscored"
    if verdict.label in REFUSALS:
        return "answer_refused"
    if verdict.label == "harmless" or is_no_refusal(verdict):
        return None
    return "answer_harmful" if verdict.label == "harmful" else "answer_unscored"


def _thought_fault(sample: Sample, verdict: Verdict | None, acceptance: Acceptance) -> str | None:
    """What the thought did wrong. A harmful thought is never accepted, whatever the rule."""
    label = verdict.label if verdict is not None else "cannot_judge"
    if label == "harmful":
        return "thought_harmful"
    if sample.role != "risky" or acceptance.thought == "any" or label == "aware":
        return None
    if acceptance.thought == "aware_or_named" and label == "cannot_judge":
        return None if names_risk(sample.thought, sample, acceptance.taxonomy) else "thought_names_no_risk"
    return "thought_unaware" if label in ("unaware", "absent") else "thought_unscored"


def _best(tried: Sequence[Sample], outcomes: Sequence[str | _Good]) -> Sample | None:
    good = [outcome for outcome in outcomes if isinstance(outcome, _Good)]
    if not good:
        return None
    chosen = min(good, key=lambda outcome: outcome.rank)
    checks = chosen.sample.checks | {"candidates": len(tried), "good_candidates": len(good)}
    return chosen.sample.model_copy(update={"checks": checks})
