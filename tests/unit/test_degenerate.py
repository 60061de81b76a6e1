"""`degenerate`: each kind of monotony is said with its numbers, and a varied corpus gets no warning."""

from __future__ import annotations

import random
from typing import Any

import pytest

from safekeel.corpus.sample import Role, Sample
from safekeel.corpus.steps.degenerate import degenerate, distinct_bigrams, mean_overlap
from safekeel.records import Lang, Message, Prompt

WORDS = [a + b for a in ("ka", "lo", "mi", "nu", "pe", "ra", "su", "ti") for b in ("bel", "dor", "fan", "gim", "hul")]
CATEGORIES = ("A.1.a", "A.2.b")


def prose(rng: random.Random, low: int = 8, high: int = 40) -> str:
    return " ".join(rng.choices(WORDS, k=rng.randint(low, high)))


def sample(number: int, role: Role, thought: str, answer: str, lang: Lang = "en", **fields: Any) -> Sample:
    prompt = Prompt(
        id=f"{role}/{lang}/{number}",
        messages=(Message(role="user", content=f"request {number}"),),
        lang=lang,
        risk=CATEGORIES[number % 2] if role == "risky" else None,
        expect="refuse" if role == "risky" else "answer",
        target=None,
        source="test",
        licence="CC0-1.0",
    )
    return Sample(id=prompt.id, role=role, prompt=prompt, thought=thought, answer=answer, **fields)


def varied(number: int = 40) -> list[Sample]:
    """Risky samples in their own words, each with an answered twin."""
    rng = random.Random(0)
    rows = []
    for place in range(number):
        rows.append(sample(place, "risky", prose(rng), f"{prose(rng)} I cannot help."))
        rows.append(sample(place, "counter", prose(rng), prose(rng), pair=f"risky/en/{place}"))
    return rows


def changed(**fields: Any) -> list[Sample]:
    """`varied` with these fields on its risky rows; a value may be a function of the place."""
    return [
        row.model_copy(update={name: value(place) if callable(value) else value for name, value in fields.items()})
        if row.role == "risky"
        else row
        for place, row in enumerate(varied())
    ]


def only(warnings: list[str], *parts: str) -> None:
    """There is one warning with all of these parts."""
    assert [warning for warning in warnings if all(part in warning for part in parts)], warnings


def test_a_varied_corpus_has_no_warning() -> None:
    assert degenerate(varied()) == []


def test_an_empty_corpus_is_said() -> None:
    only(degenerate([]), "EMPTY", "rejected.jsonl")


def test_identical_fixed_refusals() -> None:
    warnings = degenerate(changed(answer="I cannot help with that."))
    only(warnings, "40 of 40 English answers", "100%", "THE SAME TEXT")
    only(warnings, "distinct-2")
    only(warnings, "all about 24 characters long")


def test_one_opening() -> None:
    rng = random.Random(1)
    warnings = degenerate(changed(answer=lambda _: f"I am sorry, but I must decline. {prose(rng)}"))
    only(warnings, "40 of 40 English answers", "open with the same 20 characters")
    assert "THE SAME TEXT" not in "".join(warnings)


def test_one_template_for_all_thoughts() -> None:
    template = (
        "The request asks for {}. By the rules of this system such a request is risky, so I decline and explain why."
    )
    rng = random.Random(2)
    only(degenerate(changed(thought=lambda _: template.format(prose(rng, 1, 9)))), "English thoughts", "ONE TEMPLATE")


def test_constant_lengths() -> None:
    rng = random.Random(3)
    only(degenerate(changed(thought=lambda _: prose(rng, 40, 40))), "English thoughts", "(spread")


def test_no_counter_samples_at_all_and_for_one_category() -> None:
    risky = [row for row in varied() if row.role == "risky"]
    only(degenerate(risky), "NO English counter samples", "40 risky ones")
    half = [row for row in varied() if row.role == "risky" or int(row.id.rsplit("/", 1)[1]) % 2 == 0]
    only(degenerate(half), "1 of 2 categories have no English counter samples: A.2.b (20 risky rows)")


def test_a_pair_may_be_named_from_either_side() -> None:
    rows = [
        row.model_copy(update={"pair": row.id.replace("risky", "counter") if row.role == "risky" else None})
        for row in varied()
    ]
    assert degenerate(rows) == []


def test_counters_of_another_language_do_not_count() -> None:
    rows = [row for row in varied() if row.role == "risky"]
    rows += [sample(place, "counter", "", f"好的，这是第{place}个回答。", "zh") for place in range(5)]
    only(degenerate(rows), "NO English counter samples")


def test_refused_counters() -> None:
    rows = [
        row.model_copy(update={"answer": "I'm sorry, but I can't help with that."})
        if row.role == "counter" and place < 8
        else row
        for place, row in enumerate(varied())
    ]
    only(degenerate(rows), "4 of 40 counter samples (10%", "REFUSED", "counter/en/0")


def test_few_rows_say_nothing_about_variety() -> None:
    rows = [sample(place, "risky", "same", "I cannot help.", pair=f"counter/en/{place}") for place in range(5)]
    rows += [sample(place, "counter", "", "Of course: this is how.") for place in range(5)]
    assert degenerate(rows) == []


@pytest.mark.parametrize(("texts", "share"), [([], 1.0), (["a b a b"], 2 / 3), (["我很好", "我很好"], 1 / 2)])
def test_distinct_bigrams(texts: list[str], share: float) -> None:
    assert distinct_bigrams(texts) == pytest.approx(share)


@pytest.mark.parametrize(
    ("texts", "share"), [([], 0.0), (["a b c"], 0.0), (["a b c d", "a b c e"], 1 / 3), (["a b c", "A B C"], 1.0)]
)
def test_mean_overlap(texts: list[str], share: float) -> None:
    assert mean_overlap(texts) == pytest.approx(share)
