"""Prefills: a conversation that ends with the assistant is continued, under every template, with the split of thought
and answer that follows from it."""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.chat import (
    EMPTY_THOUGHT,
    Split,
    completion_text,
    continued,
    generation_prompt,
    prefill,
    render_prompt,
    split_completion,
    thinking_prompt,
)
from safekeel.errors import DataError
from safekeel.records import Message

PUBLIC = Path(os.environ.get("SAFEKEEL_DATA", "/nonexistent")) / "tokenizers"
SHIPPED = Path(str(resources.files("safekeel"))) / "data/templates/deepseek_r1_distill_qwen.jinja"
QUESTION = (Message(role="user", content="Q"),)
THOUGHT, SURE, BOTH = "<think>\nOkay, the plan:", f"{EMPTY_THOUGHT}Sure, here is", "<think>\nplan\n</think>\n\nSure,"
R1 = "<｜begin▁of▁sentence｜><｜User｜>Q<｜Assistant｜>"
CHATML = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"

GOLDEN: dict[str, dict[str, str]] = {  # template -> prefill -> the whole prompt
    "deepseek_r1_distill_qwen": {
        "plain": R1 + "<think>\nplain",
        THOUGHT: R1 + "<think>\nOkay, the plan:",
        EMPTY_THOUGHT: R1 + "<think>\n\n</think>\n\n",
        SURE: R1 + "<think>\n\n</think>\n\nSure, here is",
        BOTH: R1 + "<think>\nplan\n</think>\n\nSure,",
    },
    "deepseek-ai-DeepSeek-R1-Distill-Llama-8B": {
        "plain": R1 + "<think>\nplain",
        THOUGHT: R1 + "<think>\nOkay, the plan:",
        EMPTY_THOUGHT: R1 + "<think>\n\n</think>\n\n",
        SURE: R1 + "<think>\n\n</think>\n\nSure, here is",
        BOTH: R1 + "<think>\nplan\n</think>\n\nSure,",
    },
    "deepseek-ai-DeepSeek-V3.1": {  # closes the thought itself, in a form of its own
        "plain": R1 + "<think></think>plain",
        THOUGHT: R1 + "<think>\nOkay, the plan:",
        EMPTY_THOUGHT: R1 + "<think></think>",
        SURE: R1 + "<think></think>Sure, here is",
        BOTH: R1 + "<think>\nplan\n</think>\n\nSure,",
    },
    "r1-distill-qwen-32b": {  # of January 2025: opens nothing
        "plain": R1 + "plain",
        THOUGHT: R1 + "<think>\nOkay, the plan:",
        EMPTY_THOUGHT: R1 + "<think>\n\n</think>\n\n",
        SURE: R1 + "<think>\n\n</think>\n\nSure, here is",
        BOTH: R1 + "<think>\nplan\n</think>\n\nSure,",
    },
    "Qwen-Qwen3-0.6B": {
        "plain": CHATML + "plain",
        THOUGHT: CHATML + "<think>\nOkay, the plan:",
        EMPTY_THOUGHT: CHATML + "<think>\n\n</think>\n\n",
        SURE: CHATML + "<think>\n\n</think>\n\nSure, here is",
        BOTH: CHATML + "<think>\nplan\n</think>\n\nSure,",
    },
}


def _template(name: str) -> str:
    if name == SHIPPED.stem:
        return SHIPPED.read_text("utf-8")
    if not PUBLIC.is_dir():
        pytest.skip("SAFEKEEL_DATA names no folder with tokenizers")
    if (config := PUBLIC / name / "tokenizer_config.json").is_file():
        return str(json.loads(config.read_text("utf-8"))["chat_template"])
    return (PUBLIC / "templates" / f"{name}.jinja").read_text("utf-8")


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    transformers = pytest.importorskip("transformers")
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    bos, eos = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
    return transformers.PreTrainedTokenizerFast(tokenizer_object=words, bos_token=bos, eos_token=eos)


def turns(content: str) -> tuple[Message, ...]:
    return (*QUESTION, Message(role="assistant", content=content))


@pytest.mark.parametrize("template", GOLDEN)
def test_golden_prompts(template: str, tokenizer: Any) -> None:
    tokenizer.chat_template = _template(template)
    for content, expected in GOLDEN[template].items():
        assert render_prompt(tokenizer, turns(content)) == expected


