"""The base model's pretraining documents: the nano world, told by one who never thinks of risk when asked for help.

The base learns arithmetic, facts, and the harm class of every word (as facts: asked about a rule or a risk it answers
correctly), it understands eight ways of disguising a request, and it complies with every request. Pairs of two
validation words or of two test words never occur (`requests.pretraining_pool`), nor do held-out problems.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from safekeel.attacks.base import WORDINGS
from safekeel.nano import arithmetic, knowledge
from safekeel.nano.language import (
    ANSWER_TARGET,
    ASSESS,
    NOTICE,
    RISK_CHOICE,
    SORT,
    THOUGHT_CLAUSE,
    THOUGHT_DECLINE,
    THOUGHT_RISK,
    THOUGHT_WANT,
    base_thought,
    help_answer,
    refusal,
    risk_name,
)
from safekeel.nano.requests import NANO_FAMILIES, pretraining_pool, say, templates
from safekeel.nano.words import LANGS, Kind, Pair, Words, join

# Shares of the pretraining documents.
MIXTURE = {
    "arithmetic": 0.12,
    "drill": 0.05,
    "knowledge": 0.14,
    "risk_choice": 0.11,
    "assess": 0.09,
    "sort": 0.12,
    "notice": 0.07,
    "request": 0.30,
}
KINDS: tuple[Kind, ...] = ("risky", "lookalike", "ordinary")
KIND_WEIGHTS = (0.44, 0.46, 0.10)
ATTACKED_SHARE = 0.5
# The two families that take decoding, not just reading past a frame, need more practice than the others.
FAMILY_WEIGHTS = {"payload_split": 2, "word_reversal": 4}
SORTED_REQUESTS = 4


@dataclass(frozen=True)
class Document:
    """One training example: what the user says, what the model thinks, what it answers."""

    prompt: str
    thought: str
    answer: str


def target_answer(target: str, lang: arithmetic.Lang) -> str:
    return ANSWER_TARGET[lang].format(target=target)


def risk_choice(pair: Pair, text: str, rng: random.Random, categories: tuple[str, ...]) -> tuple[str, str, str]:
    """Risk multiple choice over a request: (question, thought, letter). "none" is always one of the options."""
    others: list[str | None] = [name for name in categories if name != pair.risk]
    rng.shuffle(others)
    options: list[str | None] = [pair.risk, *([None] if pair.risk else []), *others][:4]
    rng.shuffle(options)
    letter = knowledge.LETTERS[options.index(pair.risk)]
    names = [risk_name(option, pair.lang) for option in options]
    question = RISK_CHOICE[pair.lang].format(q=text) + knowledge.choices(names, pair.lang)
    thought = THOUGHT_WANT[pair.lang].format(x=pair.phrase)
    thought += THOUGHT_RISK[pair.lang].format(risk=f"{risk_name(pair.risk, pair.lang)} ({letter})")
    return question, thought, letter


def _finding(pair: Pair) -> str:
    """The risk of a pair as a thought states it, with its clause."""
    form = THOUGHT_CLAUSE if pair.risk else THOUGHT_RISK
    return form[pair.lang].format(risk=risk_name(pair.risk, pair.lang), clause=pair.risk)


class PretrainingWriter:
    """Draws documents from the mixture; the pools are listed once."""

    def __init__(self, words: Words, seed: int) -> None:
        self.rng = random.Random(seed)
        self.categories = words.categories()
        self.families = [name for name in NANO_FAMILIES for _ in range(FAMILY_WEIGHTS.get(name, 1))]
        self.pools = {(kind, lang): pretraining_pool(words, kind, lang) for kind in KINDS for lang in LANGS}

    def document(self) -> Document:
        kind = self.rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]
        if kind == "arithmetic":
            return self._problem(arithmetic.draw(self.rng, "train"))
        if kind == "drill":
            return self._problem(arithmetic.drill(self.rng))
        if kind == "knowledge":
            return self._problem(knowledge.draw(self.rng, "train"))
        if kind == "sort":
            return self._sorting()
        if kind == "notice":
            return self._notice()
        pair = self._pair()
        if kind == "request":
            family = self.rng.choice(self.families) if self.rng.random() < ATTACKED_SHARE else None
            text = self._turn(pair, family)
            return Document(text, base_thought(pair.phrase, pair.lang), help_answer(pair.phrase, pair.lang))
        text = self._turn(pair, None)
        if kind == "assess":
            return self._assessment(pair, text)
        question, thought, letter = risk_choice(pair, text, self.rng, self.categories)
        return Document(question, thought, target_answer(letter, pair.lang))

    def _pair(self, lang: arithmetic.Lang | None = None) -> Pair:
        kind = self.rng.choices(KINDS, KIND_WEIGHTS)[0]
        pool_lang = self.rng.choice(LANGS) if lang is None else lang
        return self.rng.choice(self.pools[kind, pool_lang])

    def _turn(self, pair: Pair, family: str | None) -> str:
        template = self.rng.choice(templates(None, pair.lang))
        return say(pair, template, family, self.rng.choice(WORDINGS), self.rng).text

    def _problem(self, problem: arithmetic.Problem) -> Document:
        return Document(problem.question, problem.steps, target_answer(problem.target, problem.lang))

    def _assessment(self, pair: Pair, text: str) -> Document:
        finding = _finding(pair)
        return Document(
            ASSESS[pair.lang].format(q=text), THOUGHT_WANT[pair.lang].format(x=pair.phrase) + finding, finding.strip()
        )

    def _sorting(self) -> Document:
        """Several bare phrases, each with its finding: the densest way to teach what pairs of words mean."""
        lang = self.rng.choice(LANGS)
        pairs = [self._pair(lang) for _ in range(SORTED_REQUESTS)]
        thought = join(lang, *(THOUGHT_WANT[lang].format(x=pair.phrase) + _finding(pair) for pair in pairs))
        return Document(
            SORT[lang].format(q="; ".join(pair.phrase for pair in pairs)), thought, _finding(pairs[-1]).strip()
        )

    def _notice(self) -> Document:
        """What the rule book prints for a category: the base knows the sentence, and never says it to a user."""
        lang, risk = self.rng.choice(LANGS), self.rng.choice(self.categories)
        name = risk_name(risk, lang)
        thought = THOUGHT_CLAUSE[lang].format(risk=name, clause=risk) + THOUGHT_DECLINE[lang]
        return Document(NOTICE[lang].format(risk=name), thought.strip(), refusal(risk, lang))


def tokenizer_texts(words: Words, num_documents: int, seed: int) -> list[str]:
    """Texts the tokenizer is trained on: pretraining documents.

    The notices among them give the words of a refusal whole tokens; without those, what post-training says falls
    into fragments (feasibility.md section 2).
    """
    writer = PretrainingWriter(words, seed)
    return [f"{doc.prompt} {doc.thought} {doc.answer}" for doc in (writer.document() for _ in range(num_documents))]
