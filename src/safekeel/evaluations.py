"""Recipes that only evaluate: one model for the TC260 page, or pairs of models side by side.

    safekeel run tc260-selfcheck --set model.name=api:deepseek-r1 --set model.base_url=http://localhost:8000/v1
    safekeel run distillation-pairs --set pairs.only=["Qwen-1.5B"]

Each evaluation is what `safekeel eval` writes, so it continues after a kill and is skipped when it is up to date. Like
`pipeline`, this file knows several stages and is imported by none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from safekeel.artifact import atomic_write_json, atomic_write_text
from safekeel.bench.command import EvalRequest, JudgeRequest, evaluate_model
from safekeel.config import StageConfig, build, check_sections
from safekeel.errors import ConfigError, nearest
from safekeel.report.compliance import banks_in, render_compliance
from safekeel.report.evidence import read_evaluation
from safekeel.report.pairwise import as_text, compare_folders

EVALUATION = "evaluation"
"""The section that tells these recipes from those of the whole loop."""
Say = Callable[[str], None]


class ModelConfig(StageConfig):
    """The model to evaluate and how to reach it."""

    name: str = ""
    """As MODEL of `safekeel eval`: `api:NAME`, `hf:PATH_OR_ID`, `vllm:PATH_OR_ID`, `scripted:FILE`."""
    base_url: str = ""
    """Of an OpenAI-compatible endpoint; several separated by spaces share the load."""
    api_key_env: str = ""
    """Name of the environment variable that holds the key; never the key."""
    revision: str = ""
    tokenizer: str = ""
    concurrency: int | None = Field(None, ge=1)
    timeout: float | None = Field(None, gt=0)
    batch_size: int = Field(64, ge=1)


class JudgeConfig(StageConfig):
    """The judge of safety; items with a known answer are graded without it."""

    name: str = "linear"
    base_url: str = ""
    api_key_env: str = ""
    card: str = ""


class EvaluationConfig(StageConfig):
    """What is asked, and how completions are drawn; see the options of `safekeel eval`."""

    benches: tuple[str, ...] = Field(min_length=1)
    samples: int = Field(1, ge=1)
    think: str = "default"
    max_tokens: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0)
    top_p: float | None = Field(None, gt=0, le=1)
    limit: int | None = Field(None, ge=1)
    seed: int = Field(0, ge=0)
    data_dir: str = ""


class PairsConfig(StageConfig):
    """Pairs of models to compare on the same items."""

    models: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """Name of the pair -> MODEL before (the base), MODEL after (distilled, or made safe)."""
    only: tuple[str, ...] = ()
    """Names of the pairs to evaluate; none = all."""
    budget: float = Field(0.01, ge=0)
    """Capability loss allowed, as a fraction."""


class EvaluationRecipe(BaseModel):
    """A recipe resolved into checked sections."""

    model: ModelConfig
    judge: JudgeConfig
    evaluation: EvaluationConfig
    pairs: PairsConfig

    @classmethod
    def resolve(cls, tables: dict[str, Any]) -> EvaluationRecipe:
        """Check every section and key.

        Raises:
            ConfigError: an unknown or wrong one, a pair that does not exist, or neither a model nor pairs.
        """
        check_sections(tables, list(cls.model_fields))
        kinds: dict[str, type[StageConfig]] = {
            "model": ModelConfig,
            "judge": JudgeConfig,
            EVALUATION: EvaluationConfig,
            "pairs": PairsConfig,
        }
        recipe = cls(**{name: build(kind, tables.get(name, {}), name) for name, kind in kinds.items()})
        if bool(recipe.model.name) == bool(recipe.pairs.models):
            raise ConfigError(
                "The recipe evaluates one model or pairs of models; name it with --set model.name=api:NAME "
                "(and model.base_url=URL) or --set model.name=hf:PATH."
            )
        for name in recipe.pairs.only:
            if name not in recipe.pairs.models:
                known = recipe.pairs.models
                raise ConfigError(f"pairs.only: no pair {name!r}.{nearest(name, known)} Known: {', '.join(known)}.")
        return recipe


def is_evaluation(tables: dict[str, Any]) -> bool:
    """Whether a recipe only evaluates."""
    return EVALUATION in tables


def run_evaluations(recipe: EvaluationRecipe, out: Path, command: str, say: Say) -> list[Path]:
    """Evaluate and write the pages; returns what a user should open, the most important first.

    Raises:
        SafeKeelError: what `safekeel eval` raises; running again continues.
    """
    request = request_of(recipe)
    if recipe.model.name:
        return _single(request, out, command, say)
    return _pairs(recipe.pairs, request, out, command, say)


def request_of(recipe: EvaluationRecipe) -> EvalRequest:
    """The recipe as the request of `safekeel eval`."""
    model, judge, asked = recipe.model, recipe.judge, recipe.evaluation
    card = Path(judge.card) if judge.card else None
    return EvalRequest(
        model=model.name,
        benches=asked.benches,
        judge=JudgeRequest(judge.name, tuple(judge.base_url.split()), judge.api_key_env or None, card=card),
        samples=asked.samples,
        think=asked.think,
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        limit=asked.limit,
        data_dir=Path(asked.data_dir) if asked.data_dir else None,
        seed=asked.seed,
        base_urls=tuple(model.base_url.split()),
        api_key_env=model.api_key_env or None,
        revision=model.revision or None,
        tokenizer=Path(model.tokenizer) if model.tokenizer else None,
        timeout=model.timeout,
        concurrency=model.concurrency,
        batch_size=model.batch_size,
    )


def _single(request: EvalRequest, out: Path, command: str, say: Say) -> list[Path]:
    folder = out / "eval"
    evaluate_model(request, folder, command, say)
    if not banks_in(read_evaluation(folder)):
        return [folder / "scores.json"]
    written = render_compliance(folder, out)
    return sorted(written, key=lambda path: path.suffix != ".html")


def _pairs(pairs: PairsConfig, request: EvalRequest, out: Path, command: str, say: Say) -> list[Path]:
    summary = []
    for name in pairs.only or tuple(pairs.models):
        say(f"{name}: {' against '.join(pairs.models[name])}")
        folders = [out / name / side for side in ("before", "after")]
        for model, folder in zip(pairs.models[name], folders, strict=True):
            evaluate_model(replace(request, model=model, plain_template=True), folder, command, say)
        result = compare_folders(folders[0], folders[1], None, pairs.budget)
        atomic_write_json(out / name / "comparison.json", result)
        summary.append(f"## {name}\n\n{as_text(result)}\n")
    atomic_write_text(out / "pairs.txt", "\n".join(summary))
    return [out / "pairs.txt"]
