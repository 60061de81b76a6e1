"""What a run left on disk, read and checked: the only place of `report/` that opens files of a run.

    05-eval-before, 60-eval-after   prompts, completions, verdicts, scores       (and families.json, of the base)
    20-sft, 40-rl                   metrics.jsonl        30-select   candidates.json        ablation.json
    rounds/curve.json               where the run attacked and repaired its model; training and selection are then
                                    those of the last round, which made the final model

An evaluation or stage without a manifest has not finished and counts as not there; a file that is there and malformed
is an error that names it.
"""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from safekeel.artifact import MANIFEST, read_manifest
from safekeel.bench.score import Item, join_items
from safekeel.errors import DataError, explain
from safekeel.records import Completion, Prompt, Score, Verdict, read_jsonl
from safekeel.report.selected import Selection

BEFORE, AFTER, REPORT = "05-eval-before", "60-eval-after", "90-report"
SELECT, RL = "30-select", "40-rl"
ROUNDS = "rounds/curve.json"
SEEN, UNSEEN = "jailbreak-seen", "jailbreak-unseen"
FAMILY_PREFIX = "jailbreak-"
ItemKey = tuple[str, int]


@dataclass(frozen=True)
class Family:
    """One attack family as measured on the base model; `eligible` = it counts (the base complies under it)."""

    eligible: bool
    seen: bool
    base_compliance: float
    num_items: int


@dataclass(frozen=True)
class Evaluation:
    """One finished evaluation."""

    model: str
    scores: list[Score]
    items: dict[ItemKey, Item]
    by_benchmark: dict[str, list[Item]]
    judges: tuple[str, ...] = ()
    """`NAME VERSION` of every judge that gave a verdict."""

    def group(self, *benchmarks: str) -> list[Item]:
        """The items of these benchmarks, in order."""
        return [item for name in benchmarks for item in self.by_benchmark.get(name, [])]

    def score(self, benchmark: str, metric: str, slice_name: str = "all") -> Score | None:
        """The Score row, or None where there is none."""
        key = (benchmark, metric, slice_name)
        return next((row for row in self.scores if (row.benchmark, row.metric, row.slice) == key), None)


@dataclass(frozen=True)
class Evidence:
    """Everything the card and the page are made of."""

    run: str
    run_dir: Path
    before: Evaluation | None
    after: Evaluation | None
    families: dict[str, Family]
    selection: Selection
    select_config: dict[str, Any]
    sft_metrics: list[dict[str, float]]
    rl_metrics: list[dict[str, float]]
    rl_config: dict[str, Any]
    ablation: dict[str, dict[str, float | None]]
    rounds: list[dict[str, Any]] = field(default_factory=list)
    """Rows of `rounds/curve.json`, where the run attacked and repaired its model."""
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)

    def pools(self) -> dict[str, list[str]]:
        """The pooled benchmarks over the attack families that count."""
        pools: dict[str, list[str]] = {SEEN: [], UNSEEN: []}
        for name, family in self.families.items():
            if family.eligible:
                pools[SEEN if family.seen else UNSEEN].append(FAMILY_PREFIX + name)
        return pools


def read_evidence(run_dir: Path) -> Evidence:
    """Read a run folder, finished or not.

    Raises:
        DataError: no run folder, or a malformed file in it (with its name, and the line of a JSONL file).
    """
    run_dir = Path(run_dir)
    if not run_dir.is_dir():
        raise DataError(f"{run_dir} is no folder; expected a run folder, such as out/nano of `safekeel run`.")
    found = [*run_dir.glob(f"*/{MANIFEST}"), *run_dir.glob(f"rounds/*/*/{MANIFEST}")]
    manifests = {
        path.parent.relative_to(run_dir).as_posix(): read_manifest(path.parent)
        for path in sorted(found)
        if path.parent.name != REPORT
    }
    if not manifests and not (run_dir / "run.json").exists():
        raise DataError(
            f"{run_dir} holds no finished stage; expected a run folder, such as out/nano of `safekeel run`."
        )
    rounds = _typed(run_dir / ROUNDS, _json(run_dir / ROUNDS, []), _ROUNDS)
    select = run_dir / (Path(str(rounds[-1].get("model"))).parent if rounds else SELECT)
    return Evidence(
        run=str(_json(run_dir / "run.json", {}).get("run") or run_dir.resolve().name),
        run_dir=run_dir,
        before=read_evaluation(run_dir / BEFORE) if BEFORE in manifests else None,
        after=read_evaluation(run_dir / AFTER) if AFTER in manifests else None,
        families=_typed(run_dir / BEFORE / "families.json", _json(run_dir / BEFORE / "families.json", {}), _FAMILIES),
        selection=_typed(select / "candidates.json", _json(select / "candidates.json", {}), _SELECTION),
        select_config=_json(select / "config.json", {}),
        sft_metrics=_metrics(select.parent / "20-sft/metrics.jsonl"),
        rl_metrics=_metrics(run_dir / RL / "metrics.jsonl"),
        rl_config=_json(run_dir / RL / "config.json", {}),
        ablation=_typed(
            run_dir / "ablation.json", _json(run_dir / "ablation.json", {"rows": {}}).get("rows"), _ABLATION
        ),
        rounds=rounds,
        manifests=manifests,
    )


