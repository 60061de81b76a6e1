"""The base model's pretraining documents: the whole nano world, told by somebody who never thinks about risk when asked to help.

The base learns arithmetic, facts, and the harm class of every word (as facts: asked about a rule or a risk it answers
correctly), it understands eight ways of disguising a request, and it complies with every request. Pairs of two
validation words or of two test words never occur (`requests.pretraining_pool`), nor do held-out problems.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from safekeel.attacks import ATTACKS
from safekeel.attacks.base import WORDINGS
from safekeel.nano import arithmetic, knowledge
from safekeel.nano.language import (
    ANSWER_TARGET,
    ASSESS,
    RISK_CHOICE,
    THOUGHT_CLAUSE,
    THOUGHT_RISK,
    THOUGHT_WANT,
    base_thought,
    help_answer,
    refusal,
    risk_name,
    safe_thought,
)
from safekeel.nano.requests import pretraining_pool, say, templates
from safekeel.nano.words import LANGS, Kind, Pair, Words

# Shares of the pretraining documents.
MIXTURE = {"arithmetic": 0.20, "drill": 0.08, "knowledge": 0.16, "risk_choice": 0.13, "assess": 0.08, "request": 0.35}
KINDS: tuple[Kind, ...] = ("risky", "lookalike", "ordinary")
KIND_WEIGHTS = (0.42, 0.46, 0.12)
ATTACKED_SHARE = 0.45


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
    question = RISK_CHOICE[pair.lang].format(q=text) + knowledge.choices(names)
    thought = THOUGHT_WANT[pair.lang].format(x=pair.phrase)
    thought += THOUGHT_RISK[pair.lang].format(risk=f"{risk_name(pair.risk, pair.lang)} ({letter})")
    return question, thought, letter


class PretrainingWriter:
    """Draws documents from the mixture; the pools are listed once."""

    def __init__(self, words: Words, seed: int) -> None:
        self.rng = random.Random(seed)
        self.categories = words.categories()
        self.pools = {(kind, lang): pretraining_pool(words, kind, lang) for kind in KINDS for lang in LANGS}

    def document(self) -> Document:
        kind = self.rng.choices(list(MIXTURE), list(MIXTURE.values()))[0]
        if kind == "arithmetic":
            return self._problem(arithmetic.draw(self.rng, "train"))
        if kind == "drill":
            return self._problem(arithmetic.drill(self.rng))
        if kind == "knowledge":
            return self._problem(knowledge.draw(self.rng, "train"))
        pair = self._pair()
        if kind == "request":
            family = self.rng.choice(ATTACKS.names()) if self.rng.random() < ATTACKED_SHARE else None
            text = self._turn(pair, family)
            return Document(text, base_thought(pair.phrase, pair.lang), help_answer(pair.phrase, pair.lang))
        text = self._turn(pair, None)
        if kind == "assess":
            return self._assessment(pair, text)
        question, thought, letter = risk_choice(pair, text, self.rng, self.categories)
        return Document(question, thought, target_answer(letter, pair.lang))

    def _pair(self) -> Pair:
        kind = self.rng.choices(KINDS, KIND_WEIGHTS)[0]
        return self.rng.choice(self.pools[kind, self.rng.choice(LANGS)])

    def _turn(self, pair: Pair, family: str | None) -> str:
        template = self.rng.choice(templates(None, pair.lang))
        return say(pair, template, family, self.rng.choice(WORDINGS), self.rng).text

    def _problem(self, problem: arithmetic.Problem) -> Document:
        return Document(problem.question, problem.steps, target_answer(problem.target, problem.lang))

    def _assessment(self, pair: Pair, text: str) -> Document:
        form = THOUGHT_CLAUSE if pair.risk else THOUGHT_RISK
        finding = form[pair.lang].format(risk=risk_name(pair.risk, pair.lang), clause=pair.risk)
        thought = THOUGHT_WANT[pair.lang].format(x=pair.phrase) + finding
        return Document(ASSESS[pair.lang].format(q=text), thought, finding.strip())


def tokenizer_texts(words: Words, num_documents: int, seed: int) -> list[str]:
    """Texts the tokenizer is trained on: pretraining documents, and one refusal per category and language.

    The base never learns to refuse, but it needs whole tokens for the words a refusal uses: without them what
    post-training says falls into fragments (measured on the prototype, feasibility.md section 2).
    """
    writer = PretrainingWriter(words, seed)
    texts = [f"{doc.prompt} {doc.thought} {doc.answer}" for doc in (writer.document() for _ in range(num_documents))]
    for lang in LANGS:
        texts += [refusal(risk, lang) for risk in writer.categories] * 4
        texts += [safe_thought(pair.phrase, pair.risk, lang) for pair in writer.pools["risky", lang][:200]]
    return texts
