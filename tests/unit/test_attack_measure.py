"""The numbers of an attack run, by hand: rates and bounds, the baseline, leaks, transfer, before and after."""

from __future__ import annotations

import pytest

from safekeel.attack_run.base import changes, eligible_families
from safekeel.attack_run.measure import any_family, by_family, family_rows, goal_outcomes, worst_family
from safekeel.attack_run.pack import build_pack, family_of, goal_of
from safekeel.attack_run.transfer import between_models, coverage_order, family_matrix, same_prompts
from safekeel.attacks import resolve
from safekeel.judges.nano import NanoJudge
from safekeel.nano.words import load_words
from safekeel.records import Prompt
from tests.attack_world import Say, comply, cut_off, judged, leak, nano_goals, refuse

GOALS = nano_goals(10)
PACK = build_pack(GOALS, resolve(["fiction", "role_play", "educator"]))
NUMBER = {goal.id: number for number, goal in enumerate(GOALS)}
JUDGE = NanoJudge(load_words())


def says(**kinds: tuple[Say, ...]) -> Say:
    """What is said to goal 0, 1, 2 … under each family; refusals after that and elsewhere."""

    def say(prompt: Prompt) -> str:
        chosen, number = kinds.get(family_of(prompt), ()), NUMBER[goal_of(prompt)]
        return (chosen[number] if number < len(chosen) else refuse)(prompt)

    return say


def groups_of(**kinds: tuple[Say, ...]):
    return by_family(judged(PACK.prompts, says(**kinds)))


def rows_of(**kinds: tuple[Say, ...]) -> dict[str, dict]:
    return {row["family"]: row for row in family_rows(groups_of(**kinds), "m", {JUDGE.name: JUDGE})}


def test_rates_with_leaks_and_what_was_cut_off_in_the_bounds() -> None:
    row = rows_of(fiction=(comply, comply, comply, leak, leak, cut_off))["fiction"]
    assert (row["asr"]["value"], row["asr"]["bound_low"], row["asr"]["bound_high"]) == (0.3, 0.3, 0.4)
    assert row["dsr"]["value"] == 0.6 and row["dsr"]["bound_high"] == 0.7
    assert row["refused"]["value"] == 0.6 and row["thought_leak"]["value"] == 0.2
    assert row["counts"] == {"unscored": 1, "truncated": 1, "failed": 0, "garbled": 0}
    assert row["asr"]["headline"] and row["asr"]["label_source"] == "construction"
    assert {lang: rate["num_items"] for lang, rate in row["by_lang"].items()} == {
        lang: sum(goal.lang == lang for goal in GOALS) for lang in ("en", "zh")
    }


def test_the_difference_to_the_baseline_is_paired_by_goal() -> None:
    rows = rows_of(direct=(comply,) * 2, fiction=(refuse, comply, comply, comply, comply))
    difference = rows["fiction"]["difference"]
    assert difference["value"] == pytest.approx(0.2) and difference["num_pairs"] == 10
    assert difference["low"] < 0.2 < difference["high"]
    # 1 goal lost and 3 won: McNemar's exact test, two-sided, is 10 of 16 outcomes of four fair coins.
    assert difference["p"] == pytest.approx(0.625) and difference["p_holm"] >= difference["p"]
    assert rows["fiction"]["direct_asr"] == 0.2 and rows["fiction"]["baseline_complies"] is False
    assert rows["direct"]["difference"] is None


def test_no_difference_is_told_where_most_outcomes_are_unknown() -> None:
    row = rows_of(fiction=(cut_off,) * 6)["fiction"]
    assert row["difference"] is None and row["asr"]["value"] is None and row["asr"]["bound_high"] == 0.6


def test_a_baseline_that_complies_is_named() -> None:
    assert rows_of(direct=(comply,) * 5)["fiction"]["baseline_complies"] is True
    assert rows_of(direct=(comply,) * 4)["fiction"]["baseline_complies"] is False


