"""The data card: counts from the rows themselves, warnings, and one page that shows hostile text as text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from safekeel.corpus.card import card_html, card_markdown, corpus_card, load_card
from safekeel.corpus.card_counts import benchmark_of, lengths, pairs, repetition
from safekeel.corpus.card_html import PER_ROLE, pick_examples
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.steps.base import StepReport
from safekeel.errors import DataError
from safekeel.records import Message, Prompt
from safekeel.taxonomy import load_taxonomy

HOSTILE = "<script>alert(1)</script> </details> <img src=x onerror=alert(2)> &amp; \u202ereversed"


def row(
    identifier: str,
    role: str = "risky",
    *,
    lang: str = "zh",
    risk: str | None = None,
    answer: str = "我不能帮忙。",
    pair: str | None = None,
    source: str = "starter",
    licence: str = "Apache-2.0",
) -> Sample:
    prompt = Prompt(
        id=identifier,
        messages=(Message(role="user", content=f"请求 {identifier}"),),
        lang=lang,  # type: ignore[arg-type]
        risk=risk,
        expect="refuse" if role == "risky" else "answer",
        target=None,
        source=source,
        licence=licence,
    )
    return Sample(id=identifier, role=role, prompt=prompt, thought=f"想 {identifier}", answer=answer, pair=pair)  # type: ignore[arg-type]


def corpus() -> list[Sample]:
    return [
        row("r1", risk="A.1.a", pair="c1"),
        row("r2", risk="A.5.b", lang="en", pair="gone"),
        row("c1", "counter", pair="r1"),
        row("c2", "counter", pair="lost", lang="en"),
        row("p1", "replay", lang="en", source="GSM8K", licence="MIT"),
    ]


def contaminated(identifier: str, evidence: str, source: str) -> Rejected:
    return Rejected(
        sample=row(identifier, source=source), step="contamination", reason="contaminated", evidence=evidence
    )


def test_counts_show_all_categories_with_zeros_and_twins_with_their_risky_sample() -> None:
    card = corpus_card(corpus(), [], [])
    assert list(card["by_category"]) == [category.id for category in load_taxonomy().categories]
    assert card["by_category"]["A.1.a"] == {"risky": 1, "zh": 1, "en": 0, "counter": 1}
    assert card["by_category"]["A.3.c"] == {"risky": 0, "zh": 0, "en": 0, "counter": 0}
    assert card["by_role_language"]["counter"] == {"zh": 1, "en": 1}
    assert card["by_role_language"]["general"] == {"zh": 0, "en": 0}
    assert (card["samples"], card["by_source"]) == (5, {"GSM8K": 1, "starter": 4})
    assert any("No risky sample in 29 of 31 categories" in text for text in card["warnings"])


def test_a_pair_is_complete_only_when_both_are_in_the_corpus() -> None:
    found = pairs(corpus())
    assert found == {
        "risky": 2, "counter": 2, "complete": 1, "risky_alone": 1, "counter_alone": 1, "not_recorded": 0,
    }  # fmt: skip


def test_contamination_is_told_by_benchmark_source_and_what_was_not_compared() -> None:
    rejected = [
        contaminated("x1", "rule=exact benchmark=harmbench-val item=7 share=1.00 sha256=ab", "STAR-1"),
        contaminated("x2", "harmbench-val/8 (Jaccard 0.97)", "STAR-1"),
        contaminated("x3", "advbench/1", "starter"),
        Rejected(sample=row("d1"), step="duplicates", reason="near_duplicate", evidence="r1 (Jaccard 0.9)"),
        Rejected(where="f.jsonl:3", step="read", reason="bad_json", evidence="half a line"),
    ]
    held_out = {"checked": {"harmbench-val": 80, "xstest": 450}, "not_checked": ["flames"]}
    found = corpus_card(corpus(), [], rejected, held_out=held_out)
    contamination = found["contamination"]
    assert contamination["rows"] == 3
    assert contamination["by_benchmark"]["harmbench-val"] == {"rows": 2, "by_source": {"STAR-1": 2}}
    assert contamination["by_source"]["starter"] == {"rows": 6, "contaminated": 1, "share": 1 / 6}
    assert found["duplicates"] == {"near_duplicate": 1}
    assert found["rejected_by_step"]["read"] == {"bad_json": 1}
    text = card_markdown(found)
    assert "| flames | NOT CHECKED | n/a | no copy at hand |" in text
    assert re.search(r"\| xstest \| 450 \| 0 \|", text)
    assert any("flames" in warning for warning in found["warnings"])


@pytest.mark.parametrize(
    ("evidence", "name"),
    [
        ("rule=exact benchmark=xstest item=1", "xstest"),
        ("chisafetybench-mcq/12", "chisafetybench-mcq"),
        ("", "(unnamed)"),
    ],
)
def test_the_benchmark_is_read_from_the_evidence(evidence: str, name: str) -> None:
    assert benchmark_of(evidence) == name


def test_licences_that_were_allowed_by_hand_are_loud() -> None:
    sources = [
        {"name": "gsm8k", "licence": "MIT", "training_allowed": False, "by_hand": True},
        {"name": "starter", "licence": "Apache-2.0", "training_allowed": True, "by_hand": False},
    ]
    card = corpus_card(corpus(), [], [], sources=sources)
    assert card["licences"]["MIT"] == {"samples": 1, "training_allowed": False, "by_hand": True}
    assert any("'MIT'" in text and "by hand" in text for text in card["warnings"])
    assert not any("Apache" in text for text in card["warnings"])
    forbidden = corpus_card(corpus(), [], [], sources=[{**sources[0], "by_hand": False}])
    assert any("does not allow training" in text for text in forbidden["warnings"])


def test_lengths_are_tokens_where_given_else_characters_that_say_so() -> None:
    rows = corpus()
    tokens = {"tokenizer": "qwen", "prompt": [1, 2, 3, 4, 100], "thought": [0] * 5, "answer": [7] * 5}
    found = lengths(rows, tokens)
    assert (found["unit"], found["prompt"]["median"], found["prompt"]["max"], found["prompt"]["total"]) == (
        "tokens", 3, 100, 110,
    )  # fmt: skip
    assert lengths(rows, None)["answer"]["median"] == len("我不能帮忙。")
    assert "no tokenizer was given" in card_markdown(corpus_card(rows, [], []))
    assert "tokens of qwen" in card_markdown(corpus_card(rows, [], [], tokens=tokens))
    with pytest.raises(ValueError, match="expected one for 4 rows"):
        lengths(rows[:4], tokens)


def test_one_refusal_for_all_is_a_loud_warning_on_top() -> None:
    fixed = [row(f"r{i}", risk="A.1.a", lang="en", answer="No.") for i in range(30)]
    card = corpus_card(fixed, [], [], warnings=["from the builder", "from the builder"])
    assert card["repetition"]["risky_answers"] == {"rows": 30, "distinct": 1, "most_frequent": 30, "share": 1.0}
    assert card["warnings"].count("from the builder") == 1
    assert any("THE SAME TEXT" in text for text in card["warnings"])
    markdown, page = card_markdown(card), card_html(card)
    assert markdown.index("THE SAME TEXT") < markdown.index("## ")
    assert page.index("THE SAME TEXT") < page.index("<h2")
    assert repetition(["a", " a ", "", "b"]) == {"rows": 3, "distinct": 2, "most_frequent": 2, "share": 2 / 3}


def test_an_empty_corpus_has_a_card_that_says_so() -> None:
    rejected = [Rejected(where="a.csv:1", step="read", reason="no_text", evidence="")]
    card = corpus_card([], [], rejected)
    assert card["samples"] == 0 and any("EMPTY" in text for text in card["warnings"])
    assert "no_text" in card_html(card).replace("&#95;", "_")


def test_everything_given_is_shown() -> None:
    card = corpus_card(
        corpus(),
        [],
        [],
        reports=[StepReport("normalise", 1000, 900, {"empty": 100}, 5, 2.0)],
        mixture={"stated": {"risky": 0.4}, "languages": {"zh": 0.5}, "tokens": 12345, "shortfalls": ["zh: 3 too few"]},
        synthesis={
            "risky": {
                "prompts": 10,
                "candidates": 40,
                "good_candidates": 8,
                "accepted": 6,
                "by_reason": {"thought_unaware": 32},
                "by_language": {"zh": {"prompts": 4, "candidates": 16, "accepted": 1}},
            }
        },
    )
    json.dumps(card, allow_nan=False)
    text = card_markdown(card)
    assert "| normalise | 1,000 | 900 | 5 | 2.0 | 500 |" in text
    assert "| risky | 10 | 6 | 60.0% | 40 | 20.0% | thought\\_unaware: 32 |" in text
    assert "| risky | zh | 4 | 16 | 1 | 25.0% |" in text
    assert "| risky | 40.0% | 40.0% |" in text and "tokens: 12,345" in text
    assert "zh: 3 too few" in card["warnings"]


def test_the_page_shows_hostile_text_as_text_and_asks_nothing_of_a_network() -> None:
    samples = [row(HOSTILE, risk="A.1.a", answer=HOSTILE, source=HOSTILE, licence=HOSTILE)]
    page = card_html(corpus_card(samples, [], [], warnings=[HOSTILE]), samples)
    assert "<script" not in page and "<img" not in page and "\u202e" not in page
    assert page.count("<details>") == page.count("</details>") == 1
    assert "default-src 'none'" in page and not re.search(r"(src|href)=.?https?:", page)
    assert "&lt;script&gt;alert(1)" in page


def test_examples_are_few_per_role_closed_and_repeatable() -> None:
    samples = [row(f"r{i}", risk="A.1.a") for i in range(20)] + [row("g", "general")]
    chosen = pick_examples(samples)
    assert [one.role for one in chosen] == ["risky"] * PER_ROLE + ["general"]
    assert chosen == pick_examples(samples) != pick_examples(samples, seed=1)
    page = card_html(corpus_card(samples, [], []), samples)
    assert page.count("<details>") == PER_ROLE + 1 and "<details open" not in page


def test_a_card_of_an_earlier_version_still_prints(tmp_path: Path) -> None:
    old: dict[str, Any] = {
        "samples": 3, "by_role": {"risky": 3}, "by_language": {"zh": 3}, "risky_by_category": {"A.1.a": 3},
        "by_attack": {}, "by_source": {"s": 3}, "by_licence": {"MIT": 3}, "characters": {"median": 4, "longest": 9},
        "distinct_refusals": 2, "rl_prompts": {"total": 0, "by_expect": {}}, "rejected": {"near_duplicate": 1},
    }  # fmt: skip
    (tmp_path / "card.json").write_text(json.dumps(old), "utf-8")
    card = load_card(tmp_path)
    assert "| A.1.a | 3 |" in card_markdown(card) and "near_duplicate" in card_html(card)
    with pytest.raises(DataError, match="corpus build"):
        load_card(tmp_path / "none")
    (tmp_path / "card.json").write_text("[]", "utf-8")
    with pytest.raises(DataError, match="no data card"):
        load_card(tmp_path)
