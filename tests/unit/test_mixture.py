"""The mixture: budget, ratios, pairs, determinism, and nothing lost, on any pool of samples."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from safekeel.config import build
from safekeel.corpus.mixture import Mixed, MixtureConfig, mix
from safekeel.corpus.sample import ROLES, Role, Sample
from safekeel.errors import ConfigError
from safekeel.records import Message, Prompt

EXPECT = {"risky": "refuse", "counter": "answer", "replay": "answer", "general": "answer"}


def sample(role: Role, key: str, lang: str = "zh", risk: str | None = None, pair: str | None = None, length: int = 5):
    prompt = Prompt(
        id=key,
        messages=(Message(role="user", content="问"),),
        lang=lang,
        risk=risk if role == "risky" else None,
        expect=EXPECT[role],
        target=None,
        source="test",
        licence="Apache-2.0",
    )
    return Sample(id=key, role=role, prompt=prompt, thought="想", answer="答" * length, pair=pair)


def answer_length(row: Sample) -> int:
    return len(row.answer)


def pool(num: dict[Role, int], lang: str = "zh", categories: int = 1) -> list[Sample]:
    """Risky and counter samples of the same number are twins."""
    rows = []
    for role, rows_wanted in num.items():
        for i in range(rows_wanted):
            twin = {"risky": f"counter-{lang}-{i}", "counter": f"risky-{lang}-{i}"}.get(role)
            rows.append(sample(role, f"{role}-{lang}-{i}", lang, f"A.1.{'abcdefgh'[i % categories]}", twin))
    return rows


def ids(mixed: Mixed) -> list[str]:
    return [row.id for row in mixed.kept]


def roles(mixed: Mixed) -> Counter[str]:
    return Counter(row.role for row in mixed.kept)


@st.composite
def pools(draw: st.DrawFn) -> list[Sample]:
    rows = []
    for i in range(draw(st.integers(0, 40))):
        role = draw(st.sampled_from(ROLES))
        risk, lang = draw(st.sampled_from(["A.1.a", "A.1.b", "A.2.c"])), draw(st.sampled_from(["zh", "en"]))
        pair = draw(st.none() | st.integers(0, 40).map("row-{}".format))
        rows.append(sample(role, f"row-{i}", lang, risk, pair, draw(st.integers(1, 30))))
    return rows


configs = st.builds(
    MixtureConfig,
    risky=st.sampled_from([0.5, 1.0]),
    counter=st.sampled_from([0, 1.0, 2.0]),
    replay=st.sampled_from([0, 1.5]),
    zh=st.sampled_from([1.0, 3.0]),
    en=st.sampled_from([0, 1.0]),
    exact_ratios=st.booleans(),
    min_per_category=st.integers(0, 3),
    max_tokens=st.none() | st.integers(1, 400),
    max_samples=st.none() | st.integers(1, 30),
    seed=st.integers(0, 3),
)


@settings(max_examples=100, deadline=None)
@given(pools(), configs, st.randoms())
def test_on_any_pool_the_budget_holds_nothing_is_lost_and_input_order_does_not_matter(rows, config, random) -> None:
    mixed = mix(rows, config, answer_length)
    assert mixed.tokens == sum(map(answer_length, mixed.kept)) <= (config.max_tokens or 10**9)
    assert len(mixed.kept) <= (config.max_samples or 10**9)
    left = [row.sample.id for row in mixed.left_out if row.sample]
    assert sorted([*ids(mixed), *left]) == sorted(row.id for row in rows)
    assert {row.step for row in mixed.left_out} <= {"mixture"}
    shuffled = random.sample(rows, len(rows))
    assert mix(shuffled, config, answer_length) == mixed
    assert sum(group.kept for group in mixed.by_group) == len(mixed.kept)
    assert sum(group.tokens for group in mixed.by_group) == mixed.tokens


@settings(max_examples=100, deadline=None)
@given(pools(), configs)
def test_on_any_pool_every_role_is_within_one_sample_of_its_ratio(rows, config) -> None:
    config = config.model_copy(update={"exact_ratios": True})
    mixed = mix(rows, config, answer_length)
    langs = [lang for lang, share in (("zh", config.zh), ("en", config.en)) if share]
    there = {row.role for row in rows if row.prompt.lang in langs and config.ratio(row.role)}
    kept = roles(mixed)
    assert set(kept) <= there
    for a in there:
        for b in there:  # kept = floor(size * ratio): two roles differ from their ratio by less than one sample each
            assert abs(kept[a] / config.ratio(a) - kept[b] / config.ratio(b)) < max(
                1 / config.ratio(a), 1 / config.ratio(b)
            )
    for role in there:
        both = {row.prompt.lang for row in rows if row.role == role and row.prompt.lang in langs} == {"zh", "en"}
        zh = sum(row.role == role and row.prompt.lang == "zh" for row in mixed.kept)
        if both:
            assert abs(zh - kept[role] * config.zh / (config.zh + config.en)) <= 0.5
    absent = {role for role in ROLES if config.ratio(role)} - there
    assert all(any(said.startswith(f"{role}: no samples") for said in mixed.shortfalls) for role in absent)


def test_exact_numbers_at_the_default_ratio() -> None:
    num = {"risky": 40, "counter": 40, "replay": 60, "general": 20}
    mixed = mix([*pool(num, "zh"), *pool(num, "en")], MixtureConfig(), answer_length)
    assert len(mixed.kept) == 320 and not mixed.left_out and not mixed.shortfalls
    num["general"] = 10
    mixed = mix([*pool(num, "zh"), *pool(num, "en")], MixtureConfig(), answer_length)
    assert roles(mixed) == {"risky": 41, "counter": 41, "replay": 62, "general": 20}  # 20 + 1 in en is what limits
    assert {row.reason for row in mixed.left_out} == {"over_ratio"}
    [said] = mixed.shortfalls
    assert "there are no more of general in zh (10)" in said and "exact_ratios to false" in said


@pytest.mark.parametrize("max_samples", [3, 7, 20, 33])
def test_pairs_enter_and_leave_together(max_samples: int) -> None:
    rows = [*pool({"risky": 30, "counter": 30, "replay": 30}, "zh"), *pool({"risky": 9, "counter": 9}, "en")]
    mixed = mix(rows, MixtureConfig(max_samples=max_samples, general=0), answer_length)
    kept = set(ids(mixed))
    assert kept
    assert all(row.pair in kept for row in mixed.kept if row.role in ("risky", "counter"))


def test_risky_samples_with_a_twin_are_taken_before_those_without() -> None:
    rows = [*pool({"risky": 20, "counter": 20}), *(sample("risky", f"alone-{i}", risk="A.1.a") for i in range(20))]
    mixed = mix(rows, MixtureConfig(replay=0, general=0), answer_length)
    assert roles(mixed) == {"risky": 20, "counter": 20} and not any("alone" in key for key in ids(mixed))


def test_token_budget_takes_the_largest_corpus_that_fits_and_names_the_reason() -> None:
    rows = pool({"risky": 10, "counter": 10})  # five tokens each
    mixed = mix(rows, MixtureConfig(replay=0, general=0, max_tokens=64), answer_length)
    assert (mixed.tokens, roles(mixed)) == (60, {"risky": 6, "counter": 6})
    assert Counter(row.reason for row in mixed.left_out) == {"over_budget": 8}
    nothing = mix(rows, MixtureConfig(max_tokens=3), answer_length)
    assert not nothing.kept and "No sample fits the budget" in nothing.shortfalls[-1]


def test_minimum_per_category_comes_first_and_what_is_missing_is_said() -> None:
    many = [sample("risky", f"many-{i}", risk="A.1.a") for i in range(50)]
    few = [sample("risky", f"few-{i}", risk="A.1.b") for i in range(3)]
    config = MixtureConfig(counter=0, replay=0, general=0, en=0, min_per_category=4, max_samples=7)
    mixed = mix([*many, *few], config, answer_length, categories=["A.1.a", "A.1.b", "A.1.c"])
    assert Counter(row.prompt.risk for row in mixed.kept) == {"A.1.a": 4, "A.1.b": 3}
    assert mixed.shortfalls == [
        "A.1.b in zh: 3 of 3 risky samples are kept, the minimum is 4; write or find 1 more.",
        "A.1.c in zh: 0 of 0 risky samples are kept, the minimum is 4; write or find 4 more.",
    ]
    tight = mix([*many, *few], config.model_copy(update={"max_samples": 2}), answer_length)
    assert "no room" in tight.shortfalls[0] and len(tight.kept) == 2


def test_without_exact_ratios_short_groups_give_all_they_have() -> None:
    rows = pool({"risky": 20, "counter": 20, "replay": 3})
    config = MixtureConfig(general=0, exact_ratios=False, en=0, max_samples=35)
    mixed = mix(rows, config, answer_length)
    assert roles(mixed) == {"risky": 16, "counter": 16, "replay": 3}
    assert mixed.shortfalls == ["replay in zh: 3 samples, 25 by ratio."]
    everything = mix(rows, MixtureConfig(exact_ratios=False), answer_length)
    assert len(everything.kept) == len(rows)


def test_a_second_sample_of_the_same_id_is_left_out_whichever_came_first() -> None:
    rows = [*pool({"general": 4}), sample("general", "general-zh-0", length=9)]
    config = MixtureConfig(risky=0, counter=0, replay=0, en=0)
    forward, backward = mix(rows, config, answer_length), mix(rows[::-1], config, answer_length)
    assert forward == backward and len(forward.kept) == 4
    assert [row.reason for row in forward.left_out] == ["same_id"]


def test_another_seed_is_another_choice() -> None:
    rows = pool({"general": 40})
    config = MixtureConfig(risky=0, counter=0, replay=0, en=0, max_samples=10)
    assert ids(mix(rows, config, answer_length)) != ids(mix(rows, config.model_copy(update={"seed": 1}), answer_length))


@pytest.mark.parametrize("wrong", [{"risky": 0, "counter": 0, "replay": 0, "general": 0}, {"zh": 0, "en": 0}])
def test_a_mixture_of_nothing_is_a_configuration_error(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected one above 0"):
        build(MixtureConfig, wrong, "mixture")
