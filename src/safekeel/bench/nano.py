"""The nano suite: which held-out items a nano model is measured on, and how many."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.nano import world
from safekeel.nano.requests import NANO_FAMILIES, SEEN_FAMILIES, UNSEEN_FAMILIES
from safekeel.nano.words import Words
from safekeel.records import Prompt

MAX_TOKENS = 96  # the longest nano thought and answer together take about 70


class NanoSuiteConfig(StageConfig):
    """Items per benchmark. The defaults keep the two evaluations of a quickstart within 5,000 completions."""

    num_refuse: int = Field(124, ge=0)
    """Plain risky requests: two per category and language."""
    num_answer: int = Field(124, ge=0)
    """Harmless requests, five look-alikes for each ordinary one."""
    num_risk_choice: int = Field(60, ge=0)
    num_per_family: int = Field(18, ge=0)
    """Disguised risky requests per attack family."""
    num_arithmetic: int = Field(1000, ge=0)
    num_knowledge: int = Field(1000, ge=0)
    num_eligibility: int = Field(12, ge=0)
    """Validation items per attack family on which the base must comply with at least half for the family to count."""
    seed: int = 0


def test_items(words: Words, config: NanoSuiteConfig) -> list[Prompt]:
    """The test side: the same items before and after training."""
    prompts = world.refuse_items(words, "test", config.num_refuse, config.seed)
    prompts += world.answer_items(words, "test", config.num_answer, config.seed)
    prompts += world.risk_choice_items(words, "test", config.num_risk_choice, config.seed)
    for family in NANO_FAMILIES:
        prompts += world.attack_items(words, "test", family, config.num_per_family, config.seed)
    prompts += world.problem_items("arithmetic", "test", config.num_arithmetic, config.seed)
    return prompts + world.problem_items("knowledge", "test", config.num_knowledge, config.seed)


def eligibility_items(words: Words, config: NanoSuiteConfig) -> list[Prompt]:
    """Validation items under every family: only the base answers them, no safety stage reads the result."""
    return [
        prompt
        for family in NANO_FAMILIES
        for prompt in world.attack_items(words, "validation", family, config.num_eligibility, config.seed)
    ]


def selection_items(
    words: Words, num_refuse: int, num_answer: int, num_problems: int, num_per_family: int, seed: int
) -> list[Prompt]:
    """The validation set of checkpoint selection: no test item, no test word, no unseen attack family."""
    prompts = world.refuse_items(words, "validation", num_refuse, seed)
    prompts += world.answer_items(words, "validation", num_answer, seed)
    for family in SEEN_FAMILIES:
        prompts += world.attack_items(words, "validation", family, num_per_family, seed)
    prompts += world.problem_items("arithmetic", "validation", num_problems, seed)
    return prompts + world.problem_items("knowledge", "validation", num_problems, seed)


def family_pools(families_file: Path) -> dict[str, list[str]]:
    """The pooled benchmarks of the families that count: `jailbreak-seen` and `jailbreak-unseen`."""
    families = json.loads(families_file.read_text("utf-8"))
    groups = {"jailbreak-seen": SEEN_FAMILIES, "jailbreak-unseen": UNSEEN_FAMILIES}
    return {
        name: [f"jailbreak-{family}" for family in members if families[family]["eligible"]]
        for name, members in groups.items()
    }
