"""Stage 40-rl: constrained RL with TRL's GRPOTrainer -> the final model (Safe-V2).

Rewards for a safe answer, a safe thought, not refusing the harmless, right answers and form. One of them is the goal;
the weights of the others are multipliers that a dual update moves while training runs, so that their costs stay within
the budgets (`balance.py`). RL has its own prompts and starts from a model that SFT has already taught to refuse: from
the base, no sampled answer would ever earn the safety reward.

    safekeel train grpo MODEL --corpus 10-corpus --out DIR

`metrics.jsonl` has, per step, TRL's figures and `lambda/NAME`, `cost/NAME`, `cost_se/NAME`, `cost_samples/NAME`,
`stuck/NAME`, `kl`, `base_kl`, `completions/clipped_ratio`, `judge_unscored`, `time/generate` and `time/rewards`
(seconds).
"""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage
from safekeel.errors import DataError
from safekeel.files import read_json
from safekeel.progress import Progress
from safekeel.records import Prompt, read_jsonl
from safekeel.train.balance import DualController
from safekeel.train.disk import CONTINUE, no_space
from safekeel.train.rewards import CueRewards, RewardSet
from safekeel.train.rl_config import RlConfig
from safekeel.train.rl_monitor import Monitor, monitor
from safekeel.train.rl_scoring import CONSTRAINED, DOMAIN_OF, Scorer, base_pass_rate, controller, domain, weights

__all__ = ["STAGE", "VERSION", "RlConfig", "run"]

STAGE, VERSION = "rl", "2"
CONTROLLER_FILE = "controller_state.json"


def run(
    config: RlConfig,
    stage: Stage,
    model_dir: Path,
    corpus: Path,
    progress: Progress,
    base_dir: Path | None = None,
    rewards: RewardSet | None = None,
) -> None:
    """Fill the stage folder with `model/`, `checkpoints/` and `metrics.jsonl`; continues from its last checkpoint.

    Args:
        base_dir: the model before all training; the KL to it is logged, and `base_samples` needs it.
        rewards: instead of those that the configuration names.

    Raises:
        DataError: no prompts for the goal, problems without the base's result, prompts too long, disk full.
        EngineError: a loss that is not a number; the reward's judge cannot be used.
        UsageError: vLLM without CUDA.
    """
    stage.begin()
    if config.num_steps == 0:
        shutil.copytree(model_dir, stage.dir / "model", dirs_exist_ok=True)
        stage.finish([stage.dir / "model"], {"steps": 0})
        return
    from safekeel.chat import load_tokenizer
    from safekeel.train.rl_trainer import vllm_options
    from safekeel.train.text import check_trainable

    vllm_options(config)  # before anything is generated
    tokenizer = load_tokenizer(model_dir)
    notes = [*check_trainable(tokenizer), *_unmeasured(config, base_dir)]
    chosen = rewards or open_rewards(config)
    try:
        prompts = _prompts(config, stage, corpus, base_dir, chosen, progress)
        watch = _train(config, stage, model_dir, base_dir, tokenizer, prompts, chosen, progress)
    finally:
        chosen.close()
    _finish(config, stage, model_dir, prompts, watch, chosen, notes)


def _unmeasured(config: RlConfig, base_dir: Path | None) -> list[str]:
    """Limits that cannot stop anything, because their figure is not measured."""
    found = []
    if config.max_kl is not None and config.kl_beta == 0:
        found.append("the KL to the start is not measured with rl.kl_beta = 0, so rl.max_kl stops nothing")
    if config.max_base_kl is not None and base_dir is None:
        found.append("the base model was not given, so rl.max_base_kl stops nothing")
    return found


def open_rewards(config: RlConfig) -> RewardSet:
    """The rewards that a configuration names."""
    if config.rewards == "nano":
        return CueRewards()
    from safekeel.corpus.synthesis.replay import Verifier
    from safekeel.judges.open import open_judge
    from safekeel.train.rl_judged import JudgedRewards

    judge = open_judge(
        config.judge,
        base_urls=config.judge_base_urls,
        api_key_env=config.judge_api_key_env,
        concurrency=config.judge_concurrency,
    )
    return JudgedRewards(judge, Verifier())


def _prompts(
    config: RlConfig, stage: Stage, corpus: Path, base_dir: Path | None, rewards: RewardSet, progress: Progress
) -> dict[str, Prompt]:
    """The pool by id, with the base's results; checked before anything is trained."""
    path = corpus / "rl.jsonl"
    pool = read_jsonl(path, Prompt)
    if not pool:
        raise DataError(f"{path} holds no prompts; raise corpus.num_rl_pairs or set rl.num_steps=0.")
    goal = DOMAIN_OF[config.objective]
    if not any(domain(prompt) == goal for prompt in pool):
        raise DataError(
            f"{path} holds no {goal} prompts, so there is nothing to maximise with rl.objective = {config.objective}; "
            "add some, choose the other objective, or set rl.num_steps=0."
        )
    if config.base_samples:
        if base_dir is None:
            raise DataError("rl.base_samples needs the base model; run the whole recipe, or set it to 0.")
        from safekeel.train.rl_base import measure

        pool = measure(pool, base_dir, config, rewards, stage.dir, progress)
    if "capability" in CONSTRAINED[config.objective]:
        for prompt in pool:
            if domain(prompt) == "problem":
                base_pass_rate(prompt)
    return {prompt.id: prompt for prompt in pool}


