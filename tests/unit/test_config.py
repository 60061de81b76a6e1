"""Recipes, overrides and the messages for what is wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from safekeel import config
from safekeel.config import StageConfig, build, check_sections, load_recipe
from safekeel.errors import ConfigError


class Reward(StageConfig):
    name: str = "safe"
    weight: float = 1.0


class TrainConfig(StageConfig):
    learning_rate: float = Field(1e-3, gt=0)
    num_steps: int = Field(10, ge=1)
    resume: bool = True
    mode: Literal["full", "lora"] = "full"
    families: tuple[str, ...] = ()
    model: Path = Path("base")
    reward: Reward = Reward()


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text('[train]\nnum_steps = 5\nmodel = "模型"\n[train.reward]\nweight = 2.5\n', "utf-8")
    return path


def test_a_recipe_is_found_by_file_and_by_folder(recipe: Path) -> None:
    expected = {"train": {"num_steps": 5, "model": "模型", "reward": {"weight": 2.5}}}
    assert load_recipe(str(recipe), []) == load_recipe(str(recipe.parent), []) == expected


def test_packaged_recipes_are_found_by_name(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = recipe.parent / "recipes/nano"
    packaged.mkdir(parents=True)
    (packaged / "recipe.toml").write_text("[train]\nnum_steps = 7\n")
    monkeypatch.setattr(config, "RECIPES", packaged.parent)
    assert load_recipe(None, []) == load_recipe("nano", []) == {"train": {"num_steps": 7}}
    with pytest.raises(ConfigError, match=r"No recipe 'nanno'\. Did you mean 'nano'\?.*a \.toml file"):
        load_recipe("nanno", [])


def test_every_shipped_recipe_parses() -> None:
    assert config.DEFAULT_RECIPE in config.recipe_names()
    for name in config.recipe_names():
        assert load_recipe(name, [])


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("train.x=3", 3),
        ("train.x=1e-4", 1e-4),
        ("train.x=true", True),
        ("train.x=lora", "lora"),
        ("train.x=hf:out/base=1", "hf:out/base=1"),
        ("train.x=模型", "模型"),
        ('train.x="3"', "3"),
        ("train.x='a b'", "a b"),
        ('train.x=["a", "b"]', ["a", "b"]),
        ("train.x={a = 1}", {"a": 1}),
        ("train.x=2026-01-01", "2026-01-01"),
        ("train.x=1\ny = 2", "1\ny = 2"),
        (" train . x = 3 ", 3),
    ],
)
def test_overrides_have_toml_values_and_bare_words(recipe: Path, override: str, value: object) -> None:
    loaded = load_recipe(str(recipe), [override])
    assert loaded["train"]["x"] == value
    assert type(loaded["train"]["x"]) is type(value)
    assert loaded["train"]["num_steps"] == 5


def test_later_overrides_win_and_new_sections_are_made(recipe: Path) -> None:
    loaded = load_recipe(str(recipe), ["train.reward.weight=1", "train.reward.weight=3", "rl.num_steps=0"])
    assert loaded["train"]["reward"] == {"weight": 3}
    assert loaded["rl"] == {"num_steps": 0}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.x", r"expected section\.key=value"),
        ("=3", r"expected section\.key=value"),
        ("train..x=3", r"expected section\.key=value"),
        ("train.x=", r"expected section\.key=value"),
        ("train.num_steps.x=3", r"train\.num_steps is 5, not a section"),
        ("train.x=[1, 2", "not a TOML value"),
        ('train.x="a', "not a TOML value"),
    ],
)
def test_a_malformed_override_is_named(recipe: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_recipe(str(recipe), [override])
    assert repr(override) in str(caught.value)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(lambda text: text.strip()))
def test_any_override_is_a_value_or_a_config_error(text: str) -> None:
    recipe: dict = {}
    try:
        config._apply(recipe, f"a.b={text}")
    except ConfigError:
        assert text.strip()[0] in "\"'[{"
    else:
        assert "b" in recipe["a"]


def test_malformed_toml_is_named_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[train]\nnum_steps = \n")
    with pytest.raises(ConfigError, match=r"broken\.toml: malformed TOML: .*line 2"):
        load_recipe(str(path), [])
    path.write_bytes(b'[train]\nmodel = "\xff"\n')
    with pytest.raises(ConfigError, match=r"broken\.toml: not UTF-8 \(byte 17\)"):
        load_recipe(str(path), [])


def test_a_folder_without_a_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"holds no recipe\.toml"):
        load_recipe(str(tmp_path), [])


def test_unknown_sections_offer_the_nearest() -> None:
    check_sections({"sft": {}, "rl": {}}, ["sft", "rl", "corpus"])
    with pytest.raises(ConfigError, match=r"Unknown section \[corpsu\]\. Did you mean 'corpus'\?"):
        check_sections({"corpsu": {}}, ["sft", "rl", "corpus"])
    with pytest.raises(ConfigError, match=r"sft = 3: expected a section \[sft\]"):
        check_sections({"sft": 3}, ["sft"])


def test_a_section_becomes_its_configuration() -> None:
    section = {"learning_rate": 1, "families": ["a", "b"], "model": "x/y", "mode": "lora", "reward": {"weight": 2}}
    built = build(TrainConfig, section, "train")
    assert built == TrainConfig(
        learning_rate=1.0, families=("a", "b"), model=Path("x/y"), mode="lora", reward=Reward(weight=2.0)
    )
    with pytest.raises(ValidationError, match="frozen"):
        built.num_steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"num_step": 3}, r"train\.num_step: unknown name\. Did you mean 'num_steps'\?"),
        ({"zzz": 3}, r"train\.zzz: unknown name\. Known here: learning_rate, num_steps"),
        ({"num_steps": "many"}, r"train\.num_steps: got 'many', expected a whole number\."),
        ({"num_steps": True}, r"train\.num_steps: got True, expected a whole number\."),
        ({"num_steps": 2.5}, r"train\.num_steps: got 2\.5, expected a whole number\."),
        ({"num_steps": 0}, r"train\.num_steps: got 0, expected a number of at least 1\."),
        ({"learning_rate": 0}, r"got 0, expected a number greater than 0"),
        ({"learning_rate": "fast"}, r"got 'fast', expected a number\."),
        ({"learning_rate": float("nan")}, r"got nan, expected a finite number"),
        ({"resume": "yes"}, r"got 'yes', expected true or false"),
        ({"mode": "qlora"}, r"got 'qlora', expected one of 'full' or 'lora'"),
        ({"families": "a"}, r"got 'a', expected a list"),
        ({"reward": {"wieght": 1}}, r"train\.reward\.wieght: unknown name"),
        ({"reward": 3}, r"train\.reward: got 3, expected a table"),
    ],
)
def test_wrong_values_are_explained_in_plain_words(section: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(TrainConfig, section, "train")


def test_all_problems_of_a_section_are_listed_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build(TrainConfig, {"num_steps": "x", "mode": "y", "zzz": 1}, "train")
    assert str(caught.value).count("\ntrain.") == 3


def test_a_missing_value_is_named() -> None:
    class Needs(BaseModel):
        path: str

    with pytest.raises(ConfigError, match=r"eval\.path: missing; a value is required"):
        build(Needs, {}, "eval")
