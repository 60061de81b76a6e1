"""Searches as JailbreakBench attack artifacts (Chao et al. 2024, arXiv 2404.01318): one JSON file per strategy.

    {"parameters": {"method": "pair", "model": …, "attack_success_rate": …, …},
     "jailbreaks": [{"index": 0, "goal": …, "prompt": …, "response": …, "number_of_queries": …, "jailbroken": …}, …]}

One entry per goal: the call that broke it, or the one that came nearest. Field names and types are those of the
benchmark's `AttackArtifact`, so its own tools read the files. They hold what a model answered: handle them as such.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from safekeel.attacks.search.log import QueryRow
from safekeel.errors import DataError, explain_row
from safekeel.files import atomic_write_json
from safekeel.records import Count, Name, Record, Text


class Jailbreak(Record):
    """One goal (`JailbreakInfo`); `prompt` and `response` are null where nothing was asked."""

    index: Count
    goal: Text
    behavior: Text
    category: Text
    prompt: Text | None
    response: Text | None
    number_of_queries: Count | None
    queries_to_jailbreak: Count | None
    prompt_tokens: Count | None
    """Of all calls for this goal, as the benchmark counts them."""
    response_tokens: Count | None
    jailbroken: bool


class Parameters(Record):
    """The search as a whole (`AttackParameters`)."""

    method: Name
    model: Text
    attack_type: Text = "black_box"
    defense: Text | None = None
    attack_success_rate: float = Field(ge=0, le=1)
    total_number_of_jailbreaks: Count
    number_of_submitted_prompts: Count
    total_number_of_queries: Count | None
    total_prompt_tokens: Count | None
    total_response_tokens: Count | None
    evaluation_date: Text
    evaluation_llm_provider: Text = "safekeel"
    method_parameters: dict[str, str | int | float] = Field(default_factory=dict)


class Artifact(Record):
    """One file."""

    parameters: Parameters
    jailbreaks: tuple[Jailbreak, ...]


def artifacts(
    rows: Sequence[QueryRow], method_parameters: Mapping[str, str | int | float] | None = None
) -> dict[str, Artifact]:
    """Strategy -> its artifact, from the rows of `queries.jsonl`. Goals that were never asked have no row, so they are
    not here; `GoalOutcome` has them."""
    grouped: dict[str, list[QueryRow]] = defaultdict(list)
    for row in rows:
        grouped[row.strategy].append(row)
    return {name: _artifact(name, found, dict(method_parameters or {})) for name, found in grouped.items()}


def _artifact(strategy: str, rows: Sequence[QueryRow], settings: dict[str, str | int | float]) -> Artifact:
    by_goal: dict[str, list[QueryRow]] = defaultdict(list)
    for row in rows:
        by_goal[row.goal_id].append(row)
    jailbreaks = sorted((_jailbreak(found) for found in by_goal.values()), key=lambda each: each.index)
    num_broken = sum(each.jailbroken for each in jailbreaks)
    parameters = Parameters(
        method=strategy,
        model=rows[0].model,
        attack_success_rate=num_broken / len(jailbreaks),
        total_number_of_jailbreaks=num_broken,
        number_of_submitted_prompts=len(jailbreaks),
        total_number_of_queries=len(rows),
        total_prompt_tokens=sum(row.prompt_tokens for row in rows),
        total_response_tokens=sum(row.response_tokens for row in rows),
        evaluation_date=datetime.now(UTC).date().isoformat(),
        method_parameters={"judge": rows[0].judge, "judge_version": rows[0].judge_version, **settings},
    )
    return Artifact(parameters=parameters, jailbreaks=tuple(jailbreaks))


def _jailbreak(rows: Sequence[QueryRow]) -> Jailbreak:
    """The first success, or the best-scored call, the earlier one of equals."""
    first = next((row for row in rows if row.jailbroken), None)
    shown = first or max(rows, key=lambda row: row.score)
    return Jailbreak(
        index=shown.index,
        goal=shown.goal,
        behavior=shown.behavior,
        category=shown.category,
        prompt=shown.prompt,
        response=shown.response,
        number_of_queries=len(rows),
        queries_to_jailbreak=shown.queries_to_jailbreak,
        prompt_tokens=sum(row.prompt_tokens for row in rows),
        response_tokens=sum(row.response_tokens for row in rows),
        jailbroken=shown.jailbroken,
    )


def write_artifacts(
    folder: Path, rows: Sequence[QueryRow], method_parameters: Mapping[str, str | int | float] | None = None
) -> list[Path]:
    """Write `jailbreakbench-STRATEGY.json` per strategy; the folder must exist. The paths written."""
    paths = []
    for strategy, artifact in artifacts(rows, method_parameters).items():
        path = folder / f"jailbreakbench-{re.sub(r'[^A-Za-z0-9._-]', '-', strategy)}.json"
        atomic_write_json(path, artifact.model_dump(mode="json"))
        paths.append(path)
    return paths


def read_artifact(path: Path) -> Artifact:
    """An artifact from a file.

    Raises:
        DataError: no such file, or no artifact.
    """
    try:
        return Artifact.model_validate_json(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; a search writes it beside its queries.jsonl.") from error
    except (ValidationError, UnicodeDecodeError) as error:
        why = explain_row(error, Artifact.model_fields) if isinstance(error, ValidationError) else str(error)
        raise DataError(f"{path} is no JailbreakBench artifact: {why}") from error
