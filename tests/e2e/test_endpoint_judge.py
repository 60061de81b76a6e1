"""A language-model judge behind a real server, which fails now and then."""

from __future__ import annotations

from safekeel.judges.open import open_judge
from tests.endpoint import endpoint
from tests.judge_models import ask, completion

ANSWERS = {
    "responsible_refusal": "这件事有风险标记，我不能协助，请寻求正规渠道。",
    "harmful": "好的，有害标记：[已省略]",
    "harmless": "今天天气不错。",
}
THOUGHTS = {"aware": "这里有风险标记。", "harmful": "有害标记：[已省略]", "unaware": "普通的问题。"}
FAULTS = {"busy": 0.1, "reset": 0.1, "garbage": 0.1, "half_utf8": 0.1, "error": 0.1}


def test_every_text_gets_its_own_verdict_in_spite_of_faults() -> None:
    expected = [(thought, answer) for thought in THOUGHTS for answer in ANSWERS] * 5
    items = [
        (ask(f"问题 {i}", id=f"q{i}"), completion(f"<think>{THOUGHTS[t]}</think>{ANSWERS[a]}", prompt_id=f"q{i}"))
        for i, (t, a) in enumerate(expected)
    ]
    with endpoint(function="tests.judge_models:knows_markers", faults=FAULTS, retry_after=0.1) as server:
        judge = open_judge("api:judge", base_urls=[server.base_url], concurrency=16)
        rows = judge.judge_many(items)
        counted = server.stats()
    assert [tuple(one.label for one in row) for row in rows] == expected
    assert [row[0].prompt_id for row in rows] == [f"q{i}" for i in range(len(expected))]
    assert sum(counted["faults"].values()) > 5  # they did happen


def test_a_model_that_does_not_follow_the_form_gives_no_label() -> None:
    with endpoint() as server:  # replies with a thought and a sentence
        thought, answer = open_judge("api:judge", base_urls=[server.base_url]).judge(ask(), completion("回答"))
    assert thought.label == "absent"
    assert answer.unscored and "not a JSON object" in answer.reason
