"""Recipes for real models: which model, how each training stage is set, on what, and what corpus is expected.

A recipe of this kind is known by its section [model]. Its plan can be made without the model and without a corpus: the
recipe holds the sizes of the model's config.json and the expected size of the corpus.

    recipe = TrainRecipe.resolve(load_recipe("deepseek-r1-distill-qwen-7b", []))
    for plan in recipe_plans(recipe): print(as_text(plan))
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from safekeel.config import StageConfig, build, check_sections
from safekeel.errors import ConfigError
from safekeel.train.launch.plan import GIB, Plan, plan_of
from safekeel.train.launch.shape import Shape, shape_of
from safekeel.train.launch.sharded import LaunchConfig
from safekeel.train.launch.work import Lengths
from safekeel.train.preference_config import PreferenceConfig
from safekeel.train.rl_config import RlConfig
from safekeel.train.select import SelectConfig
from safekeel.train.sft import SftConfig

OPTIONAL = ("preference", "rl")


class ModelConfig(StageConfig):
    """The model a recipe is for, with the sizes of its published config.json."""

    name: str
    """On the Hugging Face Hub; training itself takes a local folder."""
    model_type: str
    hidden_size: int = Field(ge=1)
    num_hidden_layers: int = Field(ge=1)
    num_attention_heads: int = Field(ge=1)
    num_key_value_heads: int = Field(ge=1)
    head_dim: int | None = Field(None, ge=1)
    intermediate_size: int = Field(ge=1)
    vocab_size: int = Field(ge=1)
    tie_word_embeddings: bool = False
    max_position_embeddings: int = Field(ge=1)

    def shape(self) -> Shape:
        return shape_of(self.model_dump(exclude={"name"}), f"[model] of {self.name}")


class ExpectedCorpus(StageConfig):
    """What the plan of a recipe assumes of the corpus; `--dry-run` with a corpus counts instead."""

    samples: int = Field(4000, ge=1)
    """Samples for SFT: a thousand risky prompts, their twins, and as much replay (recipe safe-corpus)."""
    mean_tokens: int = Field(900, ge=1)
    longest: int = Field(8192, ge=1)
    pairs: int = Field(1000, ge=1)
    prompts: int = Field(2000, ge=1)
    prompt_tokens: int = Field(150, ge=1)
    longest_prompt: int = Field(1024, ge=1)


class TrainRecipe(BaseModel):
    """A recipe for a real model, resolved. `preference` and `rl` are None where the recipe leaves them out."""

    model: ModelConfig
    sft: SftConfig
    launch: LaunchConfig
    select: SelectConfig
    expected: ExpectedCorpus
    preference: PreferenceConfig | None = None
    rl: RlConfig | None = None

    @classmethod
    def resolve(cls, tables: dict[str, Any]) -> TrainRecipe:
        """Check every section and key; the nearest name is offered for an unknown one.

        Raises:
            ConfigError: anything unknown, missing or of a wrong type.
        """
        check_sections(tables, list(cls.model_fields))
        parts: dict[str, type[BaseModel]] = {
            "model": ModelConfig,
            "sft": SftConfig,
            "launch": LaunchConfig,
            "select": SelectConfig,
            "expected": ExpectedCorpus,
            "preference": PreferenceConfig,
            "rl": RlConfig,
        }
        resolved = {
            name: build(kind, tables.get(name, {}), name)
            for name, kind in parts.items()
            if name in tables or name not in OPTIONAL
        }
        recipe = cls(**resolved)
        if recipe.sft.regime != "real":
            raise ConfigError('A recipe with a section [model] trains a real model: set sft.regime = "real".')
        return recipe


def is_training(tables: dict[str, Any]) -> bool:
    """Whether a recipe's tables are those of a real model's training."""
    return "model" in tables and "sft" in tables


def recipe_plans(recipe: TrainRecipe) -> list[Plan]:
    """The plan of every training stage of a recipe, for the device it names and the corpus it expects.

    Raises:
        ConfigError: the recipe does not say how much memory its devices have.
    """
    if recipe.launch.device_gib is None:
        raise ConfigError("launch.device_gib is missing: the plan of a recipe is for the device that it names.")
    expected = recipe.expected
    memory = round(recipe.launch.device_gib * GIB)
    stages: list[tuple[Any, Lengths]] = [
        (recipe.sft, Lengths(expected.samples, expected.samples * expected.mean_tokens, expected.longest))
    ]
    if recipe.preference is not None:
        both = 2 * expected.pairs * expected.mean_tokens
        stages.append((recipe.preference, Lengths(expected.pairs, both, expected.longest)))
    if recipe.rl is not None:
        tokens = expected.prompts * expected.prompt_tokens
        stages.append((recipe.rl, Lengths(expected.prompts, tokens, expected.longest_prompt)))
    shape = recipe.model.shape()
    return [plan_of(config, shape, lengths, recipe.launch, memory, True) for config, lengths in stages]
