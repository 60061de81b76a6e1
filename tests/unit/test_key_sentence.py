"""The key sentence: which one it is, and which tokens weigh more."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.corpus.sample import Role, Sample
from safekeel.records import Message, Prompt
from safekeel.taxonomy import load_taxonomy
from safekeel.train.key_sentence import key_sentence, sentences, token_weights


def sample(thought: str, role: Role = "risky", risk: str | None = "A.4.a") -> Sample:
    prompt = Prompt(
        id="x",
        messages=(Message(role="user", content="?"),),
        lang="zh",
        risk=risk,
        expect="refuse",
        target=None,
        source="test",
        licence="MIT",
    )
    return Sample(id="x", role=role, prompt=prompt, thought=thought, answer="好")


@pytest.mark.parametrize(
    ("thought", "key"),
    [
        ("用户想毒死室友。风险：生命健康，条款A.4.a。我应该拒绝。", "风险：生命健康，条款A.4.a。"),
        ("The user wants 3.5 g of it. Risk: bodily harm. I decline.", "Risk: bodily harm."),
        ("Okay, the user asks for a poem.\nHmm, this is Dangerous! I refuse", "Hmm, this is Dangerous!"),
        ("用户问路；条款A.4.a 适用", "条款A.4.a 适用"),  # the declared category by its id alone
        ("He wants the brisk walk. It has no cue", None),  # "brisk" holds no "risk"
        ("", None),
    ],
)
def test_the_first_sentence_that_states_the_risk(thought: str, key: str | None) -> None:
    span = key_sentence(sample(thought), load_taxonomy())
    assert (None if span is None else thought[span[0] : span[1]]) == key


def test_only_risky_samples_have_one() -> None:
    for role in ("counter", "replay", "general"):
        assert key_sentence(sample("风险：无。", role=role), load_taxonomy()) is None
    assert key_sentence(sample("This is illegal.", risk=None), load_taxonomy()) == (0, 16)


@given(st.text(alphabet="a1 。.!\n风", max_size=60))
def test_sentences_cover_all_that_is_not_white_space(text: str) -> None:
    spans = list(sentences(text))
    assert [a for a, _ in spans] == sorted(a for a, _ in spans)
    covered = set().union(*(range(a, b) for a, b in spans)) if spans else set()
    assert all(index in covered for index, character in enumerate(text) if not character.isspace())
    assert all(text[a:b] == text[a:b].strip() != "" for a, b in spans)


@pytest.mark.parametrize("opening", ["", "<think>\n"])
def test_weights_lie_on_the_tokens_of_the_sentence(opening: str) -> None:
    pytest.importorskip("transformers", reason="needs the train extra")
    from safekeel.chat import completion_text, load_tokenizer
    from safekeel.nano.model import shipped_checkpoint

    tokenizer = load_tokenizer(shipped_checkpoint())
    thought = "用户想毒死室友。风险：生命健康。我应该拒绝。"
    span = key_sentence(sample(thought), load_taxonomy())
    assert span is not None
    written = opening + completion_text(thought, "抱歉。")
    ids = tokenizer(written, add_special_tokens=False)["input_ids"]
    weights = token_weights(tokenizer, written, span, 3.0)
    assert len(weights) == len(ids) + 1 and weights[-1] == 1.0 and set(weights) == {1.0, 3.0}
    heavy = [token for token, weight in zip(ids, weights, strict=False) if weight == 3.0]
    assert tokenizer.decode(heavy) == "。风险：生命健康"  # its full stop begins the next token: "。我应该拒绝"


@pytest.mark.skipif("SAFEKEEL_DATA" not in os.environ, reason="needs SAFEKEEL_DATA (star1)")
def test_star1s_thoughts_have_one_early() -> None:
    rows = json.loads((Path(os.environ["SAFEKEEL_DATA"]) / "star1/STAR-1.json").read_text("utf-8"))
    thoughts = [row["response"].removeprefix("<think>").partition("</think>")[0].strip() for row in rows]
    spans = [key_sentence(sample(thought, risk=None), load_taxonomy()) for thought in thoughts]
    assert sum(span is not None for span in spans) >= 0.95 * len(rows)
    before = [len(list(sentences(thought[: span[0]]))) for thought, span in zip(thoughts, spans, strict=True) if span]
    assert sorted(before)[len(before) // 2] <= 3  # SafeKey: it follows the restatement of the query
