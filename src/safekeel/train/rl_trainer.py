"""TRL's GRPOTrainer, told what to do: exact prompt tokens, timed parts, KL to the base; its loss is untouched.

What TRL 1.16 computes from rewards r[i, k] of completion i in group g (proved in `test_rl_trainer.py`), with
`normalize_then_sum`:

    z[i, k] = (r[i, k] - mean_g r[., k]) / (std_g r[., k] + 1e-4)      over the completions that have the reward
    s[i]    = sum_k weight[k] * z[i, k]                                a reward of None adds nothing
    A[i]    = (s[i] - mean s) / (std s + 1e-4)                         over the whole batch of all processes

So only the ratios of the weights matter, and a prompt's completions are compared with each other alone: no prompt
pays for another one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from safekeel.chat import prompt_ids, thinking_prompt
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.records import Prompt
from safekeel.train.loading import load_model
from safekeel.train.rewards import NAMES
from safekeel.train.rl_config import RlConfig
from safekeel.train.rl_monitor import no_numbers
from safekeel.train.rl_schedule import schedule
from safekeel.train.rl_scoring import Scorer, domain


class SafeKeelGrpoTrainer(GRPOTrainer):
    """Three seams of the stock trainer; all arithmetic is its own."""

    base_model: Any = None
    """A frozen base to measure drift from, or None."""
    base_kl_every: int = 1
    scorer: Scorer

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Prompts are rendered text; TRL would add a second BOS to a template that writes its own."""
        return [prompt_ids(self.processing_class, prompt) for prompt in prompts], None, {}

    def _generate(self, prompts: list[str]) -> Any:
        started = time.perf_counter()
        try:
            found = super()._generate(prompts)
        except RuntimeError as error:
            if "probability tensor" not in str(error):
                raise
            raise EngineError(no_numbers(self.state.global_step + 1, "the model's output is not a number")) from error
        self._metrics["train"]["time/generate"].append(time.perf_counter() - started)
        return found

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self._metrics["train"]["time/rewards"].append(self.scorer.seconds)
        self._metrics["train"]["judge_unscored"].append(self.scorer.rewards.num_unscored / len(inputs))
        for name, share in self.scorer.stuck.items():
            self._metrics["train"][name].append(share)
        if self.base_model is not None and self.state.global_step % self.base_kl_every == 0:
            self._log_base_kl(inputs, found)
        return found

    @torch.no_grad()
    def _log_base_kl(self, inputs: list[dict[str, Any]], batch: dict[str, Any]) -> None:
        """`base_kl` and `base_kl/problem`: mean KL(policy || base) per token on these rollouts, in nats, by TRL's own
        estimator exp(d) - d - 1 with d = log base - log policy (Schulman's k3)."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        keep = batch["completion_ids"].size(1)
        size = self.args.per_device_train_batch_size
        policy, base = (
            self._get_per_token_logps_and_entropies(model, ids, mask, keep, batch_size=size)[0]
            for model in (self.model, self.base_model)
        )
        terms = torch.exp(base - policy) - (base - policy) - 1
        tokens = batch["completion_mask"].float()
        problem = torch.tensor([row["domain"] == "problem" for row in inputs], device=tokens.device).unsqueeze(1)
        for name, chosen in (("base_kl", tokens), ("base_kl/problem", tokens * problem)):
            total, count = self.accelerator.reduce(torch.stack([(terms * chosen).sum(), chosen.sum()]), "sum")
            if count > 0:
                self._metrics["train"][name].append((total / count).item())


def build_trainer(
    config: RlConfig, model_dir: Path, base_dir: Path | None, tokenizer: Any, scorer: Scorer, folder: Path
) -> SafeKeelGrpoTrainer:
    """The trainer, with `scorer.eos_ids` set from the model.

    Args:
        base_dir: measures the KL to the base; None, or the start itself, leaves that to TRL's `kl`.
        folder: of the checkpoints.
    """
    args = trl_config(config, folder)
    rollouts = -(-config.num_steps // config.num_iterations)
    order = schedule(len(scorer.prompts), rollouts * config.prompts_per_step * args.world_size, config.seed)
    rows = prompt_rows(tokenizer, list(scorer.prompts.values()))
    trainer = SafeKeelGrpoTrainer(
        model=_load(model_dir),
        reward_funcs=scorer.functions(),
        args=args,
        train_dataset=Dataset.from_list(rows).select(order),
        processing_class=tokenizer,
    )
    trainer.scorer, trainer.base_kl_every = scorer, config.base_kl_every
    scorer.eos_ids = set(trainer.eos_token_ids)
    if base_dir is not None and base_dir.resolve() != model_dir.resolve():
        base = _load(base_dir).to(trainer.accelerator.device).eval().requires_grad_(False)
        add_fused_lm_head(base, temperature=config.temperature)  # as TRL prepares its own reference
        trainer.base_model = base
    return trainer


def prompt_rows(tokenizer: Any, prompts: list[Prompt]) -> list[dict[str, Any]]:
    """What the trainer sees of each prompt: its rendered text, its id and its domain."""
    return [
        {"prompt": thinking_prompt(tokenizer, prompt.messages), "prompt_id": prompt.id, "domain": domain(prompt)}
        for prompt in prompts
    ]


def check_lengths(tokenizer: Any, prompts: list[Prompt], model_dir: Path, max_tokens: int) -> None:
    """Raises DataError where prompt and completion together do not fit the model's window (naming the longest)."""
    from transformers import AutoConfig

    window = getattr(AutoConfig.from_pretrained(model_dir).get_text_config(), "max_position_embeddings", None)
    if window is None:
        return
    lengths = {row["prompt_id"]: len(prompt_ids(tokenizer, row["prompt"])) for row in prompt_rows(tokenizer, prompts)}
    long = [name for name, length in lengths.items() if length + max_tokens > window]
    if long:
        worst = max(long, key=lengths.__getitem__)
        raise DataError(
            f"{len(long)} of {len(lengths)} RL prompts leave no room for rl.max_tokens = {max_tokens} in the model's "
            f"window of {window} tokens (the longest, {worst!r}, has {lengths[worst]}). Drop them or lower the budget."
        )


