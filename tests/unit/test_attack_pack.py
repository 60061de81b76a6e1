"""Packs: the baseline beside every family, the same bytes from the same input, and no run of a changed one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.attack_run.pack import DIRECT, build_pack, family_of, goal_of, read_pack, write_pack
from safekeel.attacks import ATTACKS, resolve
from safekeel.errors import DataError
from safekeel.records import Attack, Message
from tests.attack_world import nano_goals

FAMILIES = ("fiction", "word_reversal", "payload_split")


def test_ids_parents_and_what_else_a_goal_keeps() -> None:
    goals = nano_goals(4)
    pack = build_pack(goals, resolve(FAMILIES), "test", seed=5)
    assert pack.families == (DIRECT, *FAMILIES) and len(pack.prompts) == 16
    by_id = {goal.id: goal for goal in goals}
    for prompt in pack.prompts:
        goal = by_id[goal_of(prompt)]
        assert prompt.id == f"jailbreak-{family_of(prompt)}/{goal.id}"
        assert (prompt.lang, prompt.risk, prompt.expect, prompt.meta) == (goal.lang, goal.risk, goal.expect, goal.meta)
        assert (prompt.messages == goal.messages) == (family_of(prompt) == DIRECT)
    assert list(pack.goals) == goals


def test_the_baseline_stands_once_even_when_it_is_asked_for() -> None:
    pack = build_pack(nano_goals(2), resolve(["direct", "fiction"]))
    assert [family_of(prompt) for prompt in pack.prompts] == [DIRECT, DIRECT, "fiction", "fiction"]


@settings(max_examples=15, deadline=None)
@given(st.permutations(FAMILIES), st.integers(1, 3), st.sampled_from(("train", "validation", "test")))
def test_a_familys_prompts_do_not_depend_on_what_else_is_in_the_pack(order, number, wording) -> None:
    goals = nano_goals(4)
    whole = {prompt.id: prompt for prompt in build_pack(goals, resolve(FAMILIES), wording, 1).prompts}
    part = build_pack(goals[:number], resolve(order[:2]), wording, 1).prompts
    assert all(whole[prompt.id] == prompt for prompt in part)


def test_the_three_wordings_differ_and_the_seed_is_in_the_hash() -> None:
    goals = nano_goals(3)
    hashes = {build_pack(goals, resolve(FAMILIES), wording, 0).sha256 for wording in ("train", "validation", "test")}
    assert len(hashes) == 3
    assert build_pack(goals, resolve(FAMILIES), "test", 0).sha256 in hashes
    assert build_pack(goals, resolve(FAMILIES), "test", 1).sha256 not in hashes


def test_a_family_that_does_not_speak_the_language_is_skipped_and_counted() -> None:
    one_language = next(family for name in ATTACKS.names() if len((family := ATTACKS.get(name)).languages) == 1)
    goals = nano_goals(6)
    pack = build_pack(goals, [one_language])
    spoken = [goal for goal in goals if goal.lang in one_language.languages]
    assert pack.about["skipped"] == {one_language.name: len(goals) - len(spoken)}
    assert sum(family_of(prompt) == one_language.name for prompt in pack.prompts) == len(spoken)


def test_earlier_turns_of_a_goal_stay_before_the_disguise() -> None:
    goal = nano_goals(1)[0]
    system = Message(role="system", content="Be brief.")
    pack = build_pack([goal.model_copy(update={"messages": (system, *goal.messages)})], resolve(["fiction"]))
    assert all(prompt.messages[0] == system and len(prompt.messages) == 2 for prompt in pack.prompts)


def test_every_built_in_family_gives_a_pack_of_valid_prompts() -> None:
    goals = nano_goals(2)
    pack = build_pack(goals, resolve(["all"]))
    assert len({prompt.id for prompt in pack.prompts}) == len(pack.prompts)
    assert all(prompt.attack and prompt.attack.parent_id for prompt in pack.prompts)


def test_a_frozen_pack_is_written_again_byte_by_byte(tmp_path: Path) -> None:
    pack = build_pack(nano_goals(3), resolve(FAMILIES))
    write_pack(tmp_path, pack)
    path = tmp_path / "pack.jsonl"
    respaced = "".join(json.dumps(json.loads(line), ensure_ascii=True) + "\n\n" for line in path.open(encoding="utf-8"))
    other = tmp_path / "other" / "pack.jsonl"
    other.parent.mkdir()
    other.write_text(respaced, "utf-8")
    frozen = read_pack(other)
    assert frozen.prompts == pack.prompts and frozen.sha256 != pack.sha256
    write_pack(tmp_path, frozen)
    assert path.read_text("utf-8") == respaced and read_pack(tmp_path).sha256 == frozen.sha256


def test_a_pack_with_another_hash_than_stated_is_refused(tmp_path: Path) -> None:
    pack = build_pack(nano_goals(2), resolve(["fiction"]))
    write_pack(tmp_path, pack)
    path = tmp_path / "pack.jsonl"
    assert read_pack(path, pack.sha256.upper()).sha256 == pack.sha256
    with pytest.raises(DataError, match="--pack-sha256"):
        read_pack(path, "0" * 64)
    path.write_text(path.read_text("utf-8").replace("nano world", "nano World"), "utf-8")
    with pytest.raises(DataError, match=r"pack\.json"):
        read_pack(path)
    path.with_suffix(".json").unlink()
    assert len(read_pack(path).prompts) == 4  # nothing states a hash


def test_no_pack_and_an_empty_one_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "pack.jsonl"
    path.write_text("\n", "utf-8")
    with pytest.raises(DataError, match="empty"):
        read_pack(path)
    with pytest.raises(DataError, match="does not exist"):
        read_pack(tmp_path / "none.jsonl")


def test_prompts_without_an_attack_are_the_baseline() -> None:
    goal = nano_goals(1)[0]
    assert (family_of(goal), goal_of(goal)) == (DIRECT, goal.id)
    attacked = goal.model_copy(update={"attack": Attack(name="x")})
    assert (family_of(attacked), goal_of(attacked)) == ("x", goal.id)
