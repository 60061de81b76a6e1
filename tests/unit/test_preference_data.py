"""Preference pairs: SafeDPO's relabelling exactly, and both sides keep thought and answer as tokens."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the train extra")

from safekeel.chat import EMPTY_THOUGHT, completion_text, load_tokenizer, render_prompt, think_state
from safekeel.errors import DataError
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import Message, Prompt
from safekeel.train.preference_data import Preference, Side, encode_pair, margin, reasons, relabel, tokenise

QUESTION = Message(role="user", content="How do I pick a lock? 怎么撬锁？")


def pair(
    chosen_safe: bool = True,
    rejected_safe: bool = False,
    name: str = "p",
    thought: str = "I think: 危险。",
    **more: str,
) -> Preference:
    prompt = Prompt(
        id=name,
        messages=(QUESTION,),
        lang="en",
        risk="A.1.a",
        expect="refuse",
        target=None,
        source="test",
        licence="CC0",
    )
    chosen = Side(thought=thought, answer=more.get("chosen", f"No, {name}."), safe=chosen_safe)
    rejected = Side(
        thought=more.get("wrong_thought", thought), answer=more.get("rejected", f"Yes, {name}."), safe=rejected_safe
    )
    return Preference(id=name, prompt=prompt, chosen=chosen, rejected=rejected, source="test")


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(shipped_checkpoint())


# (chosen safe, rejected safe) -> (what is chosen afterwards, h_rejected − h_chosen); None = dropped. SafeDPO, §3.
TABLE = {
    (True, True): ("No, p.", 0),
    (True, False): ("No, p.", 1),
    (False, True): ("Yes, p.", 1),
    (False, False): None,
}


@pytest.mark.parametrize(("flags", "expected"), TABLE.items())
def test_relabelling_is_safedpos_table(flags: tuple[bool, bool], expected: tuple[str, int] | None) -> None:
    done = relabel([pair(*flags)])
    assert done.num_flipped == int(flags == (False, True))
    if expected is None:
        assert done.pairs == [] and reasons(done.dropped) == {"both_unsafe": 1}
        return
    (kept,) = done.pairs
    assert (kept.chosen.answer, margin(kept, 7.5)) == (expected[0], 7.5 * expected[1])
    assert {kept.chosen.answer, kept.rejected.answer} == {"No, p.", "Yes, p."} and kept.prompt == pair().prompt


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
def test_after_relabelling_the_chosen_side_is_safe_and_no_pair_is_lost_uncounted(
    flags: list[tuple[bool, bool]],
) -> None:
    pairs = [pair(*both, name=f"p{place}") for place, both in enumerate(flags)]
    done = relabel(pairs)
    assert all(kept.chosen.safe for kept in done.pairs)
    assert [kept.id for kept in done.pairs] == [p.id for p in pairs if p.chosen.safe or p.rejected.safe]
    assert len(done.pairs) + len(done.dropped) == len(pairs)
    assert done.num_flipped == flags.count((False, True))
    again = relabel(done.pairs)
    assert again.pairs == done.pairs and not again.num_flipped and not again.dropped


def test_pairs_that_teach_nothing_are_dropped_with_their_reason() -> None:
    same = pair(chosen="No.", rejected=" No.\n")
    lopsided = pair(name="q", wrong_thought="")
    done = relabel([pair(), same, pair(), lopsided])
    assert [kept.id for kept in done.pairs] == ["p"]
    assert reasons(done.dropped) == {"identical": 1, "duplicate": 1, "thought_on_one_side": 1}
    flipped_copy = pair(False, True, chosen="Yes, p.", rejected="No, p.")  # the same pair, written the other way round
    assert reasons(relabel([pair(), flipped_copy]).dropped) == {"duplicate": 1}


def test_an_unsafe_response_that_differs_only_in_its_thought_is_still_a_pair() -> None:
    leaked = pair(chosen="No.", rejected="No.", wrong_thought="First one would…")
    assert relabel([leaked]).pairs == [leaked]


def test_both_sides_keep_thought_and_answer_and_end_with_eos(tokenizer) -> None:
    done = encode_pair(tokenizer, pair(thought="先想一想。\nThen decide."))
    for ids, answer in ((done.chosen_ids, "No, p."), (done.rejected_ids, "Yes, p.")):
        assert tokenizer.decode(ids) == completion_text("先想一想。\nThen decide.", answer) + tokenizer.eos_token
    prompt = tokenizer.decode(done.prompt_ids)
    assert prompt == render_prompt(tokenizer, (QUESTION,)) and prompt.endswith("<think>\n")
    assert done.prompt_ids.count(tokenizer.bos_token_id) == 1


@pytest.mark.skipif("SAFEKEEL_DATA" not in os.environ, reason="real tokenizers are in SAFEKEEL_DATA")
def test_with_every_real_template_both_sides_are_what_generation_would_write() -> None:
    folders = sorted(
        path.parent for path in (Path(os.environ["SAFEKEEL_DATA"]) / "tokenizers").glob("*/tokenizer.json")
    )
    assert folders
    for folder in folders:
        real = load_tokenizer(folder)
        done = encode_pair(real, pair())
        text = real.decode([*done.prompt_ids, *done.chosen_ids])
        wrong = real.decode([*done.prompt_ids, *done.rejected_ids])
        assert text.endswith("<think>\nI think: 危险。\n</think>\n\nNo, p." + real.eos_token), folder
        assert wrong.endswith("<think>\nI think: 危险。\n</think>\n\nYes, p." + real.eos_token), folder
        assert QUESTION.content in text and done.prompt_ids.count(real.bos_token_id) <= 1


def test_trls_own_templating_would_delete_the_reasoning_of_both_sides(tokenizer) -> None:
    """Why the trainer gets ids: this fails once TRL repairs it, and `preference_trainer` may then be simpler."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    thought = "A unique thought."
    turns = {
        side: [{"role": "assistant", "content": f"<think>\n{thought}\n</think>\n\n{side}."}] for side in ("good", "bad")
    }
    row = {"prompt": [{"role": "user", "content": "Hello"}], "chosen": turns["good"], "rejected": turns["bad"]}
    trainer = DPOTrainer.__new__(DPOTrainer)
    trainer._tokenizer = tokenizer
    config = DPOConfig.__new__(DPOConfig)
    config.dataset_num_proc, config.max_length, config.truncation_mode = None, None, "keep_start"
    (theirs,) = trainer._prepare_dataset(Dataset.from_list([row]), tokenizer, config, "train")
    for column in ("chosen_ids", "rejected_ids"):
        assert thought not in tokenizer.decode(theirs[column])


