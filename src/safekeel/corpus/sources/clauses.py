"""Source: prompts that an engine writes from the law clauses of each category. Requests only, never instructions.

Everything about the reply is strict: one JSON array, every item checked by itself, nothing fished out of prose. The
same replies give the same rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import STEP, Ask, Row, SourceBase
from safekeel.corpus.sources.language import guess_lang
from safekeel.corpus.sources.law import clause_texts, clauses_for
from safekeel.corpus.steps import normalise
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import shown
from safekeel.records import Completion, Lang, Message, Prompt
from safekeel.taxonomy import Taxonomy

NAME = "clauses"
LANGS: tuple[Lang, ...] = ("zh", "en")
BATCH = 32
"""Requests per call of the engine: enough to fill an endpoint, few enough that rows come while others are written."""
MIN_CHARACTERS: dict[Lang, int] = {"zh": 8, "en": 20}
MAX_CHARACTERS: dict[Lang, int] = {"zh": 300, "en": 900}
"""Twice what is asked for (150 characters; 80 words at 5.5): longer ones explain."""
_BLOCK = re.compile(r"\A```(?:json)?\s*(?P<inside>.*?)\s*```\Z", re.DOTALL | re.IGNORECASE)
_STEPS = re.compile(
    r"(?:^|\n)\s*(?:step\s*\d|第[一二三四五六七八九十\d]+步|\d+[.、)]\s)|步骤如下|(?:steps|ingredients) are:|```",
    re.IGNORECASE,
)
"""What a text that already explains looks like; a request has no numbered lines."""


class ReplyError(ValueError):
    """A reply that is no list of texts."""


class ClauseSource(SourceBase):
    """Prompts for every category of a taxonomy, in both languages."""

    def __init__(
        self, taxonomy: Taxonomy, ask: Ask, number: int, langs: Sequence[Lang] = LANGS, batch_size: int = BATCH
    ) -> None:
        """Args:
        ask: one completion per prompt, in their order (`ask_with` makes one of an engine).
        number: prompts asked for per category and language.
        """
        super().__init__(NAME, "as the terms of the model that wrote it")
        self._taxonomy, self._ask, self._number = taxonomy, ask, number
        self._langs, self._batch_size = tuple(langs), batch_size

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`; a reply that is no list is one rejected row."""
        requests = clause_requests(self._taxonomy, self._number, self._langs)
        for start in range(0, len(requests), self._batch_size):
            batch = requests[start : start + self._batch_size]
            for request, reply in zip(batch, self._ask(batch), strict=True):
                yield from self._items(request, reply)

    def _items(self, request: Prompt, reply: Completion) -> Iterator[Row]:
        try:
            texts = read_list(reply)
        except ReplyError as error:
            yield Rejected(where=request.id, step=STEP, reason="broken_reply", evidence=str(error))
            return
        seen: set[str] = set()
        for number, text in enumerate(texts, 1):
            sample = _sample(request, reply, number, text if isinstance(text, str) else "")
            problem = ("too_many", f"asked for {self._number}") if number > self._number else None
            problem = problem or check_item(text, request.lang, seen)
            if problem is None:
                seen.add(normalise(str(text)))
                yield sample
            else:
                where, (reason, evidence) = f"{request.id}:{number}", problem
                kept = sample if isinstance(text, str) and text.strip() else None
                yield Rejected(sample=kept, where=where, step=STEP, reason=reason, evidence=evidence)


def ask_with(engine: Engine, sampling: Sampling) -> Ask:
    """An engine as what `ClauseSource` wants; the first sample of each prompt."""
    once = sampling.model_copy(update={"num_samples": 1})
    return lambda prompts: engine.generate(prompts, once)


def clause_requests(taxonomy: Taxonomy, number: int, langs: Sequence[Lang] = LANGS) -> list[Prompt]:
    """What an engine is asked, one prompt per category and language: `clauses/A.1.a/zh`."""
    texts = clause_texts()
    found = []
    for category in taxonomy.categories:
        for lang in langs:
            clauses = clauses_for(category.id, lang, taxonomy)
            name = category.zh if lang == "zh" else category.en
            text = texts["ask"][lang].format(number=number, name=name, clauses=texts["joint"][lang].join(clauses))
            found.append(
                Prompt(
                    id=f"{NAME}/{category.id}/{lang}",
                    messages=(Message(role="user", content=text.strip()),),
                    lang=lang,
                    risk=category.id,
                    expect="answer",
                    target=None,
                    source=NAME,
                    licence="CC-BY-4.0 (SafeKeel)",
                    meta={"clause": clauses},
                )
            )
    return found


def read_list(reply: Completion) -> list[object]:
    """The items of a reply: exactly one JSON array, which may stand in a code block.

    Raises:
        ReplyError: a failed or cut off generation, other text around the array, no array, an empty one.
    """
    if reply.finish == "error":
        raise ReplyError(f"the engine failed: {reply.error}")
    if reply.split == "truncated" or reply.finish == "length":
        raise ReplyError("the reply was cut off; give the engine more tokens (max_tokens)")
    text = reply.answer.strip()
    block = _BLOCK.match(text)
    try:
        items = json.loads(block["inside"] if block else text)
    except (ValueError, RecursionError) as error:
        raise ReplyError("the reply is not one JSON array and nothing else") from error
    if not isinstance(items, list) or not items:
        raise ReplyError(f"the reply is {'an empty array' if items == [] else f'a {type(items).__name__}'}")
    return items


def check_item(item: object, lang: Lang, seen: set[str]) -> tuple[str, str] | None:
    """(reason, evidence) where an item cannot be used as a request, else None.

    Args:
        seen: normalised texts of the items before it.
    """
    if not isinstance(item, str):
        return "no_text", f"a {type(item).__name__}, expected a text"
    text = item.strip()
    if not MIN_CHARACTERS[lang] <= len(text) <= MAX_CHARACTERS[lang]:
        return "wrong_length", f"{len(text)} characters, expected {MIN_CHARACTERS[lang]} to {MAX_CHARACTERS[lang]}"
    if guess_lang(text) != lang:
        return "wrong_language", f"expected {lang}"
    if found := _STEPS.search(text):
        return "not_a_request", f"{shown(found[0].strip())}: looks like instructions, expected a request only"
    if normalise(text) in seen:
        return "exact_duplicate", "the reply has it twice"
    return None


def _sample(request: Prompt, reply: Completion, number: int, text: str) -> Sample:
    identifier = f"{NAME}-{request.risk}/{request.lang}/{number:03d}"
    prompt = request.model_copy(
        update={
            "id": identifier,
            "messages": (Message(role="user", content=text.strip()),),
            "expect": "refuse",
            "source": f"{NAME}: written by {reply.model}",
            "licence": f"written by {reply.model}: its terms apply",
            "meta": {**request.meta, "cluster": identifier, "where": f"{request.id}:{number}"},
        }
    )
    return Sample(id=identifier, role="risky", prompt=prompt)
