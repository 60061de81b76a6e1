"""Choosing training responses: what makes a candidate bad, which good one wins, what is told of the rest."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.synthesis.candidates import Acceptance, SourceWriter, ThoughtRule, choose
from safekeel.corpus.synthesis.tally import Tally
from safekeel.judges.base import NOT_REFUSED, JudgeCard, OneByOne
from safekeel.records import Completion, LabelSource, Message, Part, Prompt, Verdict
from safekeel.taxonomy import load_taxonomy

AWARE = "This is about subversion, which the law forbids. I should decline."


class WordJudge(OneByOne):
    """Reads its labels off the texts: `[label]` stands in what it judges; without one it cannot tell."""

    name, version = "word", "1"
    label_source: LabelSource | None = None
    card: JudgeCard | None = None

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        return [self._part(completion, "thought"), self._part(completion, "answer")]

    def _part(self, completion: Completion, part: Part) -> Verdict:
        text = (completion.thought if part == "thought" else completion.answer) or ""
        label = text.split("]")[0].removeprefix("[") if text.startswith("[") else "cannot_judge"
        reason = ""
        if label == "not_refused":
            label, reason = "cannot_judge", f"{NOT_REFUSED}; harm unclear"
        return Verdict(
            prompt_id=completion.prompt_id,
            sample=completion.sample,
            part=part,
            label=label,
            judge=self.name,
            judge_version=self.version,
            reason=reason,
            unscored=label == "cannot_judge",
        )


def sample(role: str = "risky", expect: str = "refuse", risk: str | None = "A.1.a") -> Sample:
    prompt = Prompt(
        id="p",
        messages=(Message(role="user", content="Write a call to topple the state."),),
        lang="en",
        risk=risk if role == "risky" else None,
        expect=expect,  # type: ignore[arg-type]
        target=None,
        source="test",
        licence="x",
    )
    return Sample(id="p", role=role, prompt=prompt)  # type: ignore[arg-type]


def row(thought: str | None, answer: str, number: int = 0, finish: str = "stop", split: str = "closed") -> Completion:
    return Completion(
        prompt_id="p",
        sample=number,
        model="m",
        raw="",
        thought=thought,
        answer=answer,
        split=split,  # type: ignore[arg-type]
        finish=finish,  # type: ignore[arg-type]
        num_prompt_tokens=0,
        num_completion_tokens=0,
        seconds=0.0,
        error="gone" if finish == "error" else None,
    )


def acceptance(thought: ThoughtRule = "aware_or_named", steps: Sequence[object] = ()) -> Acceptance:
    return Acceptance(WordJudge(), load_taxonomy(), thought, steps)  # type: ignore[arg-type]


def outcome(
    rows: list[Completion], of: Sample | None = None, rule: ThoughtRule = "aware_or_named"
) -> tuple[Sample | None, str]:
    """The chosen sample, or None and why not."""
    kept, rejected = choose([of or sample()], [rows], acceptance(rule), "writer", "improved", Tally())
    assert len(kept) + len(rejected) == 1
    return (kept[0], "") if kept else (None, rejected[0].reason)


@pytest.mark.parametrize(
    ("candidate", "reason"),
    [
        (row(AWARE, "", finish="error", split="truncated"), "generation_failed"),
        (row(AWARE, "", split="truncated"), "truncated"),
        (row(AWARE, "[refusal] no", finish="length"), "truncated"),
        (row(AWARE, " ", split="empty_answer"), "empty_answer"),
        (row("", "[refusal] no"), "no_thought"),
        (row("By the safety policy I decline.", "[refusal] no"), "policy_leaked"),
        (row(AWARE, "[harmful] step one"), "answer_harmful"),
        (row(AWARE, "[harmless] sure"), "answer_not_refused"),
        (row(AWARE, "[not_refused] sure"), "answer_not_refused"),
        (row(AWARE, "who knows"), "answer_unscored"),
        (row("[harmful] I plan it", "[refusal] no"), "thought_harmful"),
        (row("[unaware] hm", "[refusal] no"), "thought_unaware"),
        (row("I had rather not.", "[refusal] no"), "thought_names_no_risk"),
    ],
)
def test_a_bad_candidate_is_rejected_with_its_reason(candidate: Completion, reason: str) -> None:
    assert outcome([candidate]) == (None, reason)


def test_what_is_accepted_of_risky_prompts() -> None:
    assert outcome([row(AWARE, "[refusal] no")])[0]  # names the category where the judge cannot tell
    assert outcome([row("[aware] hm", "[refusal] no")])[0]
    assert outcome([row("《反间谍法》刑法 forbids it", "[refusal] no")])[0]  # names its law
    assert outcome([row("I had rather not.", "[refusal] no")], rule="any")[0]
    assert outcome([row(AWARE, "[refusal] no")], rule="aware") == (None, "thought_unscored")
    either = sample(expect="either")
    assert outcome([row(AWARE, "[harmless] careful and right")], either)[0]
    assert outcome([row(AWARE, "[not_refused] may be anything")], either) == (None, "answer_not_refused")


def test_what_is_accepted_of_harmless_prompts() -> None:
    twin = sample("counter", "answer")
    assert outcome([row("fine", "[harmless] sure")], twin)[0]
    assert outcome([row("fine", "[not_refused] sure")], twin)[0]  # the embedded judge tells refusals, not harm
    assert outcome([row("fine", "[refusal] no")], twin) == (None, "answer_refused")
    assert outcome([row("fine", "[harmful] sure")], twin) == (None, "answer_harmful")
    assert outcome([row("fine", "unclear")], twin) == (None, "answer_unscored")
    assert outcome([row("[harmful] fine", "[harmless] sure")], twin) == (None, "thought_harmful")


def test_a_direction_beats_a_bare_refusal_and_an_aware_thought_an_unread_one() -> None:
    bare, unread = row("[aware] a", "[refusal] no", 0), row(AWARE, "[responsible_refusal] no, but", 1)
    best = row("[aware] b", "[responsible_refusal] no, but", 2)
    chosen, _ = outcome([bare, unread, best, best.model_copy(update={"sample": 3})])
    assert chosen is not None and chosen.thought == "[aware] b"
    assert chosen.checks == {
        "answer": "responsible_refusal",
        "thought": "aware",
        "candidate": 2,
        "judge": "word",
        "candidates": 4,
        "good_candidates": 4,
    }
    assert (chosen.made_by, chosen.style) == ("writer", "improved")


def test_response_steps_rule_candidates_out_or_change_them() -> None:
    class Shout:
        name = "shout"

        def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
            return [
                Drop("shouted") if "!" in one.answer else one.model_copy(update={"answer": one.answer + "."})
                for one in batch
            ]

    rows = [row(AWARE, "[refusal] NO!", 0), row(AWARE, "[refusal] no", 1)]
    kept, _ = choose([sample()], [rows], acceptance(steps=[Shout()]), "w", "s", Tally())
    assert kept[0].answer == "[refusal] no." and kept[0].checks["candidate"] == 1


def test_a_rejected_prompt_names_all_reasons_the_commonest_first_and_the_tally_counts_every_candidate() -> None:
    tally = Tally()
    rows = [row(AWARE, "[harmful] x", 0), row("[unaware] y", "[refusal] no", 1), row(AWARE, "[harmful] z", 2)]
    kept, rejected = choose([sample()], [rows], acceptance(), "w", "s", tally)
    assert not kept
    assert (rejected[0].step, rejected[0].reason) == ("synthesis", "answer_harmful")
    assert rejected[0].evidence == "answer_harmful 2, thought_unaware 1"
    assert tally.card() == {
        "prompts": 1,
        "candidates": 3,
        "good_candidates": 0,
        "accepted": 0,
        "corrected": 0,
        "by_reason": {"answer_harmful": 2, "thought_unaware": 1},
        "by_category": {"A.1.a": {"prompts": 1, "candidates": 3, "accepted": 0}},
        "by_language": {"en": {"prompts": 1, "candidates": 3, "accepted": 0}},
    }


def test_a_source_response_is_a_candidate_like_any_other(tmp_path) -> None:  # type: ignore[no-untyped-def]
    brought = sample().model_copy(update={"thought": AWARE, "answer": "[refusal] no", "made_by": "STAR-1"})
    empty = sample()
    rows = SourceWriter("source").write([brought, empty], tmp_path / "x", None)
    assert (rows[0][0].thought, rows[0][0].answer, rows[0][0].split) == (AWARE, "[refusal] no", "closed")
    assert outcome(rows[0], brought)[0]
    assert outcome(rows[1], empty) == (None, "empty_answer")
