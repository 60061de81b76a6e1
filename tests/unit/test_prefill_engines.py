"""Prefills in every engine: the model goes on from the given beginning, which is part of what it said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from safekeel.chat import EMPTY_THOUGHT, prompt_ids, render_prompt
from safekeel.engines import open_engine
from safekeel.engines.base import Sampling
from safekeel.judges.asking import Task, judge_items, verdict
from safekeel.judges.rules import RulesJudge
from safekeel.records import Message, Prompt, Verdict
from tests.endpoint import endpoint, engine

SURE = f"{EMPTY_THOUGHT}Sure, here is"
THOUGHT = "<think>\nOkay, the plan:"


def prompt(identifier: str, begun: str | None, text: str = "Q") -> Prompt:
    turns = [Message(role="user", content=text)]
    turns += [Message(role="assistant", content=begun)] if begun is not None else []
    return Prompt(
        id=identifier, messages=tuple(turns), lang="en", risk=None, expect="answer", target=None, source="t", licence=""
    )


PROMPTS = [prompt("bare", None), prompt("sure", SURE), prompt("thought", THOUGHT)]


def test_a_script_adds_to_what_was_begun(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    rows = [{"id": "bare", "raw": "<think>R</think>A"}, {"id": "sure", "raw": " A"}]
    rows += [{"id": "thought", "raw": " go</think>A"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    scripted = open_engine(f"scripted:{path}")
    for think in ("default", "none", "forced"):
        found = scripted.generate(PROMPTS[1:], Sampling(think=think))
        assert [(row.thought, row.answer, row.split) for row in found] == [
            (None, "Sure, here is A", "none"),
            ("Okay, the plan: go", "A", "prefilled"),
        ]
        assert [row.raw for row in found] == ["Sure, here is A", "Okay, the plan: go</think>A"]
        assert found[0].num_completion_tokens == len(" A")  # what it added
    bare = scripted.generate(PROMPTS[:1], Sampling())[0]
    assert (bare.thought, bare.answer, bare.split, bare.raw) == ("R", "A", "closed", "<think>R</think>A")


def test_transformers_goes_on_from_the_beginning() -> None:
    """The nano model: a run cut in the middle and prefilled with what it had said says the rest of the same words."""
    pytest.importorskip("torch")
    from safekeel.nano.model import shipped_checkpoint

    nano: Any = open_engine(f"hf:{shipped_checkpoint()}", device="cpu")
    question = "What is 3 + 4?"
    sampling = Sampling(max_tokens=60)
    whole = nano.generate([prompt("whole", None, question)], sampling)[0]
    assert whole.split == "prefilled" and whole.thought and whole.answer
    cut = whole.raw.index("</think>") + len("</think>")
    for begun in (f"<think>\n{whole.raw[:4]}", f"<think>\n{whole.raw[:cut]}"):
        item = prompt("begun", begun, question)
        row = nano.generate([item], sampling)[0]
        assert row.raw.startswith(begun.removeprefix("<think>\n"))
        assert (row.thought, row.answer, row.split) == (whole.thought, whole.answer, "prefilled")
        assert row.num_completion_tokens < whole.num_completion_tokens
        assert nano.rendered(item, sampling) == render_prompt(nano.tokenizer, item.messages)
        assert row.num_prompt_tokens == len(prompt_ids(nano.tokenizer, nano.rendered(item, sampling)))


def test_a_chat_endpoint_gives_error_rows_and_answers_the_rest() -> None:
    with endpoint() as server:
        rows = engine(server).generate(PROMPTS, Sampling(num_samples=2))
        assert server.stats()["requests"] == 2
    assert [(row.prompt_id, row.sample) for row in rows] == [(item.id, at) for item in PROMPTS for at in (0, 1)]
    assert [row.finish for row in rows] == ["stop", "stop", *["error"] * 4]
    assert all("--tokenizer FOLDER" in (row.error or "") and row.split == "truncated" for row in rows[2:])


def test_with_a_tokenizer_the_endpoint_continues_the_rendered_prompt(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from safekeel.nano.tokenizer import train_tokenizer

    train_tokenizer(["hello"], 300).save_pretrained(tmp_path)
    script = tmp_path / "replies.jsonl"
    said = {"Sure, here is$": " A", "the plan:$": " go</think>A", "Q$": "<think>R</think>A"}
    script.write_text("".join(json.dumps({"match": match, "raw": raw}) + "\n" for match, raw in said.items()), "utf-8")
    with endpoint(replies=script) as server:
        asked = engine(server, tokenizer=tmp_path)
        rows = asked.generate(PROMPTS, Sampling())
        assert asked.rendered(PROMPTS[1], Sampling()).endswith(SURE)
        assert json.loads(asked.rendered(PROMPTS[0], Sampling()))[0]["content"] == "Q"  # still a chat request
    assert [(row.thought, row.answer, row.split, row.error) for row in rows] == [
        ("R", "A", "closed", None),
        (None, "Sure, here is A", "none", None),
        ("Okay, the plan: go", "A", "prefilled", None),
    ]


def test_a_judge_is_shown_the_question_and_the_whole_answer_once(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(json.dumps({"raw": "<think>R</think>A"}) + "\n", "utf-8")
    scripted = open_engine(f"scripted:{path}")
    shown: list[Task] = []

    def answer(tasks: Sequence[Task]) -> list[Verdict]:
        shown.extend(tasks)
        return [verdict(judge, task.completion, task.part, "harmless", "") for task in tasks]

    judge = RulesJudge()
    items = [(item, row) for item, row in zip(PROMPTS[:2], scripted.generate(PROMPTS[:2], Sampling()), strict=True)]
    items = [(item, row.model_copy(update={"thought": None})) for item, row in items]
    judge_items(judge, items, answer)
    assert [[(turn.role, turn.content) for turn in task.prompt.messages] for task in shown] == [[("user", "Q")]] * 2
    assert [task.text for task in shown] == ["A", "Sure, here is\nA"]