_ROUNDS = TypeAdapter(list[dict[str, Any]])
_FAMILIES = TypeAdapter(dict[str, Family])
_SELECTION = TypeAdapter(Selection)
_ABLATION = TypeAdapter(dict[str, dict[str, float | None]])
_SCORES = TypeAdapter(list[Score])


def read_evaluation(folder: Path) -> Evaluation:
    """One finished evaluation folder.

    Raises:
        DataError: a file is missing or malformed, or the files do not belong together.
    """
    prompts = read_jsonl(folder / "prompts.jsonl", Prompt)
    completions = read_jsonl(folder / "completions.jsonl", Completion)
    verdicts = read_jsonl(folder / "verdicts.jsonl", Verdict)
    if twice := [
        key for key, count in Counter((row.prompt_id, row.sample) for row in completions).items() if count > 1
    ]:
        raise DataError(f"{folder / 'completions.jsonl'}: {twice[0][0]!r} occurs twice; run the evaluation again.")
    known, answered = {prompt.id for prompt in prompts}, {row.prompt_id for row in completions}
    if strange := (known ^ answered) | {row.prompt_id for row in verdicts} - answered:
        raise DataError(
            f"{folder}: prompts, completions and verdicts do not belong together (such as {min(strange)!r}). "
            "Run the evaluation again, or `safekeel score` to judge its completions again."
        )
    if not (folder / "scores.json").exists():
        raise DataError(f"{folder / 'scores.json'} does not exist; `safekeel score {folder}` writes it.")
    items = {(item.prompt.id, item.completion.sample): item for item in join_items(prompts, completions, verdicts)}
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items.values():
        groups[item.prompt.id.split("/")[0]].append(item)
    scores = _typed(folder / "scores.json", _json(folder / "scores.json", []), _SCORES)
    judges = tuple(sorted({f"{row.judge} {row.judge_version}" for row in verdicts}))
    return Evaluation(completions[0].model if completions else "", scores, items, dict(groups), judges)


def _metrics(path: Path) -> list[dict[str, float]]:
    """Rows of a training log. What follows the last newline is half a row (a killed training) and left out."""
    if not path.exists():
        return []
    rows = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            row = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise DataError(f"{path}:{number}: malformed JSON ({error}); run the stage again.") from error
        if row is None:
            continue
        if not isinstance(row, dict) or not isinstance(row.get("step"), int):
            raise DataError(f"{path}:{number}: expected one JSON object with a step per line; run the stage again.")
        rows.append({key: value for key, value in row.items() if _is_number(value)})
    return rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _json(path: Path, default: Any) -> Any:
    """The JSON in a file; `default` where there is no file.

    Raises:
        DataError: malformed, or another kind (object, list) than the default.
    """
    if not path.exists():
        return default
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: malformed JSON ({error}); run the stage that writes it again.") from error
    if not isinstance(content, type(default)):
        raise DataError(f"{path}: expected a JSON {'object' if isinstance(default, dict) else 'list'} at the top.")
    return content


def _typed(path: Path, content: Any, kind: TypeAdapter[Any]) -> Any:
    try:
        return kind.validate_python(content)
    except ValidationError as error:
        raise DataError(f"{path}: {explain(error).splitlines()[0]} Run the stage that writes it again.") from error