def _train(
    config: RlConfig,
    stage: Stage,
    model_dir: Path,
    base_dir: Path | None,
    tokenizer: Any,
    prompts: dict[str, Prompt],
    rewards: RewardSet,
    progress: Progress,
) -> Monitor:
    """Train from the last complete checkpoint, or from the start; returns the monitor, which knows of an early stop."""
    from safekeel.train.checkpoints import StageCallback, complete_checkpoints, discard_incomplete, step_of
    from safekeel.train.rl_callbacks import ControlCallback

    folder = stage.dir / "checkpoints"
    discard_incomplete(folder)
    done = complete_checkpoints(folder)
    resume = done[-1] if done else None
    resumed_step = step_of(resume) if resume else 0
    dual, watch = controller(config), monitor(config)
    if resumed_step >= config.num_steps:  # a kill came after the last step
        return watch
    if resume is not None:
        _restore(resume, dual, watch)
    trainer = _trainer(config, model_dir, base_dir, tokenizer, prompts, rewards, folder)
    trainer.add_callback(ControlCallback(config, trainer, dual, watch, CONTROLLER_FILE))
    trainer.add_callback(StageCallback(stage.dir / "metrics.jsonl", "rl", progress, resumed_step))
    trainer.reward_weights.copy_(trainer.reward_weights.new_tensor(weights(config, dual)))
    with no_space(folder, CONTINUE):
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return watch


def _trainer(
    config: RlConfig,
    model_dir: Path,
    base_dir: Path | None,
    tokenizer: Any,
    prompts: dict[str, Prompt],
    rewards: RewardSet,
    folder: Path,
) -> Any:
    from safekeel.chat import think_state
    from safekeel.train.rl_trainer import build_trainer, check_lengths, prompt_rows
    from safekeel.train.sft import drop_printer, quiet

    check_lengths(tokenizer, list(prompts.values()), model_dir, config.max_tokens)
    states = {row["prompt_id"]: think_state(row["prompt"]) for row in prompt_rows(tokenizer, list(prompts.values()))}
    scorer = Scorer(rewards, prompts, states, tokenizer, config.num_generations, CONSTRAINED[config.objective])
    quiet()
    trainer = build_trainer(config, model_dir, base_dir, tokenizer, scorer, folder)
    drop_printer(trainer)
    return trainer


def _restore(checkpoint: Path, dual: DualController, watch: Monitor) -> None:
    path = checkpoint / CONTROLLER_FILE
    saved = read_json(path)
    if not isinstance(saved, dict) or not {"dual", "monitor"} <= set(saved):
        raise DataError(
            f"{path} does not hold the multipliers of this stage; empty the stage's folder, RL then starts anew."
        )
    dual.restore(saved["dual"])
    watch.restore(saved["monitor"])


def _finish(
    config: RlConfig,
    stage: Stage,
    model_dir: Path,
    prompts: dict[str, Prompt],
    watch: Monitor,
    rewards: RewardSet,
    notes: list[str],
) -> None:
    """The last complete checkpoint is the result; an early stop, and whatever was not enforced, is a warning."""
    from safekeel.train.checkpoints import complete_checkpoints, drop_training_state, step_of

    checkpoints = complete_checkpoints(stage.dir / "checkpoints")
    steps = step_of(checkpoints[-1]) if checkpoints else 0
    shutil.copytree(checkpoints[-1] if checkpoints else model_dir, stage.dir / "model", dirs_exist_ok=True)
    for path in [stage.dir / "model", *checkpoints]:
        drop_training_state(path)
    pool = Counter(domain(prompt) for prompt in prompts.values())
    warnings = notes + [
        f"no {DOMAIN_OF[name]} prompts in the pool: the constraint on {name} was not enforced"
        for name in CONSTRAINED[config.objective]
        if not pool[DOMAIN_OF[name]]
    ]
    if watch.reason:
        kept = f"the checkpoint of step {steps}" if checkpoints else "the model that RL started from"
        warnings.append(f"RL stopped at step {watch.stopped_at} of {config.num_steps}: {watch.reason}. Kept is {kept}.")
    counts: dict[str, Any] = {"prompts": len(prompts), "steps": steps, "domains": dict(sorted(pool.items()))}
    if (judge := getattr(rewards, "judge", None)) is not None:
        counts["reward_judge"] = f"{judge.name} {judge.version}"
    stage.finish([stage.dir / "model", stage.dir / "metrics.jsonl"], counts, warnings)
