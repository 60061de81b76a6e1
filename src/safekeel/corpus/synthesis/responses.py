"""Safe responses to risky prompts and helpful ones to their twins: write, choose, and correct what found no response.

prompts ─write k─► choose ──────────────► samples
                      └─ none good ─► the model's own answer without policy ─ unsafe ─► correct it k times ─► choose
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from safekeel.bench.generate import generate
from safekeel.bench.judging import judge_completions
from safekeel.config import StageConfig
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.synthesis.candidates import (
    REFUSALS,
    Acceptance,
    PolicyWriter,
    SourceWriter,
    ThoughtRule,
    Writer,
    choose,
)
from safekeel.corpus.synthesis.policy import Style
from safekeel.corpus.synthesis.tally import Tally
from safekeel.engines.base import Engine, Sampling
from safekeel.progress import Progress


class SynthesisConfig(StageConfig):
    """How responses to risky prompts, their twins and ordinary instructions are written and chosen."""

    style: Style = "improved"
    num_candidates: int = Field(4, ge=1)
    """Responses per prompt, of which the best is taken."""
    temperature: float = Field(0.6, ge=0)
    """DeepSeek-R1's model card, like `top_p`; other temperatures leave the model's own distribution."""
    top_p: float = Field(0.95, gt=0, le=1)
    max_tokens: int = Field(4096, ge=1)
    thought: ThoughtRule = "aware_or_named"
    """What a risky sample's thought must be. `aware`: the judge says so. `aware_or_named`: where the judge cannot tell,
    it must name the category or its law. A thought that plans harm is never accepted."""
    correct: bool = True
    """Correct the model's own unsafe answer where none of the candidates is good (UnsafeChain, 2507.21652)."""
    keep_source_responses: bool = False
    """Keep a public set's own thought and answer where they are accepted; by default the writer answers its prompts,
    because foreign text moves the target away from its own distribution (DGR, 2602.02136)."""
    write_counters: bool = True
    """Write a harmless twin for every risky prompt that came without one."""
    seed: int = Field(0, ge=0)

    def sampling(self) -> Sampling:
        """Of the candidates; greedy decoding gives one."""
        return Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            num_samples=self.num_candidates if self.temperature > 0 else 1,
            seed=self.seed,
        )


@dataclass
class Written:
    """What synthesis gave: samples, what found no response, and a tally per role."""

    samples: list[Sample] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def tally(self, role: str) -> Tally:
        return self.tallies.setdefault(role, Tally())

    def card(self) -> dict[str, Any]:
        """The tallies as plain data, for the card."""
        return {role: tally.card() for role, tally in self.tallies.items()}


def respond(
    samples: Sequence[Sample],
    writer: Writer,
    acceptance: Acceptance,
    folder: Path,
    progress: Progress | None,
    written: Written,
    keep_source_responses: bool = False,
) -> None:
    """Responses to samples of one or several roles by one writer; adds to `written`.

    Args:
        folder: keeps what is generated and judged, a file per role.
        keep_source_responses: a sample that brought a response keeps it where it is accepted like any candidate.
    """
    for role in sorted({sample.role for sample in samples}):
        of_role = [sample for sample in samples if sample.role == role]
        brought = [sample for sample in of_role if keep_source_responses and sample.answer.strip()]
        to_write = [sample for sample in of_role if not (keep_source_responses and sample.answer.strip())]
        for author, rows, name in ((SourceWriter("source"), brought, f"{role}.source"), (writer, to_write, role)):
            if not rows:
                continue
            candidates = author.write(rows, folder / f"{name}.jsonl", progress)
            verdicts = folder / f"{name}.verdicts.jsonl"
            tally = written.tally(role)
            kept, rejected = choose(rows, candidates, acceptance, author.name, author.style, tally, verdicts, progress)
            written.samples += kept
            written.rejected += rejected


def correct(
    written: Written,
    target: Engine,
    writer: PolicyWriter,
    acceptance: Acceptance,
    folder: Path,
    progress: Progress | None,
) -> None:
    """Try the risky prompts without a response again, from the target model's own unsafe answer; changes `written`.

    A prompt to which the target's own answer is safe stays rejected: the policy made it worse, and there is nothing to
    correct. A red-team find brings its own unsafe answer along.
    """
    hard = {row.sample.id: row for row in written.rejected if row.sample is not None and row.sample.role == "risky"}
    if not hard:
        return
    samples = [row.sample.blank() for row in hard.values() if row.sample is not None]
    drafts = own_unsafe_answers(samples, target, writer.sampling, acceptance, folder, progress)
    again = [sample for sample in samples if sample.id in drafts]
    if not again:
        return
    candidates = writer.write(again, folder / "corrected.jsonl", progress, drafts)
    verdicts, tally = folder / "corrected.verdicts.jsonl", written.tally("risky")
    kept, rejected = choose(
        again, candidates, acceptance, writer.name, writer.style, tally, verdicts, progress, again=True
    )
    tried = {sample.id for sample in again}
    untouched = [row for row in written.rejected if row.sample is None or row.sample.id not in tried]
    written.rejected = [*untouched, *rejected]
    written.samples += [sample.model_copy(update={"checks": sample.checks | {"corrected": True}}) for sample in kept]


def own_unsafe_answers(
    samples: Sequence[Sample],
    target: Engine,
    sampling: Sampling,
    acceptance: Acceptance,
    folder: Path,
    progress: Progress | None,
) -> dict[str, str]:
    """Sample id -> the target's own answer to the bare request, where that answer did not refuse."""
    drafts = {
        sample.id: str(sample.prompt.meta["own_answer"]) for sample in samples if sample.prompt.meta.get("own_answer")
    }
    asked = [sample for sample in samples if sample.id not in drafts]
    prompts = [sample.prompt.model_copy(update={"id": sample.id}) for sample in asked]
    once = sampling.model_copy(update={"num_samples": 1})
    rows = generate(target, prompts, once, folder / "own_answers.jsonl", progress, "own_answers")
    verdicts = judge_completions(prompts, rows, acceptance.judge, folder / "own_answers.verdicts.jsonl", progress)
    refused = {verdict.prompt_id for verdict in verdicts if verdict.part == "answer" and verdict.label in REFUSALS}
    return drafts | {row.prompt_id: row.answer for row in rows if row.answer.strip() and row.prompt_id not in refused}
