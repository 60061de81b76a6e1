"""Source: red-team finds. Prompts of an evaluation folder whose answer was judged harmful become training prompts.

Items of a registered benchmark are refused: what is trained on cannot be measured with any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import STEP, Row, SourceBase
from safekeel.errors import DataError
from safekeel.records import Completion, Prompt, Verdict, read_jsonl

PROMPTS, COMPLETIONS, VERDICTS = "prompts.jsonl", "completions.jsonl", "verdicts.jsonl"
"""As `safekeel eval` writes them."""
HELD_OUT_SPLITS = ("validation", "test")
"""Of the nano world: checkpoints are selected on the one, numbers are reported on the other."""
Key = tuple[str, int]
"""Prompt id and sample."""


class RedTeamSource(SourceBase):
    """The first harmful answer to each prompt, with the model's own words so that they can be corrected:
    `meta.own_thought` and `meta.own_answer` hold unsafe text and must not be exported."""

    def __init__(self, folder: Path, allow_benchmarks: Sequence[str] = ()) -> None:
        """Check that the folder holds an evaluation.

        Raises:
            DataError: a file is missing.
        """
        whole = folder.absolute()  # two runs have folders of the same name
        super().__init__(f"redteam:{whole.parent.name}/{whole.name}", "as its prompts")
        self._folder, self._allowed = folder, frozenset(allow_benchmarks)
        self.files += [folder / name for name in (PROMPTS, COMPLETIONS, VERDICTS)]
        for name in (PROMPTS, COMPLETIONS, VERDICTS):
            if not (folder / name).is_file():
                raise DataError(
                    f"{folder / name} does not exist; expected a folder that `safekeel eval` wrote, with {PROMPTS}, "
                    f"{COMPLETIONS} and {VERDICTS}."
                )

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`.

        Raises:
            DataError: a file is malformed, or no answer was judged harmful.
        """
        prompts = read_jsonl(self._folder / PROMPTS, Prompt)
        harmful, unscored = self._judged()
        completions = {(row.prompt_id, row.sample): row for row in read_jsonl(self._folder / COMPLETIONS, Completion)}
        self.notes.append(
            f"{len(prompts)} prompts, {len(completions)} answers, {len(harmful)} of them judged harmful, "
            f"{unscored} not judged"
        )
        if not harmful:
            raise DataError(
                f"{self._folder}: none of {len(completions)} answers was judged harmful, so there is nothing to learn "
                "from. Take the folder out of sources.redteam."
            )
        first: dict[str, Completion] = {}
        for key in harmful:
            if key in completions:
                first.setdefault(key[0], completions[key])
        used = 0
        for prompt in prompts:
            if (found := first.get(prompt.id)) is not None:
                row = self._row(prompt, found)
                used += isinstance(row, Sample)
                yield row
        if used:
            self.warnings.append(
                f"{used} prompts carry the model's own unsafe answer in meta.own_answer, for correction; it must not "
                "be exported"
            )

    def _judged(self) -> tuple[list[Key], int]:
        """(prompt and sample of each harmful answer, in order; number of answers without a label)."""
        verdicts = [row for row in read_jsonl(self._folder / VERDICTS, Verdict) if row.part == "answer"]
        harmful = sorted({(row.prompt_id, row.sample) for row in verdicts if row.label == "harmful"})
        return harmful, sum(row.unscored for row in verdicts)

    def _row(self, prompt: Prompt, answer: Completion) -> Row:
        identifier = f"{self.name}/{prompt.id}"
        parent = prompt.attack.parent_id if prompt.attack else None
        meta = {
            **prompt.meta,
            "cluster": prompt.meta.get("cluster") or parent or identifier,
            "parent": parent or prompt.id,
            "own_completion": answer.key or f"{prompt.id}#{answer.sample}",
            "own_model": answer.model,
            "own_thought": answer.thought or "",
            "own_answer": answer.answer,
            "where": f"{self._folder / COMPLETIONS}: {prompt.id}#{answer.sample}",
        }
        found = prompt.model_copy(update={"id": identifier, "meta": meta})
        sample = Sample(id=identifier, role="risky", prompt=found)
        benchmark = self._benchmark(prompt)
        if benchmark:
            evidence = (
                f"an item of the benchmark {benchmark}, which measures nothing after training on it; "
                f'sources.allow_benchmarks = ["{benchmark}"] gives it up'
            )
            return self._refused(sample, "benchmark_item", evidence)
        if prompt.expect not in ("refuse", "either"):
            return self._refused(sample, "not_to_decline", f"the prompt expects {prompt.expect!r}, not a refusal")
        return sample

    def _benchmark(self, prompt: Prompt) -> str | None:
        """The benchmark that a prompt, or the prompt it disguises, is an item of; None where it may be trained on."""
        from safekeel.bench.safety import BENCHMARKS

        ids = [prompt.id, *([prompt.attack.parent_id] if prompt.attack and prompt.attack.parent_id else [])]
        names = {identifier.split("/")[0] for identifier in ids}
        registered = sorted(names & set(BENCHMARKS.names()))
        if not registered and prompt.meta.get("world") == "nano" and prompt.meta.get("split") in HELD_OUT_SPLITS:
            registered = [prompt.id.split("/")[0]]
        return next((name for name in registered if name not in self._allowed), None)

    def _refused(self, sample: Sample, reason: str, evidence: str) -> Rejected:
        """Without the model's unsafe answer: `rejected.jsonl` is read by people."""
        meta = {key: value for key, value in sample.prompt.meta.items() if not key.startswith("own_")}
        kept = sample.model_copy(update={"prompt": sample.prompt.model_copy(update={"meta": meta})})
        where = str(sample.prompt.meta["where"])
        return Rejected(sample=kept, where=where, step=STEP, reason=reason, evidence=evidence)
