"""Base models without a chat template are asked in a plain dialogue, only when that is wanted."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from safekeel.chat import NEXT_TURN, give_plain_template, load_tokenizer, render_prompt
from safekeel.engines.base import Sampling
from safekeel.engines.hf import HfEngine
from safekeel.engines.local import Job, completion_row
from safekeel.errors import DataError
from safekeel.records import Message, Prompt

NANO = Path(__file__).parents[2] / "src/safekeel/nano/checkpoint"
PROMPT = Prompt(id="q", messages=(Message(role="user", content="3+4=?"),), lang="en", risk=None, expect="solve",
                target="7", source="t", licence="CC0")  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint whose tokenizer has no chat template."""
    folder = tmp_path_factory.mktemp("base") / "model"
    shutil.copytree(NANO, folder)
    (folder / "chat_template.jinja").unlink()
    return folder


@pytest.fixture(scope="module")
def tokenizer(base: Path) -> Any:
    return load_tokenizer(base)


def test_without_being_asked_for_a_base_model_is_refused(base: Path) -> None:
    with pytest.raises(DataError, match="no chat template"):
        HfEngine(base).generate([PROMPT], Sampling(max_tokens=2))


def test_the_dialogue_as_text(tokenizer: Any) -> None:
    assert give_plain_template(tokenizer)
    turns = (Message(role="user", content="你好"), Message(role="assistant", content="好"), PROMPT.messages[0])
    assert render_prompt(tokenizer, turns) == "User: 你好\n\nAssistant: 好\n\nUser: 3+4=?\n\nAssistant:"


def test_a_model_with_a_template_keeps_it() -> None:
    tokenizer = load_tokenizer(NANO)
    template = tokenizer.chat_template
    assert not give_plain_template(tokenizer) and tokenizer.chat_template == template


def test_a_base_model_answers_and_its_identity_holds_the_template(base: Path) -> None:
    engine = HfEngine(base, plain_template=True)
    row = engine.generate([PROMPT], Sampling(max_tokens=4))[0]
    assert row.finish in ("stop", "length") and row.error is None
    assert engine.rendered(PROMPT, Sampling()).startswith("User: 3+4=?")
    assert engine.model_id != HfEngine(NANO).model_id


def test_what_follows_the_next_turn_is_no_answer(tokenizer: Any) -> None:
    ids = tokenizer(f" 7{NEXT_TURN} and now?", add_special_tokens=False)["input_ids"]
    job = Job(0, PROMPT, 0, [1, 2], 50, False, True)
    row = completion_row(tokenizer, "m", job, ids, len(ids), "length", 0.0, NEXT_TURN)
    assert (row.answer, row.finish, row.raw) == ("7", "stop", " 7")
    assert completion_row(tokenizer, "m", job, ids, len(ids), "length", 0.0).finish == "length"
