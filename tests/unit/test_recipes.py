"""Every shipped recipe resolves; every key the tests and docs name exists."""

from __future__ import annotations

import pytest

from safekeel.bench.safety import BENCHMARKS
from safekeel.config import load_recipe, recipe_names
from safekeel.corpus.build import CorpusRecipe, is_corpus
from safekeel.errors import ConfigError
from safekeel.evaluations import EvaluationRecipe, is_evaluation
from safekeel.pipeline import Recipe
from safekeel.train.launch.recipe import TrainRecipe, is_training
from tests.helpers import TINY


@pytest.mark.parametrize("name", recipe_names())
def test_recipe_resolves(name: str) -> None:
    needed = ["model.name=api:x"] if name == "tc260-selfcheck" else []
    tables = load_recipe(name, needed)
    kinds = (
        (EvaluationRecipe, is_evaluation),
        (CorpusRecipe, is_corpus),
        (TrainRecipe, is_training),
        (Recipe, lambda _: True),
    )
    assert next(kind.resolve(tables) for kind, fits in kinds if fits(tables))


def test_an_evaluation_recipe_without_a_model_says_how_to_name_one() -> None:
    with pytest.raises(ConfigError, match=r"model\.name"):
        EvaluationRecipe.resolve(load_recipe("tc260-selfcheck", []))
    with pytest.raises(ConfigError, match=r"Qwen-1\.5B"):
        EvaluationRecipe.resolve(load_recipe("distillation-pairs", ['pairs.only=["Qwen-1.5"]']))


def test_every_benchmark_of_a_recipe_exists() -> None:
    for name in recipe_names():
        tables = load_recipe(name, [])
        for bench in tables.get("evaluation", {}).get("benches", []):
            assert BENCHMARKS.get(bench)


def test_tiny_overrides_resolve() -> None:
    assert Recipe.resolve(load_recipe("nano", TINY)).rl.num_steps == 4


def test_evaluation_stays_within_its_budget() -> None:
    """Issue 2: at most 5,000 completions in both evaluations together, at least 2,000 paired capability items."""
    from safekeel.bench import nano
    from safekeel.nano.words import load_words

    suite = Recipe.resolve(load_recipe("nano", [])).suite
    words = load_words()
    test, eligibility = nano.test_items(words, suite), nano.eligibility_items(words, suite)
    assert 2 * len(test) + len(eligibility) <= 5000
    assert suite.num_arithmetic + suite.num_knowledge >= 2000


@pytest.mark.parametrize(
    ("override", "expected"),
    [("rl.num_step=3", "num_steps"), ("corpse.num_pairs=1", "corpus"), ("sft.batch_size=0", "batch_size")],
)
def test_mistyped_keys_offer_the_nearest(override: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Recipe.resolve(load_recipe("nano", [override]))
