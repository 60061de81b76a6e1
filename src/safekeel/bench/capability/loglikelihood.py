"""The community's multiple-choice tasks: five examples, then the option letter with the highest log-likelihood.

Definitions (wording, description of each subject, examples) are lm-eval's own files, read from the installed package;
only the data may be local. No thought is possible and only a model whose weights are here can be measured, so these
figures say little about a reasoning model; they are for comparison with published ones of base models.
"""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

from safekeel.bench.base import BenchmarkBase, require_split, sample
from safekeel.bench.capability import lmeval, sources
from safekeel.engines.ranking import CONTINUATIONS
from safekeel.errors import DataError
from safekeel.records import Lang, Message, Prompt

SUFFIX = "-loglikelihood"
NUM_EXAMPLES = 5
"""Of MMLU (arXiv:2009.03300, section 4), C-Eval and CMMLU alike."""
_FILES = {
    "mmlu": ("mmlu/default/mmlu_{}.yaml", "test"),
    "ceval": ("ceval/ceval-valid_{}.yaml", "val"),
    "cmmlu": ("cmmlu/cmmlu_{}.yaml", "test"),
}
"""lm-eval 0.4.13's file of a subject, and the split that it measures."""


class LoglikelihoodBenchmark(BenchmarkBase):
    """One family of subjects."""

    metrics: tuple[str, ...] = ("acc",)
    max_tokens = 1  # nothing is generated

    def __init__(self, family: str, lang: Lang, source: str, licence: str) -> None:
        self.name, self.family, self.lang = f"{family}{SUFFIX}", family, lang
        self.source, self.licence = f"{source}, {NUM_EXAMPLES} examples, log-likelihood", licence

    def prompts(self, split: str, limit: int | None, data_dir: Path | None, seed: int) -> list[Prompt]:
        """The prompts; see `Benchmark.prompts`. There is one split, `test`.

        Raises:
            EngineError: lm-eval is not installed.
            DataError: only the development items are at hand, which are the examples.
        """
        require_split(self.name, split, ("test",))
        rows = sources.ROWS[self.family](data_dir)
        if any(row["id"].startswith("dev/") for row in rows):
            raise DataError(
                f"{self.name} takes its {NUM_EXAMPLES} examples from the development items, and there are no others in "
                f"the local copy; add {self.family}/test/ from {sources.UPSTREAM[self.family]}."
            )
        by_subject: dict[str, list[sources.Row]] = defaultdict(list)
        for row in sample(rows, limit, seed):
            by_subject[row["subject"]].append(row)
        examples = sources.development(self.family, data_dir) if sources.is_local(data_dir) else None
        prompts = []
        for subject, chosen in by_subject.items():
            few = None if examples is None else [row for row in examples if row["subject"] == subject]
            task = self._task(subject, chosen, few)
            docs = [_doc(self.family, row) for row in chosen]
            prompts += [self._prompt(task, doc, row) for doc, row in zip(docs, chosen, strict=True)]
        return prompts

    def _task(self, subject: str, rows: list[sources.Row], examples: list[sources.Row] | None) -> Any:
        file, measured = _FILES[self.family]
        overrides: dict[str, Any] = {"num_fewshot": NUM_EXAMPLES}
        if examples is not None:
            data = {measured: [_doc(self.family, row) for row in rows], "dev": [_doc(self.family, r) for r in examples]}
            overrides["custom_dataset"] = partial(_datasets, data)
        return lmeval.community_task(file.format(subject), overrides)

    def _prompt(self, task: Any, doc: dict[str, Any], row: sources.Row) -> Prompt:
        context = task.fewshot_context(doc, NUM_EXAMPLES)
        delimiter = task.config.target_delimiter
        return Prompt(
            id=f"{self.name}/{row['id']}",
            messages=(Message(role="user", content=context),),
            lang=self.lang,
            risk=None,
            expect="choose",
            target=row["answer"],
            source=self.source,
            licence=self.licence,
            meta={
                "grader": f"lm-eval:{self.name}",
                "options": {letter: row[letter] for letter in sources.LETTERS},
                CONTINUATIONS: {letter: f"{delimiter}{letter}" for letter in task.doc_to_choice(doc)},
                "slices": [f"subject:{row['subject']}", f"split:{row['id'].split('/')[0]}"],
            },
        )


def _doc(family: str, row: sources.Row) -> dict[str, Any]:
    """A row in the columns that lm-eval's definition of the family reads."""
    if family == "mmlu":
        choices = [row[letter] for letter in sources.LETTERS]
        return {"question": row["question"], "choices": choices, "answer": sources.LETTERS.index(row["answer"])}
    options = {letter: row[letter] for letter in sources.LETTERS}
    if family == "cmmlu":
        return {"Question": row["question"], **options, "Answer": row["answer"]}
    return {"question": row["question"], **options, "answer": row["answer"]}


def _datasets(data: dict[str, list[dict[str, Any]]], **_: Any) -> dict[str, Any]:
    from datasets import Dataset

    return {split: Dataset.from_list(rows) for split, rows in data.items()}


FAMILIES = tuple(_FILES)
MMLU = LoglikelihoodBenchmark("mmlu", "en", "MMLU (arXiv:2009.03300)", "MIT")
CEVAL = LoglikelihoodBenchmark("ceval", "zh", "C-Eval validation (arXiv:2305.08322)", "CC-BY-NC-SA-4.0")
CMMLU = LoglikelihoodBenchmark("cmmlu", "zh", "CMMLU (arXiv:2306.09212)", "CC-BY-NC-SA-4.0")
