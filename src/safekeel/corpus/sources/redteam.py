"""Source: red-team finds. Prompts that got a harmful answer, in an evaluation or an attack, become training prompts.

Nothing that is measured with comes in: no item of a registered benchmark, none of the nano world's held-out splits, and
no disguise in a wording of validation or test.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import STEP, Row, SourceBase
from safekeel.corpus.sources.finds import ABOUT, NEEDED, QUERIES, Find, Finds, held_out_wording, read_finds
from safekeel.errors import DataError
from safekeel.records import Prompt

HELD_OUT_SPLITS = ("validation", "test")
"""Of the nano world: checkpoints are selected on the one, numbers are reported on the other."""


class RedTeamSource(SourceBase):
    """The finds of a folder of `safekeel eval` or `safekeel attack`, each with its attack (`prompt.attack`), its goal
    (`meta.parent`, `meta.goal`) and the model's own words so that they can be corrected: `meta.own_thought` and
    `meta.own_answer` hold unsafe text and must not be exported."""

    def __init__(self, folder: Path, allow_benchmarks: Sequence[str] = ()) -> None:
        """Check that the folder holds an evaluation.

        Raises:
            DataError: a file is missing.
        """
        whole = folder.absolute()  # two runs have folders of the same name
        super().__init__(f"redteam:{whole.parent.name}/{whole.name}", "as its prompts")
        self._folder, self._allowed = folder, frozenset(allow_benchmarks)
        self.files += [folder / name for name in NEEDED]
        self.files += [folder / name for name in (QUERIES, ABOUT) if (folder / name).is_file()]
        for name in NEEDED:
            if not (folder / name).is_file():
                raise DataError(
                    f"{folder / name} does not exist; expected a folder that `safekeel eval` or `safekeel attack` "
                    f"wrote, with {', '.join(NEEDED[:-1])} and {NEEDED[-1]}."
                )

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`.

        Raises:
            DataError: a file is malformed, or no answer was judged harmful.
        """
        found = read_finds(self._folder)
        self.notes += found.notes
        if not found.finds:
            raise DataError(
                f"{self._folder}: none of {found.num_answers} answers was judged harmful, so there is nothing to learn "
                "from. Take the folder out of sources.redteam."
            )
        used, refused = Counter[str](), Counter[str]()
        for find in found.finds:
            row = self._row(find, found)
            if isinstance(row, Sample):
                used[find.attack] += 1
            else:
                refused[row.reason] += 1
            yield row
        for what, counts in (("found by", used), ("refused:", refused)):
            if counts:
                self.notes.append(f"{counts.total()} prompts {what} {_listed(counts)}")
        if used:
            self.warnings.append(
                f"{used.total()} prompts carry the model's own unsafe answer in meta.own_answer, for correction; it "
                "must not be exported"
            )

    def _row(self, find: Find, found: Finds) -> Row:
        prompt = find.prompt
        identifier = f"{self.name}/{prompt.id}"
        parent = prompt.attack.parent_id if prompt.attack else None
        goal = found.goals.get(parent or prompt.id)
        meta = {
            **prompt.meta,
            "cluster": prompt.meta.get("cluster") or parent or identifier,
            "parent": parent or prompt.id,
            **({"goal": goal.messages[-1].content} if goal else {}),
            "own_completion": find.completion,
            "own_model": find.model,
            "own_thought": find.thought,
            "own_answer": find.answer,
            "where": find.where,
        }
        sample = Sample(id=identifier, role="risky", prompt=prompt.model_copy(update={"id": identifier, "meta": meta}))
        why = self._why_not(prompt, found)
        return self._refused(sample, *why) if why else sample

    def _why_not(self, prompt: Prompt, found: Finds) -> tuple[str, str] | None:
        """(reason, evidence) of a find that must not be trained on, or that is no training prompt."""
        if benchmark := self._benchmark(prompt):
            return "benchmark_item", (
                f"an item of the benchmark {benchmark}, which measures nothing after training on it; "
                f'sources.allow_benchmarks = ["{benchmark}"] gives it up'
            )
        if prompt.expect not in ("refuse", "either"):
            return "not_to_decline", f"the prompt expects {prompt.expect!r}, not a refusal"
        if wording := held_out_wording(prompt, found.wording):
            return "held_out_wording", (
                f"{wording}, which is for measuring only: trained on, it could not show any more that a defence "
                "generalises; attack the goals to train on with `safekeel attack … --wording train`"
            )
        if prompt.messages[-1].role != "user":
            return "prefilled_turn", (
                "the attack ends with words put into the model's mouth; a training prompt ends with the user's turn"
            )
        return None

    def _benchmark(self, prompt: Prompt) -> str | None:
        """The benchmark that a prompt, or the prompt it disguises, is an item of; None where it may be trained on."""
        from safekeel.bench.safety import BENCHMARKS

        ids = [prompt.id, *([prompt.attack.parent_id] if prompt.attack and prompt.attack.parent_id else [])]
        names = {identifier.split("/")[0] for identifier in ids}
        registered = sorted(names & set(BENCHMARKS.names()))
        if not registered and prompt.meta.get("world") == "nano" and prompt.meta.get("split") in HELD_OUT_SPLITS:
            registered = [ids[-1].split("/")[0]]
        return next((name for name in registered if name not in self._allowed), None)

    def _refused(self, sample: Sample, reason: str, evidence: str) -> Rejected:
        """Without the model's unsafe answer: `rejected.jsonl` is read by people."""
        meta = {key: value for key, value in sample.prompt.meta.items() if not key.startswith("own_")}
        kept = sample.model_copy(update={"prompt": sample.prompt.model_copy(update={"meta": meta})})
        where = str(sample.prompt.meta["where"])
        return Rejected(sample=kept, where=where, step=STEP, reason=reason, evidence=evidence)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