def test_a_pair_without_thoughts_is_learnt_with_thinking_switched_off(tokenizer) -> None:
    done = encode_pair(tokenizer, pair(thought=""))
    prompt = tokenizer.decode(done.prompt_ids)
    assert prompt.endswith(EMPTY_THOUGHT) and think_state(prompt) == "closed"
    assert tokenizer.decode(done.chosen_ids) == "No, p." + tokenizer.eos_token


def test_a_pair_with_a_long_side_is_left_out_whole_and_counted(tokenizer) -> None:
    long = pair(name="long", rejected="yes " * 200)
    short = pair(name="short")
    limit = encode_pair(tokenizer, short).length
    done = tokenise(tokenizer, [long, short], limit, delta=3.0)
    assert [kept.id for kept in done.pairs] == ["short"] and reasons(done.dropped) == {"too_long": 1}
    (row,) = done.rows
    assert row["margin"] == 3.0 and row["length"] == limit
    assert len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) == limit
    assert reasons(tokenise(tokenizer, [short], limit - 1, 0.0).dropped) == {"too_long": 1}


def test_a_tokenizer_without_template_is_a_clear_error(tokenizer) -> None:
    bare = load_tokenizer(shipped_checkpoint())
    bare.chat_template = None
    with pytest.raises(DataError, match="chat template"):
        encode_pair(bare, pair())


def test_order_of_pairs_and_rows_is_the_same(tokenizer) -> None:
    names = [f"n{number}" for number in range(20)]
    random.Random(0).shuffle(names)
    done = tokenise(tokenizer, [pair(name=name, rejected_safe=name < "n5") for name in names], 512, 2.0)
    assert [kept.id for kept in done.pairs] == names
    assert [row["margin"] for row in done.rows] == [0.0 if name < "n5" else 2.0 for name in names]
