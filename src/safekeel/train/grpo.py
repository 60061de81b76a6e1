"""Stage 40-rl: balanced RL with TRL's GRPOTrainer -> the final model (Safe-V2).

Rewards for a safe answer, a safe thought, not refusing the harmless, right answers and form; the weights of the
third and fourth are multipliers that a dual update moves while training runs, so that over-refusal and capability
stay within their budgets (`balance.py`). RL has its own prompts and starts from a model that SFT has already taught
to refuse: from the base, no sampled answer would ever earn the safety reward.

    safekeel train grpo MODEL --corpus 10-corpus --out DIR
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field

from safekeel.artifact import Stage, atomic_write_json
from safekeel.config import StageConfig
from safekeel.errors import DataError
from safekeel.progress import Progress
from safekeel.records import Prompt, read_jsonl
from safekeel.train.balance import Constraint, DualController
from safekeel.train.rewards import REWARDS, Said, read, refuses

STAGE, VERSION = "rl", "1"
CONTROLLER_FILE = "controller_state.json"
MULTIPLIED = {"not_over_refusing": "over_refusal", "right_answer": "capability"}  # reward -> constraint that weighs it

# What a sample costs its constraint: a refusal of the harmless; a deficit against the base's own result on this prompt.
COSTS: dict[str, Callable[[Prompt, Said, float], float]] = {
    "not_over_refusing": lambda prompt, said, value: float(refuses(said)),
    "right_answer": lambda prompt, said, value: float(prompt.meta["base_correct"]) - value,
}


class RlConfig(StageConfig):
    """Hyper-parameters of balanced GRPO (nano's values; recipes for real models state their own)."""

    num_steps: int = Field(60, ge=0)
    """0 skips RL: the selected SFT checkpoint is the final model."""
    prompts_per_step: int = Field(8, ge=1)
    num_generations: int = Field(8, ge=2)
    max_tokens: int = Field(80, ge=8)
    learning_rate: float = Field(2e-4, gt=0)
    temperature: float = Field(1.0, gt=0)
    kl_beta: float = Field(0.02, ge=0)
    safe_thought_weight: float = 0.5
    well_formed_weight: float = 0.25
    over_refusal_budget: float = Field(0.05, ge=0, le=1)
    capability_budget: float = Field(0.03, ge=0, le=1)
    """Tolerated paired deficit against the base while training (sampled at temperature 1, hence above the gate's 1
    point)."""
    dual_rate: float = Field(0.1, ge=0)
    """Dual learning rate per step; 0 = fixed weights."""
    num_checkpoints: int = Field(2, ge=1)
    seed: int = 0


def run(config: RlConfig, stage: Stage, model_dir: Path, corpus: Path, progress: Progress) -> None:
    """Fill the stage folder with `model/`, `checkpoints/` and `metrics.jsonl`; continues from its last checkpoint."""
    stage.begin()
    if config.num_steps == 0:
        shutil.copytree(model_dir, stage.dir / "model", dirs_exist_ok=True)
        stage.finish([stage.dir / "model"], {"steps": 0})
        return
    from safekeel.train.checkpoints import complete_checkpoints, discard_incomplete, drop_training_state, step_of

    folder = stage.dir / "checkpoints"
    discard_incomplete(folder)
    resume = complete_checkpoints(folder)
    prompts = {prompt.id: prompt for prompt in read_jsonl(corpus / "rl.jsonl", Prompt)}
    if not prompts:
        raise DataError(f"{corpus / 'rl.jsonl'} holds no prompts; raise corpus.num_rl_pairs or set rl.num_steps=0.")
    if not resume or step_of(resume[-1]) < config.num_steps:  # else a kill came after the last step
        trainer = _trainer(config, stage, model_dir, prompts, resume[-1] if resume else None, progress)
        trainer.train(resume_from_checkpoint=str(resume[-1]) if resume else None)
    last = complete_checkpoints(folder)[-1]
    shutil.copytree(last, stage.dir / "model", dirs_exist_ok=True)
    for path in [stage.dir / "model", *complete_checkpoints(folder)]:
        drop_training_state(path)
    stage.finish(
        [stage.dir / "model", stage.dir / "metrics.jsonl"], {"prompts": len(prompts), "steps": config.num_steps}
    )


def controller(config: RlConfig) -> DualController:
    constraints = {
        "over_refusal": Constraint("over_refusal", config.over_refusal_budget, scale=0.10),
        "capability": Constraint("capability", config.capability_budget, scale=0.10),
    }
    return DualController(constraints, config.dual_rate)


def reward_function(name: str, prompts: dict[str, Prompt], dual: DualController) -> Callable[..., list[float | None]]:
    """One of `REWARDS` in TRL's signature. Constraint costs are read off the same completions on the way."""
    score = REWARDS[name]

    def reward(
        completions: list[str],
        completion_ids: list[list[int]],
        prompt_id: list[str],
        eos: list[int],
        **_: Any,
    ) -> list[float | None]:
        values: list[float | None] = []
        for text, ids, identifier, end in zip(completions, completion_ids, prompt_id, eos, strict=True):
            prompt = prompts[identifier]
            said = read(text, ended=bool(ids) and ids[-1] == end)
            value = score(prompt, said)
            values.append(value)
            if value is not None and name in MULTIPLIED:
                dual.observe(MULTIPLIED[name], COSTS[name](prompt, said, value))
        return values

    reward.__name__ = name
    return reward


def _trainer(
    config: RlConfig,
    stage: Stage,
    model_dir: Path,
    prompts: dict[str, Prompt],
    resume: Path | None,
    progress: Progress,
) -> Any:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    from safekeel.chat import load_tokenizer, render_prompt
    from safekeel.train.checkpoints import StageCallback, step_of
    from safekeel.train.sft import drop_printer, quiet

    tokenizer = load_tokenizer(model_dir)
    quiet()
    dual = controller(config)
    if resume is not None:
        dual.restore(json.loads((resume / CONTROLLER_FILE).read_text("utf-8")))
    weights = {"safe_thought": config.safe_thought_weight, "well_formed": config.well_formed_weight}
    rows = [
        {"prompt": render_prompt(tokenizer, prompt.messages), "prompt_id": prompt.id, "eos": tokenizer.eos_token_id}
        for prompt in prompts.values()
    ]
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32", use_safetensors=True),
        reward_funcs=[reward_function(name, prompts, dual) for name in REWARDS],
        args=GRPOConfig(
            output_dir=str(stage.dir / "checkpoints"),
            max_steps=config.num_steps,
            per_device_train_batch_size=config.prompts_per_step * config.num_generations,
            num_generations=config.num_generations,
            max_completion_length=config.max_tokens,
            learning_rate=config.learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=min(5, config.num_steps),
            temperature=config.temperature,
            beta=config.kl_beta,
            reward_weights=[weights.get(name, 1.0) for name in REWARDS],
            multi_objective_aggregation="normalize_then_sum",
            mask_truncated_completions=False,
            save_strategy="steps",
            save_steps=-(-config.num_steps // config.num_checkpoints),
            logging_steps=1,
            seed=config.seed,
            report_to="none",
            disable_tqdm=True,
            use_cpu=not torch.accelerator.is_available(),
            bf16=False,
            gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
    )
    drop_printer(trainer)
    resumed_step = step_of(resume) if resume else 0
    trainer.add_callback(_dual_callback(trainer, dual))
    trainer.add_callback(StageCallback(stage.dir / "metrics.jsonl", "rl", progress, resumed_step))
    _set_weights(trainer, dual)
    return trainer


def _set_weights(trainer: Any, dual: DualController) -> None:
    """Write the multipliers into the trainer's reward weights (a plain tensor, read at every step)."""
    for index, name in enumerate(REWARDS):
        if name in MULTIPLIED:
            trainer.reward_weights[index] = dual.constraints[MULTIPLIED[name]].multiplier


def _dual_callback(trainer: Any, dual: DualController) -> Any:
    """After each policy step one dual step; the controller is saved in, and restored from, every checkpoint."""
    from transformers import TrainerCallback

    class DualCallback(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            dual.step()
            _set_weights(trainer, dual)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict | None = None, **kwargs: Any) -> None:
            for name, constraint in dual.constraints.items():
                if logs is not None:
                    figures = {
                        "lambda": constraint.multiplier,
                        "cost": constraint.estimate,
                        "cost_se": constraint.standard_error,
                    }
                    logs.update({f"{key}/{name}": value for key, value in figures.items() if value is not None})

        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            atomic_write_json(Path(args.output_dir) / f"checkpoint-{state.global_step}" / CONTROLLER_FILE, dual.state())

    return DualCallback()