@pytest.mark.parametrize("template", GOLDEN)
def test_the_thought_and_the_answer_are_found_behind_every_prefill(template: str, tokenizer: Any) -> None:
    """What the model adds, and the split of the whole turn."""
    tokenizer.chat_template = _template(template)
    for content, added, finish, expected in (
        (THOUGHT, " go.\n</think>\n\nA", "stop", Split("Okay, the plan: go.", "A", "prefilled")),
        (THOUGHT, " go and", "length", Split("Okay, the plan: go and", "", "truncated")),
        (EMPTY_THOUGHT, "A", "stop", Split(None, "A", "none")),
        (EMPTY_THOUGHT, "A and", "length", Split(None, "A and", "none")),
        (EMPTY_THOUGHT, "", "stop", Split(None, "", "empty_answer")),
        (SURE, " the A", "stop", Split(None, "Sure, here is the A", "none")),
        (SURE, "<think>R</think>A", "stop", Split("R", "Sure, here is\nA", "closed")),
        (BOTH, " A", "length", Split("plan", "Sure, A", "prefilled")),
    ):
        given_prompt = generation_prompt(tokenizer, turns(content))
        assert given_prompt.text.endswith(given_prompt.said)
        state = given_prompt.state
        split = split_completion(given_prompt.said + added, finish, state == "open", answer_only=state == "closed")
        assert split == expected


def test_a_tag_of_its_own_outranks_the_thinking_mode_and_plain_text_follows_it(tokenizer: Any) -> None:
    tokenizer.chat_template = _template(SHIPPED.stem)
    for think in ("default", "none", "forced"):
        assert render_prompt(tokenizer, turns(THOUGHT), think) == f"{R1}{THOUGHT}"  # type: ignore[arg-type]
        assert render_prompt(tokenizer, turns(SURE), think) == f"{R1}{SURE}"  # type: ignore[arg-type]
    assert render_prompt(tokenizer, turns("Sure"), "none") == f"{R1}{EMPTY_THOUGHT}Sure"
    assert render_prompt(tokenizer, turns("Sure"), "forced") == f"{R1}<think>\nSure"


def test_without_a_prefill_nothing_is_said_beforehand(tokenizer: Any) -> None:
    tokenizer.chat_template = _template(SHIPPED.stem)
    assert prefill(QUESTION) is None and prefill(()) is None
    assert generation_prompt(tokenizer, QUESTION) == (f"{R1}<think>\n", "open", "")


def test_earlier_turns_are_rendered_by_the_template(tokenizer: Any) -> None:
    tokenizer.chat_template = _template(SHIPPED.stem)
    earlier = (*QUESTION, Message(role="assistant", content="<think>R</think>A"))
    whole = render_prompt(tokenizer, (*earlier, *turns(SURE)))
    assert whole == f"{R1}A<｜end▁of▁sentence｜><｜User｜>Q<｜Assistant｜>{SURE}"


def test_a_training_prompt_holds_nothing_that_is_to_be_learnt(tokenizer: Any) -> None:
    tokenizer.chat_template = _template(SHIPPED.stem)
    with pytest.raises(DataError, match="A training prompt must end with a user"):
        thinking_prompt(tokenizer, turns(SURE))


INK = st.text().map(str.strip).filter(lambda text: "think>" not in text)


@given(INK, INK, INK.filter(bool), st.sampled_from(["", "<｜Assistant｜>", "<think>\n", "<think>\n\n</think>\n\n"]))
def test_a_thought_cut_anywhere_is_the_thought_of_the_whole(first: str, rest: str, answer: str, ending: str) -> None:
    """Prefilling the beginning of a thought and generating the rest splits as if the model had written all of it."""
    whole = first + rest
    if not whole.strip() or "`" in whole or '"' in whole:
        return
    text, state, said = continued(ending, "default", f"<think>\n{first}")
    assert state == "open" and text.endswith(said)
    split = split_completion(said + completion_text(rest, answer), "stop", prefilled_think=True)
    assert split == split_completion(completion_text(whole, answer), "stop", prefilled_think=True)
