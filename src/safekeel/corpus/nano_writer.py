"""The nano model writes its own safe reasoning: its rule book takes the place of a policy prompt.

A 1.5M-parameter model follows no written policy, but it knows its world's rules as facts: asked about a request it
names the risk and the clause, and it can recite the notice that the rule book prints on a risk. Thought and answer of a
training sample are put together from what it says itself:

    assess the request ──risk──► its own finding + "I should decline."      answer: its own notice on that risk
                       └─none──► its own finding + "I will give the steps." answer: its own answer to the request

What it gets wrong, the judge rejects.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from safekeel.bench.generate import generate
from safekeel.corpus.sample import Sample
from safekeel.corpus.synthesis.candidates import grouped
from safekeel.engines.base import Engine, Sampling
from safekeel.nano.language import ASSESS, NOTICE, REQUESTS, THOUGHT_DECLINE, THOUGHT_HELP, risk_name
from safekeel.nano.words import LANGS
from safekeel.nano.world import LICENCE, SOURCE
from safekeel.progress import Progress
from safekeel.records import Completion, Lang, Message, Prompt
from safekeel.taxonomy import load_taxonomy

_CLAUSE = re.compile(r"A\.\d\.[a-i]")


class RuleBookWriter:
    """`candidates.Writer` for the nano model."""

    style = "rule book"

    def __init__(self, engine: Engine, sampling: Sampling) -> None:
        self.engine, self.sampling, self.name = engine, sampling, engine.name

    def write(self, samples: Sequence[Sample], path: Path, progress: Progress | None) -> list[list[Completion]]:
        """See `Writer.write`. A finding without a clause counts as "no risk"."""
        notices = self._notices(path.with_name("notices.jsonl"), progress)
        found = self._ask(samples, ASSESS, path.with_name(f"{path.stem}.assess.jsonl"), self.sampling, progress)
        once = self.sampling.model_copy(update={"num_samples": 1, "temperature": 0.0})
        helped = self._ask(samples, None, path, once, progress)
        return [
            [_composed(sample, finding, notices, helps[0]) for finding in findings]
            for sample, findings, helps in zip(samples, found, helped, strict=True)
        ]

    def _ask(
        self,
        samples: Sequence[Sample],
        form: dict[Lang, str] | None,
        path: Path,
        sampling: Sampling,
        progress: Progress | None,
    ) -> list[list[Completion]]:
        """Replies about the plain request behind each sample, disguised or not."""
        prompts = []
        for sample in samples:
            lang = sample.prompt.lang
            request = REQUESTS[lang]["sft"][0].format(x=sample.prompt.meta["phrase"])
            text = form[lang].format(q=request) if form else request
            prompts.append(_prompt(sample.id, text, lang))
        return grouped(generate(self.engine, prompts, sampling, path, progress, path.stem), sampling)

    def _notices(self, path: Path, progress: Progress | None) -> dict[tuple[Lang, str], str]:
        """What the rule book prints, by language and category, as the model recites it."""
        keys = [(lang, category.id) for lang in LANGS for category in load_taxonomy().categories]
        prompts = [
            _prompt(f"notice/{lang}/{risk}", NOTICE[lang].format(risk=risk_name(risk, lang)), lang)
            for lang, risk in keys
        ]
        once = Sampling(max_tokens=self.sampling.max_tokens)
        rows = generate(self.engine, prompts, once, path, progress, "notices")
        return {key: row.answer for key, row in zip(keys, rows, strict=True)}


def _prompt(identifier: str, text: str, lang: Lang) -> Prompt:
    message = Message(role="user", content=text)
    return Prompt(
        id=identifier,
        messages=(message,),
        lang=lang,
        risk=None,
        expect="answer",
        target=None,
        source=SOURCE,
        licence=LICENCE,
    )


def _composed(
    sample: Sample, finding: Completion, notices: dict[tuple[Lang, str], str], help_row: Completion
) -> Completion:
    """One candidate. It keeps the finding's place and whether the finding was cut off."""
    lang, thought = sample.prompt.lang, finding.thought or ""
    clause = _CLAUSE.search(thought)
    if clause is None:
        return finding.model_copy(update={"thought": thought + THOUGHT_HELP[lang], "answer": help_row.answer})
    answer = notices.get((lang, clause.group()), "")
    return finding.model_copy(update={"thought": thought + THOUGHT_DECLINE[lang], "answer": answer})
