"""Knowledge multiple choice of the nano world: general facts, four options; the thought names the value and its letter.

Every fact is learnt in pretraining; what is held out is the item (fact x options x order). Items that share a fact
share a cluster, so intervals over them can say how many independent facts they really rest on.
"""

from __future__ import annotations

import random
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from safekeel.nano.arithmetic import ItemSplit, Lang, Problem, split_of

LETTERS = "ABCD"


@dataclass(frozen=True)
class Fact:
    relation: str
    lang: Lang
    subject: str  # "the capital of France"
    value: str  # "Paris"


@cache
def facts() -> tuple[Fact, ...]:
    """All facts, both languages, from `facts.toml`."""
    tables = tomllib.loads(resources.files("safekeel.nano").joinpath("facts.toml").read_text("utf-8"))
    found: list[Fact] = []
    for relation, table in tables.items():
        for line in table["facts"]:
            subject_en, value_en, subject_zh, value_zh = line.split("/")
            found.append(Fact(relation, "en", table["en"].format(x=subject_en), value_en))
            found.append(Fact(relation, "zh", table["zh"].format(x=subject_zh), value_zh))
    return tuple(found)


@cache
def _values(relation: str, lang: Lang) -> tuple[str, ...]:
    return tuple(sorted({fact.value for fact in facts() if fact.relation == relation and fact.lang == lang}))


def choices(options: list[str], lang: Lang) -> str:
    """The four option lines as they follow a question.

    An option stands behind the same character as it does in a thought (a space in English, a colon in Chinese): the
    byte-level pre-tokenizer glues that character to the word, and only equal tokens can be looked up.
    """
    mark = ". " if lang == "en" else "："
    return "".join(f"\n{letter}{mark}{option}" for letter, option in zip(LETTERS, options, strict=True))


def draw(rng: random.Random, split: ItemSplit) -> Problem:
    """One multiple-choice item of the split, drawn by rejection."""
    while True:
        fact = rng.choice(facts())
        others = [value for value in _values(fact.relation, fact.lang) if value != fact.value]
        options = [*rng.sample(others, 3), fact.value]
        rng.shuffle(options)
        stem = f"What is {fact.subject}?" if fact.lang == "en" else f"{fact.subject}是什么？"
        question = stem + choices(options, fact.lang)
        if split_of(question) != split:
            continue
        letter = LETTERS[options.index(fact.value)]
        sentence = fact.subject[0].upper() + fact.subject[1:] if fact.lang == "en" else fact.subject
        steps = (
            f"{sentence} is {fact.value} ({letter})." if fact.lang == "en" else f"{sentence}：{fact.value} ({letter})。"
        )
        return Problem(fact.lang, question, steps, letter, f"{fact.relation}-{fact.lang}-{fact.subject}", split)
