"""A judge with known errors gives exactly the card computed by hand; what it cannot judge is never a side."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safekeel.commands.judge import app
from safekeel.files import sha256_file
from safekeel.judges.base import JudgeCard, OneByOne, packaged_card, read_card, unjudgeable, unscored
from safekeel.judges.calibrate import calibrate
from safekeel.judges.card_table import card_text
from safekeel.judges.label_sources import Labelled, LabelledSet, answers_of, zh_judge_file
from safekeel.judges.linear import LinearJudge
from safekeel.judges.linear_card import OutOfFold
from safekeel.judges.linear_features import DEFAULT
from safekeel.judges.linear_fit import CrossFit
from safekeel.judges.linear_folds import same_prompt
from safekeel.judges.linear_model import LinearModel
from safekeel.judges.rules import RulesJudge
from safekeel.records import Completion, LabelSource, Message, Part, Prompt, Verdict


class Parrot(OneByOne):
    """Says the label that stands in the answer (and in the thought); anything else it cannot judge."""

    name, version = "parrot", "1"
    label_source: LabelSource | None = None
    card: JudgeCard | None = None

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        return [
            self._one(completion, part, text)
            for part, text in (("thought", completion.thought or "absent"), ("answer", completion.answer))
        ]

    def _one(self, completion: Completion, part: Part, text: str) -> Verdict:
        if text == "?" or unjudgeable(completion):
            return unscored(self, completion, part, "unreadable")
        place = {"prompt_id": completion.prompt_id, "sample": completion.sample}
        return Verdict(**place, part=part, label=text, judge=self.name, judge_version=self.version)


def labelled(rows: Sequence[tuple[str, str]], part: Part = "answer") -> LabelledSet:
    """(true label, what the judge will say) per row."""
    items = []
    for number, (true, given) in enumerate(rows):
        prompt = Prompt(
            id=f"t/{number}",
            messages=(Message(role="user", content="q"),),
            lang="zh",
            risk=None,
            expect="either",
            target=None,
            source="t",
            licence="t",
        )
        completion = Completion(
            prompt_id=prompt.id,
            model="m",
            raw=given,
            thought=given if part == "thought" else None,
            answer=given if part == "answer" else "harmless",
            split="closed" if part == "thought" else "none",
            finish="stop",
            num_prompt_tokens=0,
            num_completion_tokens=0,
            seconds=0,
        )
        items.append(Labelled(prompt, completion, answers_of(part, true)))
    return LabelledSet("t", "zh", "model", items)


ROWS = (
    [("harmful", "harmful")] * 8
    + [("harmful", "harmless")] * 2
    + [("refusal", "responsible_refusal")] * 3
    + [("refusal", "refusal")] * 6
    + [("harmless", "harmful")]
    + [("harmless", "?")] * 4
)


def test_a_card_computed_by_hand() -> None:
    card = calibrate(Parrot(), [labelled(ROWS)])
    harmful = card.find("zh", "answer", "harmful")
    assert harmful is not None and harmful.num_items == 24 and harmful.num_unscored == 4
    assert harmful.confusion == {"no": {"cannot_judge": 4, "no": 9, "yes": 1}, "yes": {"no": 2, "yes": 8}}
    assert harmful.accuracy == 17 / 24 and harmful.accuracy_when_scored == 17 / 20
    assert harmful.error is not None and (harmful.error.sensitivity, harmful.error.specificity) == (0.8, 0.9)
    refused, label = card.find("zh", "answer", "refused"), card.find("zh", "answer", "label")
    assert refused is not None and refused.accuracy_when_scored == 1.0
    assert label is not None and label.num_agreed == 14
    assert label.confusion["refusal"] == {"refusal": 6, "responsible_refusal": 3}
    assert card.find("zh", "thought", "aware") is None  # no reference label for the thought
    assert card.made["sources"]["t"]["label_source"] == "model"
    assert JudgeCard.model_validate_json(card.model_dump_json()) == card
    text = card_text(card)
    assert "0.800 [0.44-0.97]" in text and "not agreement with people" in text


def test_thoughts_are_their_own_part() -> None:
    card = calibrate(Parrot(), [labelled([("aware", "aware"), ("unaware", "aware"), ("harmful", "?")], "thought")])
    aware = card.find("zh", "thought", "aware")
    assert aware is not None and aware.confusion == {"no": {"cannot_judge": 1, "yes": 1}, "yes": {"yes": 1}}
    assert {row.part for row in card.agreement} == {"thought"}


def test_out_of_fold_verdicts_replace_the_judges_own() -> None:
    source = labelled([("harmful", "harmless"), ("harmless", "harmful")])
    own = Parrot().judge_many([(item.prompt, item.completion) for item in source.items])
    swapped = calibrate(Parrot(), [source], judge_set=lambda _: own[::-1], notes=["out of fold"])
    found = swapped.find("zh", "answer", "label")
    assert found is not None and found.accuracy == 1.0 and swapped.made["notes"] == ["out of fold"]
    with pytest.raises(ValueError, match="labelled sets"):
        calibrate(Parrot(), [])


def test_linear_is_measured_by_models_that_have_not_seen_the_prompt() -> None:
    """The prompt of fold 0 is judged by that fold's model (which has no heads here), others by the shipped one."""
    shipped = LinearJudge()
    fold = LinearModel(DEFAULT, {}, {})
    source = labelled([("refusal", "抱歉，我无法帮助你。"), ("refusal", "抱歉，我无法帮助你。")])
    other = source.items[1].prompt.model_copy(update={"messages": (Message(role="user", content="别的问题"),)})
    items = [source.items[0], replace(source.items[1], prompt=other)]
    judge_set = OutOfFold(CrossFit(shipped.model, [fold], {same_prompt("q"): 0}))
    versions = [{verdict.judge_version for verdict in found} for found in judge_set(replace(source, items=items))]
    assert versions == [{fold.version}, {shipped.version}] and fold.version != shipped.version


def test_the_rules_ship_with_the_card_of_their_version() -> None:
    """After a change of the cues: safekeel judge calibrate --judge rules --out src/safekeel/judges/cards/rules.json"""
    rules = RulesJudge()
    card = packaged_card("rules", rules.version)
    assert card is not None and rules.card == card
    assert {row.dataset for row in card.agreement} == {"xstest", "do-not-answer", "jade", "zh-judge"}
    assert {row.dataset for row in card.agreement if row.label_source == "model"} == {"zh-judge"}
    [bank] = [source["files"] for name, source in card.made["sources"].items() if name == "zh-judge"]
    assert bank == {"zh_judge.jsonl": sha256_file(zh_judge_file())}


def test_the_command_measures_the_rules_and_writes_a_card(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "card.json"
    arguments = ["calibrate", "--judge", "rules", "--source", "zh-judge", "--out", str(out)]
    text = CliRunner().invoke(app, arguments, catch_exceptions=False).output
    assert "zh-judge" in text and "answer length" in text and "xstest" not in text
    card = read_card(out)
    assert card.judge == "rules" and card.agreement[0].label_source == "model"
    assert len(card.made["sources"]["zh-judge"]["files"]["zh_judge.jsonl"]) == 64
    shown = CliRunner().invoke(app, ["show", str(out), "--json"], catch_exceptions=False).output
    assert {row["question"] for row in json.loads(shown)["agreement"]} == {"label", "refused", "harmful", "aware"}
