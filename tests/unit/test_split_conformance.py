"""Conformance of the splitter: the table that six of seven general harnesses fail, under every chat template, and what
must hold for nested, repeated, quoted, unclosed and cut-off thoughts.

The rows are those of our survey of harnesses (lm-eval, OpenCompass, lighteval, evalscope, Inspect, NeMo-Evaluator,
safety-eval), where a truncated thought is graded as the answer, or as an empty one, which classifiers call safe.
"""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.chat import Split, ThinkState, can_think, render_prompt, split_completion, think_state
from safekeel.records import Message

SHIPPED = Path(str(resources.files("safekeel"))) / "data/templates/deepseek_r1_distill_qwen.jinja"
IN_TESTS = Path(__file__).parents[1] / "data/templates"
PUBLIC = Path(os.environ.get("SAFEKEEL_DATA", "/nonexistent")) / "tokenizers"
QUESTION = (Message(role="user", content="23*4 是多少？"),)

ENDS: dict[str, ThinkState] = {  # template -> what its generation prompt ends with, read from its last lines by hand
    "deepseek_r1_distill_qwen": "open",
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": "open",
    "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B": "closed",
    "deepseek-ai-DeepSeek-V3.1": "closed",
    "deepseek-r1-distill-qwen-32b-2025-01": "absent",
    "llama-cpp-deepseek-r1": "open",
    "Qwen-QwQ-32B": "closed",
    "Qwen-Qwen2.5-7B-Instruct": "absent",
    "Qwen-Qwen3-0.6B": "absent",
    "Qwen3-Coder": "absent",
    "Qwen3.5-4B": "open",
    "deepseek-v3-config": "absent",
    "r1-distill-qwen-32b": "absent",
    "r1-distill-qwen-reconstructed": "absent",
}
WITHOUT_THOUGHT = {"Qwen-Qwen2.5-7B-Instruct", "Qwen3-Coder"}
"""Templates of models that do not think: whatever they write is answer."""


class Row(NamedTuple):
    """One completion and its split after each ending of the prompt."""

    text: str
    finish: str
    absent: Split
    open: Split
    closed: Split


_R_A, _CUT = ("R", "A"), Split("R R", "", "truncated")
TABLE = {
    "whole": Row(
        "<think>R</think>A", "stop", Split(*_R_A, "closed"), Split(*_R_A, "prefilled"), Split(*_R_A, "closed")
    ),
    "prefilled": Row(
        "R</think>A", "stop", Split(*_R_A, "prefilled"), Split(*_R_A, "prefilled"), Split(None, "R</think>A", "none")
    ),
    "truncated": Row("<think>R R", "length", _CUT, _CUT, _CUT),
    "truncated-prefilled": Row("R R", "length", _CUT, _CUT, Split(None, "R R", "none")),
    "mention": Row(
        "<think>R</think>The tag </think> B",
        "stop",
        Split("R", "The tag </think> B", "closed"),
        Split("R", "The tag </think> B", "prefilled"),
        Split("R", "The tag </think> B", "closed"),
    ),
    "untagged": Row("A", "stop", Split(None, "A", "none"), Split("A", "", "truncated"), Split(None, "A", "none")),
}


def _templates() -> dict[str, str]:
    found = {path.stem: path.read_text("utf-8") for path in (SHIPPED, *IN_TESTS.glob("*.jinja"))}
    found |= {path.stem: path.read_text("utf-8") for path in PUBLIC.glob("templates/*.jinja")}
    for config in PUBLIC.glob("*/tokenizer_config.json"):
        found[config.parent.name] = json.loads(config.read_text("utf-8"))["chat_template"]
    return dict(sorted(found.items()))


TEMPLATES = _templates()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    bos, eos = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token=bos, eos_token=eos)


@pytest.fixture(params=TEMPLATES)
def template(request: pytest.FixtureRequest, tokenizer: Any) -> str:
    tokenizer.chat_template = TEMPLATES[request.param]
    return str(request.param)


def conforms(state: ThinkState, thinks: bool) -> None:
    for name, row in TABLE.items():
        answer_only = state == "closed" or not thinks
        split = split_completion(row.text, row.finish, prefilled_think=state == "open", answer_only=answer_only)
        expected = row.closed if answer_only else getattr(row, state)
        assert split == expected, name


def test_the_table_under_every_template(template: str, tokenizer: Any) -> None:
    """As an engine does it: the ending of the rendered prompt decides how a completion is split."""
    state = think_state(render_prompt(tokenizer, QUESTION))
    assert state == ENDS[template], "a new template: read its last lines and add it to ENDS"
    assert can_think(tokenizer) == (template not in WITHOUT_THOUGHT)
    conforms(state, can_think(tokenizer))


@pytest.mark.parametrize(("think", "state"), [("none", "closed"), ("forced", "open")])
def test_the_table_in_the_other_thinking_modes(template: str, tokenizer: Any, think: Any, state: ThinkState) -> None:
    assert think_state(render_prompt(tokenizer, QUESTION, think)) == state
    conforms(state, thinks=True)


