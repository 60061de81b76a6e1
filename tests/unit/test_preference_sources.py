"""Where pairs come from: only answers that were judged, by verdicts about exactly this text, become rejected sides."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra")

from safekeel.bench.judging import verdict_key
from safekeel.corpus.nano_source import capability_prompts, paired_requests, safety_samples
from safekeel.corpus.sample import Role, Sample
from safekeel.engines import open_engine
from safekeel.engines.base import Sampling
from safekeel.errors import DataError, UsageError
from safekeel.judges.nano import NanoJudge
from safekeel.nano import language
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.words import load_words
from safekeel.records import Completion, Expect, Message, Prompt, Verdict, read_jsonl, write_jsonl
from safekeel.train.preference_data import Preference, reasons, relabel
from safekeel.train.preference_sources import (
    Asking,
    corpus_pairs,
    file_pairs,
    jade_pairs,
    nano_pairs,
    own_pairs,
    sources_of,
)

WORDS = load_words()


def sample(name: str, role: Role = "risky", expect: Expect = "refuse") -> Sample:
    prompt = Prompt(
        id=f"prompt-{name}",
        messages=(Message(role="user", content=f"about {name}"),),
        lang="en",
        risk="A.1.a" if role == "risky" else None,
        expect=expect,
        target=None,
        source="test",
        licence="CC0",
    )
    return Sample(id=name, role=role, prompt=prompt, thought="The right thought.", answer="The right answer.")


def said(owner: Sample, answer: str, number: int = 0, thought: str | None = "Hm.", **more: str) -> Completion:
    fields = {"split": "closed", "finish": "stop"} | more
    return Completion(
        prompt_id=owner.id,
        sample=number,
        model="m",
        raw=answer,
        thought=thought,
        answer=answer,
        num_prompt_tokens=1,
        num_completion_tokens=1,
        seconds=0.0,
        **fields,
    )


def judged(owner: Sample, row: Completion, answer: str, thought: str = "unaware") -> list[Verdict]:
    key = verdict_key(owner.prompt.model_copy(update={"id": owner.id}), row, "v1")
    return [
        Verdict(
            prompt_id=row.prompt_id,
            sample=row.sample,
            part=part,
            label=label,
            judge="j",
            judge_version="v1",
            unscored=label == "cannot_judge",
            key=key,
        )
        for part, label in (("thought", thought), ("answer", answer))
    ]


def build(folder: Path, name: str, rows: list[Completion], verdicts: list[Verdict]) -> None:
    (folder / "generated").mkdir(exist_ok=True)
    write_jsonl(folder / f"generated/{name}.jsonl", rows)
    write_jsonl(folder / f"generated/{name}.verdicts.jsonl", verdicts)


@pytest.mark.parametrize(
    ("role", "expect", "answer", "thought", "found"),
    [
        ("risky", "refuse", "harmful", "unaware", False),  # found = the flag `safe` of the rejected side
        ("risky", "refuse", "refusal", "harmful", False),  # a thought that plans the harm leaks it
        ("risky", "refuse", "harmless", "unaware", None),
        ("risky", "either", "refusal", "aware", None),
        ("risky", "refuse", "cannot_judge", "cannot_judge", None),
        ("counter", "answer", "refusal", "aware", True),
        ("counter", "answer", "responsible_refusal", "aware", True),
        ("general", "answer", "harmful", "unaware", False),
        ("counter", "answer", "harmless", "unaware", None),
    ],
)
def test_what_becomes_a_rejected_side(
    tmp_path: Path, role: Role, expect: Expect, answer: str, thought: str, found: bool | None
) -> None:
    owner = sample("s", role, expect)
    row = said(owner, "A wrong answer.")
    build(tmp_path, "own_answers", [row], judged(owner, row, answer, thought))
    gathered = corpus_pairs(tmp_path, [owner], 1)
    if found is None:
        assert not gathered.pairs and reasons(gathered.dropped) == {"no_wrong_answer": 1}
        assert gathered.dropped[0].evidence == ("unscored 1" if answer == "cannot_judge" else f"{answer} 1")
        return
    (pair,) = gathered.pairs
    assert (pair.rejected.safe, pair.rejected.answer, pair.rejected.thought) == (found, "A wrong answer.", "Hm.")
    assert (pair.chosen.thought, pair.chosen.answer, pair.chosen.safe) == (owner.thought, owner.answer, True)
    assert pair.source == "own_answers" and relabel([pair]).pairs == [pair]


def test_a_verdict_about_another_text_says_nothing(tmp_path: Path) -> None:
    """The nano writer composes its candidates: the file holds one text, the verdict is about another."""
    owner = sample("s")
    row = said(owner, "A wrong answer.")
    build(tmp_path, "risky", [row], judged(owner, said(owner, "What was really judged."), "harmful"))
    gathered = corpus_pairs(tmp_path, [owner], 1)
    assert not gathered.pairs and gathered.dropped[0].evidence == "not_judged 1"


def test_unfinished_answers_and_replay_give_no_pairs(tmp_path: Path) -> None:
    owner = sample("s")
    rows = [
        said(owner, "", 0, split="truncated", finish="length"),
        said(owner, "Cut off in", 1, finish="length"),
    ]
    verdicts = [verdict for row in rows for verdict in judged(owner, row, "harmful")]
    build(tmp_path, "own_answers", rows, verdicts)
    gathered = corpus_pairs(tmp_path, [owner, sample("r", "replay", "solve")], 1)
    assert not gathered.pairs and [row.id for row in gathered.dropped] == ["s"]
    assert gathered.dropped[0].evidence == "unfinished 2"


def test_own_answers_come_before_other_candidates_and_copies_count_once(tmp_path: Path) -> None:
    owner = sample("s")
    mine, copy, other = said(owner, "Mine."), said(owner, "Mine."), said(owner, "Another's.", 1)
    build(tmp_path, "corrected", [copy, other], [*judged(owner, copy, "harmful"), *judged(owner, other, "harmful")])
    build(tmp_path, "own_answers", [mine], judged(owner, mine, "harmful"))
    assert [p.rejected.answer for p in corpus_pairs(tmp_path, [owner], 1).pairs] == ["Mine."]
    several = corpus_pairs(tmp_path, [owner], 3).pairs
    assert [(p.id, p.rejected.answer, p.source) for p in several] == [
        ("s", "Mine.", "own_answers"),
        ("s#1", "Another's.", "corrected"),
    ]


def test_the_models_own_wrong_answers_are_generated_judged_and_kept(tmp_path: Path) -> None:
    """The nano base complies with everything, so all that it says to risky prompts is a rejected side."""
    samples = safety_samples(paired_requests(WORDS, "sft", 4, 0.0, random.Random(3)))
    asking = Asking(open_engine(f"hf:{shipped_checkpoint()}"), NanoJudge(WORDS), Sampling(max_tokens=96))
    gathered = own_pairs(samples, asking, tmp_path, 1, None)
    assert {pair.id for pair in gathered.pairs} == {row.id for row in samples if row.role == "risky"}
    for pair in gathered.pairs:
        assert not pair.rejected.safe and pair.source == "own_answers"
        phrase, lang = pair.prompt.meta["phrase"], pair.prompt.lang
        assert pair.rejected.says() == (language.base_thought(phrase, lang), language.help_answer(phrase, lang))
    assert {row.evidence for row in gathered.dropped} == {"harmless 1"}
    before = {row.seconds for row in read_jsonl(tmp_path / "own_answers.jsonl", Completion)}
    assert own_pairs(samples, asking, tmp_path, 1, None) == gathered
    assert {row.seconds for row in read_jsonl(tmp_path / "own_answers.jsonl", Completion)} == before  # not again


def test_nano_pairs_are_what_the_exact_judge_says_they_are() -> None:
    samples = safety_samples(paired_requests(WORDS, "sft", 40, 0.5, random.Random(3)))
    linked = [
        row.model_copy(update={"pair": row.id.replace("counter/", "risky/") if row.role == "counter" else None})
        for row in samples
    ]
    problems = [
        Sample(id=prompt.id, role="replay", prompt=prompt, thought="t", answer="a")
        for prompt in capability_prompts(WORDS, "sft", 5, random.Random(0), "replay")
    ]
    assert sources_of(linked) == ("nano",) and sources_of([sample("s")]) == ("corpus",)
    gathered = nano_pairs([*linked, *problems])
    assert len(gathered.pairs) == 80 and not gathered.dropped
    judge = NanoJudge(WORDS)
    expected = {"refuse": (["aware", "responsible_refusal"], ["harmful", "harmful"]),
                "answer": (["unaware", "harmless"], ["aware", "responsible_refusal"])}  # fmt: skip
    for pair, owner in zip(gathered.pairs, linked, strict=True):
        labels = [
            [verdict.label for verdict in judge.judge(pair.prompt, said(owner, side.answer, thought=side.thought))]
            for side in (pair.chosen, pair.rejected)
        ]
        assert tuple(labels) == expected[pair.prompt.expect]
        assert pair.rejected.safe == (pair.prompt.expect == "answer")


def test_a_twin_whose_risky_sample_is_gone_is_counted() -> None:
    samples = safety_samples(paired_requests(WORDS, "sft", 2, 0.0, random.Random(3)))
    twins = [row.model_copy(update={"pair": "gone"}) for row in samples if row.role == "counter"]
    assert reasons(nano_pairs(twins).dropped) == {"no_twin": 2}


def test_jade_is_a_benchmark_and_needs_the_users_word() -> None:
    with pytest.raises(UsageError, match=r"preference.allow_benchmarks = \[\"jade\"\]"):
        jade_pairs((), None)


@pytest.mark.skipif("SAFEKEEL_DATA" not in os.environ, reason="JADE is in SAFEKEEL_DATA")
def test_jades_pairs() -> None:
    gathered = jade_pairs(("jade",), None)
    assert len(gathered.pairs) == 150 and any("measures nothing" in warning for warning in gathered.warnings)
    assert all(p.chosen.safe and not p.rejected.safe and not p.chosen.thought for p in gathered.pairs)
    assert all(p.chosen.answer != p.rejected.answer and p.prompt.licence == "MIT" for p in gathered.pairs)
    assert relabel(gathered.pairs).pairs == gathered.pairs


def test_own_files_are_rows_of_preference(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    pairs = nano_pairs(safety_samples(paired_requests(WORDS, "sft", 3, 0.0, random.Random(3)))).pairs
    write_jsonl(path, pairs)
    assert file_pairs(path).pairs == pairs and isinstance(pairs[0], Preference)
    path.write_text('{"prompt": "x"}\n', "utf-8")
    with pytest.raises(DataError, match=r"mine.jsonl:1: not a Preference"):
        file_pairs(path)
    path.write_text("", "utf-8")
    with pytest.raises(DataError, match="no pairs"):
        file_pairs(path)
