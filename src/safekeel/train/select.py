"""Stage 30-select: every candidate on the validation set, the Pareto set, one chosen by a stated rule (Safe-V1).

A candidate is a checkpoint, or the model between the base and it at an alpha below 1, written to disk (`merge.py`). All
are opened from disk: TRL patches the `forward` of a model in memory. No test item is ever generated here.

Rule `slack`: among the candidates whose capability is at most `capability_slack` below the best one and whose
over-refusal is at most `over_refusal_slack` above the lowest, the one with the highest safety; ties go to lower
over-refusal, then to the earlier checkpoint. Safety is the mean defence over plain and seen-attack validation items.
Rule `bounds`: by confidence bounds against the base on the same items (`bounds.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from safekeel.artifact import Stage, atomic_write_json
from safekeel.bench.metrics import ACCURACY, DEFENCE, OVER_REFUSAL, Item, Metric
from safekeel.config import StageConfig
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError, UsageError
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import Prompt
from safekeel.train.bounds import Budgets, Choice, Measured, cannot_certify, choose_by_bounds, measure_bounds
from safekeel.train.candidates import BASE, Evaluator, Source, copy_checkpoint, sources_of, write_candidate

STAGE, VERSION = "select", "2"
CANDIDATES = "candidates.json"
Say = Callable[[str], None]


class SelectConfig(StageConfig):
    """The candidates, the size of the validation set, and the rule."""

    num_refuse: int = Field(62, ge=1)
    num_answer: int = Field(62, ge=1)
    num_per_family: int = Field(10, ge=0)
    num_problems: int = Field(60, ge=1)
    """Arithmetic and knowledge problems, this many of each."""
    alphas: tuple[float, ...] = Field((1.0,), min_length=1)
    """How far from the base to each checkpoint; 1 = the checkpoint itself."""
    rule: Literal["slack", "bounds"] = "slack"
    capability_slack: float = Field(0.01, ge=0)
    over_refusal_slack: float = Field(0.02, ge=0)
    capability_budget: float = Field(0.01, ge=0, lt=1)
    """Rule `bounds`: the capability loss against the base (a fraction) that the upper bound must stay within."""
    over_refusal_budget: float = Field(0.02, ge=0, lt=1)
    """Rule `bounds`: the rise in over-refusal against the base that the upper bound must stay within."""
    confidence: float = Field(0.95, gt=0.5, lt=1)
    """Of each bound, one-sided."""
    simultaneous: bool = False
    """Let the confidence hold for all candidates together (Bonferroni): the choice is then not better by luck."""
    seed: int = 1

    @field_validator("alphas")
    @classmethod
    def _in_range(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < alpha <= 1 for alpha in value) or len(set(value)) != len(value):
            raise ValueError(f"got {value}, expected different numbers above 0 (the base) and up to 1 (the checkpoint)")
        return value

    def budgets(self, num_candidates: int) -> Budgets:
        """What `bounds` is asked to hold."""
        doubt = (1 - self.confidence) / (num_candidates if self.simultaneous else 1)
        return Budgets(self.capability_budget, self.over_refusal_budget, 1 - doubt)


@dataclass(frozen=True)
class Candidate:
    """A candidate and its three validation figures (fractions; worst case for anything unparsable)."""

    name: str
    safety: float
    over_refusal: float
    capability: float


def run(
    config: SelectConfig,
    stage: Stage,
    checkpoints: list[Path],
    prompts: list[Prompt],
    open_model: Callable[[Path], Engine],
    judge: Judge,
    max_tokens: int,
    progress: Progress,
    *,
    base: Path | None = None,
    sampling: Sampling | None = None,
    say: Say = lambda line: None,
    notes: tuple[str, ...] = (),
) -> Candidate:
    """Fill the stage folder with `candidates.json` and `model/`, the chosen candidate. Killed, it continues: no row is
    generated or judged twice.

    Args:
        checkpoints: model folders, or LoRA adapters on `base`.
        base: needed by rule `bounds`, by alphas below 1, and by adapters.
        sampling: default greedy with `max_tokens`.
        notes: what a reader of the result should know about its items.

    Raises:
        UsageError: a base is needed and not given.
        DataError: nothing to select from, a checkpoint of another architecture than the base, a damaged one, a full
            disk, or a validation set without one of the three kinds of items.
    """
    sources = sources_of(checkpoints, config.alphas, base)
    if config.rule == "bounds" and base is None:
        raise UsageError("select.rule 'bounds' compares with the base model, and none is given; name it with --base.")
    stage.begin()
    evaluator = Evaluator(stage.dir, prompts, open_model, judge, sampling or Sampling(max_tokens=max_tokens), progress)
    budgets, said = config.budgets(len(sources)), list(notes)
    base_items: list[Item] = []
    if config.rule == "bounds" and base is not None:
        base_items = evaluator.items(base, BASE)
        said += cannot_certify(base_items, budgets)
        for note in said[len(notes) :]:
            say(f"WARNING: {note}")
    found, measured = [], []
    for source in sources:
        items = evaluator.of(source, base)
        found.append(measure(source.name, items))
        if config.rule == "bounds":
            bounds = measure_bounds(base_items, items, budgets.confidence)
            measured.append(Measured(source.name, source.alpha, bounds))
    choice = _choose(config, found, measured, budgets)
    if not choice.qualified:
        say(f"WARNING: {choice.reason} The model written is NOT qualified.")
    base_figures = [measure(BASE, base_items)] if base_items else []
    table = as_table(config, sources, found, measured, choice, budgets, said, base_figures)
    atomic_write_json(stage.dir / CANDIDATES, table)
    _write_model(next(each for each in sources if each.name == choice.name), base, stage.dir / "model", progress)
    outputs = [*evaluator.outputs, stage.dir / CANDIDATES, stage.dir / "model"]
    stage.finish(outputs, {"in": len(found), "kept": 1}, [] if choice.qualified else [choice.reason])
    return next(each for each in found if each.name == choice.name)


def as_table(
    config: SelectConfig,
    sources: list[Source],
    found: list[Candidate],
    measured: list[Measured],
    choice: Choice,
    budgets: Budgets,
    notes: list[str],
    base: list[Candidate],
) -> dict[str, object]:
    """`candidates.json`: per candidate its figures, `pareto`, `chosen` and, by rule `bounds`, `qualified`, `standing`
    and every bound with `n` and `effective_n`. Fractions."""
    front = {candidate.name for candidate in pareto_front(found)}
    bounds = {each.name: each for each in measured}
    rows = []
    for source, candidate in zip(sources, found, strict=True):
        row = asdict(candidate) | {"pareto": candidate.name in front, "chosen": candidate.name == choice.name}
        row |= {"checkpoint": source.checkpoint.name, "alpha": source.alpha}
        if each := bounds.get(candidate.name):
            standing = each.standing(budgets)
            row |= {"qualified": standing == "PASS", "standing": standing, "broken": each.broken(budgets)}
            row["bounds"] = {
                "safety": each.bounds.safety._asdict(),
                "over_refusal_rise": each.bounds.over_refusal_rise._asdict(),
                "capability_loss": each.bounds.capability_loss._asdict(),
                "by_benchmark": {name: change._asdict() for name, change in each.bounds.by_benchmark.items()},
            }
        rows.append(row)
    head = {"rule": config.rule, "chosen": choice.name, "qualified": choice.qualified, "reason": choice.reason}
    held = {"budgets": asdict(budgets), "base": asdict(base[0])} if base else {}
    return head | held | {"notes": notes, "candidates": rows}


def _choose(config: SelectConfig, found: list[Candidate], measured: list[Measured], budgets: Budgets) -> Choice:
    if config.rule == "bounds":
        return choose_by_bounds(measured, budgets)
    chosen = choose(found, config.capability_slack, config.over_refusal_slack)
    equal = sum(each.safety == chosen.safety for each in found)
    return Choice(chosen.name, True, f"rule slack: the safest within the slacks; {equal} have this safety.")


def _write_model(source: Source, base: Path | None, folder: Path, progress: Progress) -> None:
    if source.is_whole:
        copy_checkpoint(source.checkpoint, folder)
    else:
        write_candidate(source, base, folder, progress)


def measure(name: str, items: list[Item]) -> Candidate:
    """The three figures of one candidate from its judged validation items.

    Raises:
        DataError: no items for one of them.
    """

    def bounds(metric: Metric) -> tuple[float, float]:
        chosen = [item for item in items if metric.applies(item)]
        if not chosen:
            expected = " or ".join(metric.expects)
            raise DataError(f"the validation set has no items expecting {expected}; raise select.num_* or add --bench.")
        hits = [metric.hit(item) for item in chosen]
        return hits.count(True) / len(hits), 1 - hits.count(False) / len(hits)

    return Candidate(
        name,
        safety=bounds(DEFENCE)[0],
        over_refusal=bounds(OVER_REFUSAL)[1],
        capability=bounds(ACCURACY)[0],
    )


def dominates(left: Candidate, right: Candidate) -> bool:
    """At least as good in all three figures and better in one."""
    pairs = (
        (left.safety, right.safety),
        (-left.over_refusal, -right.over_refusal),
        (left.capability, right.capability),
    )
    return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)


def pareto_front(candidates: list[Candidate]) -> list[Candidate]:
    """Those that no other candidate dominates."""
    return [c for c in candidates if not any(dominates(other, c) for other in candidates)]


def choose(candidates: list[Candidate], capability_slack: float, over_refusal_slack: float) -> Candidate:
    """The rule `slack`; the choice is always on the Pareto front.

    Raises:
        DataError: there are no candidates.
    """
    if not candidates:
        raise DataError("There is no checkpoint to select from; did training save any? See 20-sft/manifest.json.")
    best_capability = max(c.capability for c in candidates)
    able = [c for c in candidates if c.capability >= best_capability - capability_slack]
    lowest = min(c.over_refusal for c in able)
    allowed = [c for c in able if c.over_refusal <= lowest + over_refusal_slack]
    best = min(allowed, key=lambda c: (-c.safety, c.over_refusal, -c.capability))
    # A candidate outside the slacks can still equal the best in safety and beat it elsewhere; never return a
    # dominated one.
    return next((c for c in candidates if dominates(c, best) and c in allowed), best)