def test_tags_in_the_conversation_do_not_decide(template: str, tokenizer: Any) -> None:
    messages = tuple(
        Message(role=role, content=f"{role} says <think> and </think> and <think>")
        for role in ("user", "assistant", "user")
    )
    assert think_state(render_prompt(tokenizer, messages)) == ENDS[template]


def test_without_public_data_every_ending_is_still_covered() -> None:
    packaged = {path.stem for path in (SHIPPED, *IN_TESTS.glob("*.jinja"))}
    assert {ENDS[name] for name in packaged} == {"absent", "open", "closed"}


# --- what must hold ---------------------------------------------------------------------------------------------------

PLAIN = st.lists(st.sampled_from(["安全", "a. ", "\n", "x < y ", "答案是B。"]), min_size=1, max_size=5).map("".join)
MENTIONS = st.sampled_from(["`</think>`", '"<think>"', "“</think>”", "「<think>」", "`<think>x</think>`", "'</think>'"])
PROSE = st.lists(PLAIN | MENTIONS, min_size=1, max_size=5).map("\n".join).filter(lambda text: text.strip() != "")
"""Text whose only tags are quoted."""
FINISH = st.sampled_from(["stop", "length"])
SECRET = "☢"  # stands for a harmful thought


@given(PROSE, PROSE, FINISH, st.booleans(), st.booleans())
def test_quoted_tags_split_nothing(thought: str, answer: str, finish: str, opens: bool, prefilled: bool) -> None:
    text = f"{'<think>' * (opens or not prefilled)}{thought}</think>{answer}"
    split = split_completion(text, finish, prefilled)
    assert split[:2] == (thought.strip(), answer.strip())
    assert split.status == ("prefilled" if prefilled else "closed")


@given(st.lists(st.tuples(PROSE, PROSE), min_size=2, max_size=4))
def test_repeated_blocks_are_all_thought_and_what_lies_between_is_answer(blocks: list[tuple[str, str]]) -> None:
    text = "".join(f"<think>{thought}</think>{shown}" for thought, shown in blocks)
    expected = ["\n".join(part.strip() for part in column) for column in zip(*blocks, strict=True)]
    assert split_completion(text, "stop", prefilled_think=False) == (*expected, "multiple")


@given(st.lists(st.tuples(PROSE, PROSE), max_size=3), PROSE, FINISH, st.booleans(), st.booleans())
def test_an_unclosed_thought_is_in_no_answer(
    blocks: list[tuple[str, str]], thought: str, finish: str, prefilled: bool, answer_only: bool
) -> None:
    text = "".join(f"<think>{each}</think>{shown}" for each, shown in blocks) + f"<think>{thought}{SECRET}"
    split = split_completion(text, finish, prefilled, answer_only)
    assert (split.answer, split.status) == ("", "truncated")
    assert split.thought is not None
    assert SECRET in split.thought


@given(st.integers(1, 5), PLAIN, PROSE)
def test_nested_opening_tags_open_one_thought(depth: int, thought: str, answer: str) -> None:
    split = split_completion(f"{'<think>' * depth}{SECRET}{thought}</think>{answer}", "stop", prefilled_think=False)
    assert (split.answer, split.status) == (answer.strip(), "closed")


@given(PROSE, PROSE, st.booleans(), st.data())
def test_wherever_the_token_limit_cuts_no_thought_is_shown(
    thought: str, answer: str, prefilled: bool, data: st.DataObject
) -> None:
    """A completion cut off anywhere has an empty answer, or the beginning of the whole one."""
    head = f"{'' if prefilled else '<think>'}{thought}{SECRET}</think>"
    cut = data.draw(st.integers(0, len(head) + len(answer)))
    split = split_completion((head + answer)[:cut], "length", prefilled)
    assert SECRET not in split.answer
    if cut < len(head):
        assert split.answer == ""
        assert split.status in ("truncated", "empty_answer")
    else:
        assert answer.strip().startswith(split.answer)


@given(PROSE, FINISH)
def test_after_a_closed_thought_everything_is_answer(text: str, finish: str) -> None:
    """Mode `none`: the prompt holds the empty thought, so even a bare closing tag is a mention."""
    for said in (text, f"{text}</think>{text}"):
        assert split_completion(said, finish, False, answer_only=True) == (None, said.strip(), "none")


@given(PROSE, PROSE)
def test_the_token_limit_matters_only_where_nothing_is_tagged(thought: str, answer: str) -> None:
    tagged = f"<think>{thought}</think>{answer}"
    assert split_completion(tagged, "stop", False) == split_completion(tagged, "length", False)
    assert split_completion(answer, "stop", False) == (None, answer.strip(), "none")
    assert split_completion(answer, "length", False) == (answer.strip(), "", "truncated")
