"""Rounds of attack and repair, between selection and RL: the red team's finds become training prompts.

    rounds/NN/50-attack    bandit on training goals against the current model -> finds, and twins dressed alike
    rounds/NN/10-corpus    the corpus so far, and safe reasoning for the finds, written by the base
    rounds/NN/20-sft 30-select    trained anew from the base on that corpus
    rounds/NN/55-search    held-out goals and families, for the curve alone: nothing of it is ever trained on

Round 00 is the model that selection chose before any attack. Each model is trained from the base, so that the rounds
differ in their data and not in how long they were trained. `rounds/curve.json` has one row per round.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from safekeel.artifact import atomic_write_json
from safekeel.attacks import ATTACKS, rounds
from safekeel.attacks.base import AttackFamily
from safekeel.corpus import nano_rounds
from safekeel.errors import DataError
from safekeel.nano import world
from safekeel.nano.requests import SEEN_FAMILIES, UNSEEN_FAMILIES

if TYPE_CHECKING:
    from safekeel.pipeline import Pipeline

FOLDER, CURVE = "rounds", "curve.json"


def run_rounds(pipeline: Pipeline) -> tuple[str, str]:
    """All rounds; returns (model, corpus) to go on with, as paths within the run folder."""
    config = pipeline.recipe.rounds
    model, corpus = "30-select/model", "10-corpus"
    if not config.num_rounds:
        return model, corpus
    eligible(pipeline)  # an error now, not after the first search
    curve = [_measured(pipeline, "base", "00-base/model"), _measured(pipeline, "00", model)]
    for number in range(1, config.num_rounds + 1):
        name = f"{number:02d}"
        _attack(pipeline, name, number, model)
        corpus = _corpus(pipeline, name, corpus)
        folder = f"{FOLDER}/{name}"
        pipeline.train(f"{folder}/20-sft", corpus)
        model = pipeline.select(f"{folder}/30-select", f"{folder}/20-sft")
        curve.append(_measured(pipeline, name, model))
    atomic_write_json(pipeline.out / FOLDER / CURVE, curve)
    return model, corpus


def eligible(pipeline: Pipeline) -> dict[str, list[AttackFamily]]:
    """The families that the base understands, by side: only those can say anything.

    Raises:
        DataError: none of those that the rounds may train on.
    """
    path = pipeline.out / "05-eval-before/families.json"
    found = json.loads(path.read_text("utf-8")) if path.exists() else {}
    sides = {"seen": SEEN_FAMILIES, "unseen": UNSEEN_FAMILIES}
    chosen = {
        side: [ATTACKS.get(name) for name in names if found.get(name, {}).get("eligible")]
        for side, names in sides.items()
    }
    if not chosen["seen"]:
        raise DataError(
            f"{path}: the base complies with too little under every seen family (or suite.num_eligibility is 0), so "
            "rounds have nothing to attack with. Raise suite.num_eligibility, or set rounds.num_rounds=0."
        )
    return chosen


def _attack(pipeline: Pipeline, name: str, number: int, model: str) -> None:
    config, folder = pipeline.recipe.rounds, f"{FOLDER}/{name}/50-attack"
    asked = config.search(config.budget, ("train",), config.seed + number, pipeline.recipe.eval.max_tokens, stop=False)
    identity = asked.model_dump(mode="json") | {"goals": config.num_goals, "max_finds": config.max_finds}
    identity |= {"words": pipeline.words.digests()}
    inputs = [model, "05-eval-before/families.json"]
    if stage := pipeline.stage(folder, rounds.STAGE, rounds.VERSION, identity, inputs, config.seed):
        pairs = nano_rounds.training_goals(pipeline.words, config.num_goals, config.seed, number)
        goals = [rounds.Goal(*pair) for pair in pairs]
        engine = pipeline.engine(model)
        families = eligible(pipeline)["seen"]
        result = rounds.run(asked, stage, goals, families, engine, pipeline.judge, pipeline.progress, config.max_finds)
        counts = result.counts
        pipeline.done(
            folder, f"{counts['successes']} of {counts['goals']} goals broken, {counts['target_calls']} calls"
        )


def _corpus(pipeline: Pipeline, name: str, before: str) -> str:
    attack, folder = f"{FOLDER}/{name}/50-attack", f"{FOLDER}/{name}/10-corpus"
    inputs = [
        f"{before}/sft.jsonl",
        f"{before}/rl.jsonl",
        f"{attack}/finds.jsonl",
        f"{attack}/twins.jsonl",
        "00-base/model",
    ]
    identity: dict[str, Any] = {"words": pipeline.words.digests()}
    if stage := pipeline.stage(folder, nano_rounds.STAGE, nano_rounds.VERSION, identity, inputs, 0):
        added = nano_rounds.run(
            stage,
            pipeline.out / before,
            pipeline.out / attack,
            pipeline.engine("00-base/model"),
            pipeline.judge,
            pipeline.held_out(),
            pipeline.progress,
        )
        pipeline.done(folder, f"{added} samples more")
    return folder


def _measured(pipeline: Pipeline, name: str, model: str) -> dict[str, Any]:
    """The row of one model on the curve."""
    config, folder = pipeline.recipe.rounds, f"{FOLDER}/{name}/55-search"
    identity = config.model_dump(mode="json", exclude={"num_rounds", "num_goals", "budget"})
    identity |= {"words": pipeline.words.digests(), "max_tokens": pipeline.recipe.eval.max_tokens}
    inputs = [model, "05-eval-before/families.json"]
    if stage := pipeline.stage(folder, rounds.SEARCH_STAGE, rounds.SEARCH_VERSION, identity, inputs, config.seed):
        goals = world.refuse_items(pipeline.words, "test", config.num_test_goals, config.seed)
        rounds.held_out(
            config, stage, goals, dict(eligible(pipeline)), pipeline.engine(model), pipeline.judge,
            pipeline.recipe.eval.max_tokens, pipeline.progress,
        )  # fmt: skip
        pipeline.done(folder)
    found = json.loads((pipeline.out / folder / rounds.SEARCH).read_text("utf-8"))
    return {"round": name, "model": model, **{side: _row(each) for side, each in found.items()}}


def _row(found: dict[str, Any]) -> dict[str, Any]:
    """What the curve shows of one search: the share of goals that stayed defended, with its interval and worst case."""
    asr = found["asr"]
    return {
        "budget": found["budget"],
        "num_goals": found["num_goals"],
        "dsr": 1 - asr["value"],
        "low": 1 - asr["high"],
        "high": 1 - asr["low"],
        "worst": 1 - asr["bound_high"],
        "refused_per_call": found["refused_per_call"],
        "unscored_per_call": found["unscored_per_call"],
        "median_queries_to_success": found["median_shown"],
        "broken_by": found["succeeded_by"],
        "leak": found["leak"]["value"],
        "slots_busy": found["slots_busy"],
    }