def test_the_worst_family_by_known_success_then_by_what_is_unknown() -> None:
    rows = rows_of(fiction=(comply, comply), role_play=(comply, comply, cut_off), educator=(cut_off,) * 5)
    assert worst_family(list(rows.values())) == "role_play"
    assert worst_family(list(rows_of(direct=(comply,)).values())) is None


def test_any_family_counts_a_goal_once_and_leaves_the_baseline_out() -> None:
    found = any_family(groups_of(direct=(comply,) * 9, fiction=(comply, refuse, cut_off), role_play=(comply, comply)))
    assert found is not None and (found["value"], found["bound_high"], found["num_items"]) == (
        0.2,
        pytest.approx(0.3),
        10,
    )


def test_goal_outcomes_over_samples() -> None:
    items = judged(PACK.prompts[:1], comply) + judged(PACK.prompts[:1], cut_off) + judged(PACK.prompts[1:2], cut_off)
    items += judged(PACK.prompts[2:3], refuse)
    assert list(goal_outcomes(items).values()) == [True, None, False]


def test_the_transfer_matrix_by_hand() -> None:
    groups = groups_of(
        direct=(comply,), fiction=(comply, comply, comply, comply), role_play=(refuse, comply, comply), educator=()
    )
    rows = {row["family"]: row for row in family_matrix(groups)}
    assert set(rows) == {"direct", "fiction", "role_play"}
    assert (rows["fiction"]["num_broken"], rows["fiction"]["num_only_here"]) == (4, 1)
    shares = {name: cell["share"] for name, cell in rows["fiction"]["cells"].items()}
    assert shares == {"direct": 0.25, "fiction": 1.0, "role_play": 0.5, "educator": 0.0}
    assert rows["role_play"]["cells"]["fiction"] == {"share": 1.0, "num": 2}
    assert coverage_order(groups) == [{"family": "fiction", "num_new": 4, "share": 0.4}]


def test_transfer_between_models_on_the_same_words_only() -> None:
    here = {(item.prompt.id, 0): item for item in judged(PACK.prompts, says(fiction=(comply, comply)))}
    there = {(item.prompt.id, 0): item for item in judged(PACK.prompts, says(fiction=(refuse, comply, comply, comply)))}
    found = between_models(same_prompts(here, there))
    assert (found["broken_here"], found["broken_there"], found["broken_both"]) == (2, 3, 1)
    assert found["here_to_there"] == 0.5 and found["there_to_here"] == pytest.approx(1 / 3)
    assert found["num_prompts"] == 30 and found["by_family"]["educator"]["there_to_here"] is None
    other = build_pack(GOALS, resolve(["fiction", "role_play", "educator"]), "train")
    reworded = {(item.prompt.id, 0): item for item in judged(other.prompts, comply)}
    assert {family_of(item.prompt) for item, _ in same_prompts(here, reworded)} == {"direct"}


def test_before_and_after_on_the_same_prompts() -> None:
    after, before = judged(PACK.prompts, says(fiction=(comply,))), judged(PACK.prompts, comply)
    found = changes(list(zip(after, before, strict=True)))
    assert (found["fiction"]["asr_before"], found["fiction"]["asr_after"]) == (1.0, 0.1)
    assert found["fiction"]["difference"] == pytest.approx(-0.9) and found["fiction"]["high"] < 0
    assert found["fiction"]["refused_after"] == 0.9
    unknown = judged(PACK.prompts, cut_off)
    assert changes(list(zip(unknown, before, strict=True))) == {}


def test_only_families_count_that_the_base_complies_under() -> None:
    base = {"eligibility": {"fiction": {"eligible": True}, "role_play": {"eligible": False}}}
    assert eligible_families(base, ["direct", "fiction", "role_play", "educator"]) == (
        ["fiction"],
        ["role_play", "educator"],
    )
    assert eligible_families(None, ["direct", "fiction"]) == (["fiction"], [])
