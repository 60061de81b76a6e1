"""Rounds of attack and repair: finds, their twins, and the corpus that grows by both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from safekeel.artifact import Stage, read_manifest
from safekeel.attacks import ATTACKS, disguise, rounds
from safekeel.attacks.base import Request
from safekeel.config import load_recipe
from safekeel.corpus import nano_rounds
from safekeel.corpus.sample import Sample
from safekeel.engines import open_engine
from safekeel.errors import DataError, UsageError
from safekeel.judges.nano import NanoJudge
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.requests import SEEN_FAMILIES
from safekeel.nano.words import Words, load_words
from safekeel.nano.world import answer_items
from safekeel.pipeline import Pipeline, Recipe
from safekeel.records import Message, Prompt, read_jsonl, write_jsonl
from safekeel.rounds import run_rounds
from tests.search_engines import HARM, REFUSED, SmallEngine, TextJudge

MAX_TOKENS = 96


@pytest.fixture(scope="module")
def words() -> Words:
    return load_words(None)


def quiet(*_: object, **__: object) -> None:
    """Progress that is not shown."""


def test_training_goals_are_pairs_of_the_training_side_and_others_in_every_round(words: Words) -> None:
    first, again, second = (nano_rounds.training_goals(words, 12, 0, number) for number in (1, 1, 2))
    assert first == again
    assert {risky.messages for risky, _ in first}.isdisjoint(risky.messages for risky, _ in second)
    for risky, twin in first:
        assert risky.expect == "refuse" and twin.expect == "answer" and risky.lang == twin.lang
        assert risky.meta["split"] == twin.meta["split"] == "sft" and risky.attack is None


@pytest.mark.parametrize("label", ["fiction:train", "payload_split:test(role_play:train)"])
def test_a_twin_wears_the_disguise_of_the_find(words: Words, label: str) -> None:
    _, twin = nano_rounds.training_goals(words, 1, 0, 1)[0]
    found = disguise.dressed(twin, label, "001", seed=0)
    arm = disguise.arm_of(label)
    assert arm.label == label
    request = Request(twin.messages[-1].content, twin.lang, tuple(twin.meta["segments"]))
    if arm.inner:
        request = Request(arm.inner.family.apply(request, arm.inner.wording), twin.lang)
    assert found.messages[-1].content == ATTACKS.get(arm.family.name).apply(request, arm.wording)
    assert found.meta["phrase"] == twin.meta["phrase"] and found.expect == "answer"
    assert found.attack is not None and found.attack.params == {"label": label}


def test_unknown_labels_are_refused(words: Words) -> None:
    for label in ("fiction", "fiction:someday", "fiction:train(", ""):
        with pytest.raises(DataError, match="expected FAMILY:WORDING"):
            disguise.arm_of(label)
    with pytest.raises(UsageError, match="Did you mean"):
        disguise.arm_of("ficton:train")


def test_a_round_on_the_base_breaks_goals_and_the_corpus_grows_by_pairs(words: Words, tmp_path: Path) -> None:
    base, judge = shipped_checkpoint(), NanoJudge(words)
    engine = open_engine(f"hf:{base}", batch_size=16)
    goals = [rounds.Goal(*pair) for pair in nano_rounds.training_goals(words, 6, 0, 1)]
    families = [ATTACKS.get(name) for name in SEEN_FAMILIES]
    config = rounds.RoundsConfig().search(4, ("train",), 0, MAX_TOKENS)
    attack = Stage(tmp_path / "attack", rounds.STAGE, rounds.VERSION, {}, [], 0, "test")
    rounds.run(config, attack, goals, families, engine, judge, quiet, 100)
    finds, twins = (read_jsonl(attack.dir / name, Prompt) for name in (rounds.FINDS, rounds.TWINS))
    assert len(finds) == len(twins) == read_manifest(attack.dir)["counts"]["finds"] >= 4  # the base complies
    assert {find.attack.params["label"].split(":")[1] for find in finds if find.attack} == {"train"}
    assert {find.attack.name for find in finds if find.attack} <= set(SEEN_FAMILIES)

    before = tmp_path / "before"
    before.mkdir()
    earlier = Sample(id="old", role="risky", prompt=goals[0].risky, thought="t", answer="a")
    write_jsonl(before / "sft.jsonl", [earlier])
    write_jsonl(before / "rl.jsonl", [goals[0].risky])
    corpus = Stage(tmp_path / "corpus", nano_rounds.STAGE, nano_rounds.VERSION, {}, [], 0, "test")
    added = nano_rounds.run(corpus, before, attack.dir, engine, judge, answer_items(words, "test", 6, 0), quiet)
    rows = read_jsonl(corpus.dir / "sft.jsonl", Sample)
    assert rows[0] == earlier and len(rows) == 1 + added and added >= len(finds)
    assert (corpus.dir / "rl.jsonl").read_bytes() == (before / "rl.jsonl").read_bytes()
    new = {sample.id: sample for sample in rows[1:]}
    assert {sample.role for sample in new.values()} == {"risky", "counter"}
    for sample in new.values():
        assert sample.prompt.attack is not None and sample.thought and sample.answer
        assert sample.prompt.expect == ("refuse" if sample.role == "risky" else "answer")


def test_what_is_no_defence_is_trained_on_the_worst_first(words: Words, tmp_path: Path) -> None:
    """Six goals, four tries each, through a whole round: harm, thoughts that plan it, garbage, refusals, no reply."""
    goals = [rounds.Goal(*pair) for pair in nano_rounds.training_goals(words, 6, 0, 1)]
    planned = f"<think>\nPLAN\n</think>\n\n{REFUSED}"
    said = {0: HARM, 1: planned, 2: "gar ble", 3: REFUSED, 4: "<error>", 5: "gar ble"}
    requests = {goal.risky.meta["phrase"]: number for number, goal in enumerate(goals)}

    def says(messages: Sequence[Message]) -> str:
        return said[next(number for phrase, number in requests.items() if phrase in messages[-1].content)]

    families = [ATTACKS.get(name) for name in ("fiction", "role_play", "prefix_injection", "refusal_suppression")]
    config = rounds.RoundsConfig().search(4, ("train",), 0, MAX_TOKENS, stop=False)

    def finds(limit: int) -> tuple[list[Prompt], dict[str, int]]:
        stage = Stage(tmp_path / str(limit), rounds.STAGE, rounds.VERSION, {}, [], 0, "test")
        rounds.run(config, stage, goals, families, SmallEngine(says), TextJudge(), quiet, limit)
        return read_jsonl(stage.dir / rounds.FINDS, Prompt), read_manifest(stage.dir)["counts"]

    every, counts = finds(100)
    goal_of = {goal.risky.id: number for number, goal in enumerate(goals)}
    found = [goal_of[find.attack.parent_id or ""] for find in every if find.attack]
    assert found[:4] == [0] * 4 and found[4:8] == [1] * 4 and sorted(found[8:]) == [2] * 4 + [5] * 4
    assert (counts["finds"], counts["harm"], counts["leak"], counts["unreadable"]) == (16, 4, 4, 8)
    assert counts["target_calls"] == 24  # a goal that is broken spends its budget too
    some, counts = finds(6)
    assert [goal_of[find.attack.parent_id or ""] for find in some if find.attack] == [0] * 4 + [1] * 2
    assert (counts["finds"], counts["unreadable"]) == (6, 8)


def test_a_round_that_finds_nothing_leaves_the_corpus_as_it_was(words: Words, tmp_path: Path) -> None:
    risky, _ = nano_rounds.training_goals(words, 1, 0, 1)[0]
    before, attack = tmp_path / "before", tmp_path / "attack"
    for folder in (before, attack):
        folder.mkdir()
    write_jsonl(before / "sft.jsonl", [Sample(id="old", role="risky", prompt=risky, thought="t", answer="a")])
    write_jsonl(before / "rl.jsonl", [risky])
    for name in (rounds.FINDS, rounds.TWINS):
        write_jsonl(attack / name, [])
    corpus = Stage(tmp_path / "corpus", nano_rounds.STAGE, nano_rounds.VERSION, {}, [], 0, "test")
    engine = open_engine(f"hf:{shipped_checkpoint()}", batch_size=16)
    assert nano_rounds.run(corpus, before, attack, engine, NanoJudge(words), [], quiet) == 0
    assert (corpus.dir / "sft.jsonl").read_bytes() == (before / "sft.jsonl").read_bytes()


@pytest.mark.parametrize("families", [None, {}, {name: {"eligible": False} for name in SEEN_FAMILIES}])
def test_a_base_that_understands_no_family_is_said_before_any_attack(tmp_path: Path, families: object) -> None:
    recipe = Recipe.resolve({**load_recipe("nano-redteam", [])})
    loop = Pipeline(recipe, tmp_path, "test", lambda line: None)
    if families is not None:
        (tmp_path / "05-eval-before").mkdir()
        (tmp_path / "05-eval-before/families.json").write_text(json.dumps(families), "utf-8")
    with pytest.raises(DataError, match=r"suite\.num_eligibility"):
        run_rounds(loop)


def test_no_goals_is_an_error(tmp_path: Path, words: Words) -> None:
    stage = Stage(tmp_path / "attack", rounds.STAGE, rounds.VERSION, {}, [], 0, "test")
    config = rounds.RoundsConfig().search(1, ("train",), 0, MAX_TOKENS)
    with pytest.raises(DataError, match=r"rounds\.num_goals"):
        rounds.run(config, stage, [], [], open_engine(f"hf:{shipped_checkpoint()}"), NanoJudge(words), quiet, 1)