def _load(folder: Path) -> Any:
    # Weights stay fp32 whatever the precision of the pass: at 1e-6, 2% of bf16 weights moved in 50 AdamW steps.
    return load_model(folder, "float32")


def trl_config(config: RlConfig, folder: Path) -> GRPOConfig:
    """The stage's configuration in TRL's names."""
    return GRPOConfig(
        output_dir=str(folder),
        max_steps=config.num_steps,
        per_device_train_batch_size=config.prompts_per_step * config.num_generations // config.micro_batches,
        gradient_accumulation_steps=config.micro_batches,
        num_generations=config.num_generations,
        num_iterations=config.num_iterations,
        max_completion_length=config.max_tokens,
        shuffle_dataset=False,  # the schedule is the order
        learning_rate=config.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=min(5, config.num_steps),
        temperature=config.temperature,
        beta=config.kl_beta,
        reward_weights=[1.0] * len(NAMES),  # set before every step by the controller
        multi_objective_aggregation=config.aggregation,
        scale_rewards=config.scale_rewards,
        loss_type=config.loss_type,
        importance_sampling_level=config.importance_sampling_level,
        epsilon=config.epsilon,
        epsilon_high=config.epsilon_high,
        mask_truncated_completions=config.mask_truncated,
        save_strategy="steps",
        save_steps=config.save_steps,
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would replace a NaN loss by the average of the earlier ones
        seed=config.seed,
        report_to="none",
        disable_tqdm=True,
        use_cpu=not torch.accelerator.is_available(),
        bf16=config.dtype == "bfloat16",
        gradient_checkpointing=config.gradient_checkpointing,
        **vllm_options(config),
    )


def vllm_options(config: RlConfig) -> dict[str, Any]:
    """TRL's vLLM options.

    Raises:
        UsageError: vLLM is asked for where there is no CUDA (TRL's weight transfer is NCCL's) or no vLLM.
    """
    if config.vllm == "off":
        return {}
    from importlib.util import find_spec

    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if device is None or device.type != "cuda":
        raise UsageError(
            f"rl.vllm = {config.vllm!r} needs a CUDA device, this machine has {device or 'none'}; set rl.vllm=off to "
            "generate with transformers."
        )
    if find_spec("vllm") is None:
        raise UsageError(f"rl.vllm = {config.vllm!r}: vLLM is not installed; install the extra `gpu`, or set it off.")
    if config.vllm == "server":
        return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": config.vllm_server_url}
    return {"use_vllm": True, "vllm_mode": "colocate", "vllm_gpu_memory_utilization": config.vllm_memory}
