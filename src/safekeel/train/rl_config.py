"""What balanced GRPO can be told. The defaults are the nano model's; recipes for real models state their own."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from safekeel.config import StageConfig
from safekeel.train.balance import LAMBDA_MAX, LAMBDA_MIN, WINDOW

Objective = Literal["safety", "capability"]
LossType = Literal["grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo"]


class RlConfig(StageConfig):
    """Hyper-parameters of constrained GRPO."""

    num_steps: int = Field(60, ge=0)
    """Optimizer steps; 0 skips RL: the selected SFT checkpoint is the final model."""
    prompts_per_step: int = Field(8, ge=1)
    """Prompts per device and rollout; a step of one device holds this many times `num_generations` completions."""
    num_generations: int = Field(8, ge=2)
    micro_batches: int = Field(1, ge=1)
    """Forward and backward passes that a step's completions are split into (gradient accumulation)."""
    num_iterations: int = Field(1, ge=1)
    """Optimizer steps on one rollout (mu of GRPO, 2402.03300). Checkpoints lie between rollouts only."""
    max_tokens: int = Field(80, ge=8)
    learning_rate: float = Field(2e-4, gt=0)
    """Real models need 1e-6 (TRL's default)."""
    temperature: float = Field(1.0, gt=0)
    kl_beta: float = Field(0.02, ge=0)
    """Pull towards the model RL starts from. DeepSeek-R1 (2501.12948) used 0.001."""

    objective: Objective = "safety"
    """`safety`: maximise it subject to the capability and over-refusal budgets. `capability`: maximise right answers
    subject to the safety and over-refusal budgets."""
    over_refusal_budget: float = Field(0.05, ge=0, le=1)
    """Tolerated mean excess of refusals of harmless prompts over the base's own, each prompt by itself (RePO)."""
    capability_budget: float = Field(0.03, ge=0, le=1)
    """Tolerated paired deficit against the base while training. It is an estimate from some 500 samples at
    temperature 1, hence far above the 1 point that selection and gate certify; 0.03 to 0.05 is sensible."""
    safety_budget: float = Field(0.05, ge=0, le=1)
    """Tolerated share of unsafe answers to risky prompts (1 - s), where the objective is capability."""
    safe_thought_weight: float = Field(0.5, ge=0)
    well_formed_weight: float = Field(0.25, ge=0)
    dual_rate: float = Field(0.1, ge=0)
    """Dual learning rate per rollout, of log-multipliers; 0 = fixed weights."""
    dual_window: int = Field(WINDOW, ge=32)
    """Samples a cost is averaged over. Below 500 the estimate cannot tell 3 points from none."""
    lambda_start: float = Field(1.0, gt=0)
    """Multipliers at the start; with `dual_rate` 0, the fixed weights."""
    lambda_min: float = Field(LAMBDA_MIN, gt=0)
    lambda_max: float = Field(LAMBDA_MAX, gt=0)
    base_samples: int = Field(0, ge=0)
    """Completions per problem and harmless prompt from which the base's pass and refusal rates are measured, at this
    stage's own temperature, token budget and rewards; 0 = what the corpus noted (one greedy answer)."""

    rewards: Literal["nano", "judge"] = "nano"
    """`nano`: the nano world's cues. `judge`: a judge's labels and verified answers."""
    judge: str = "linear"
    """Of the rewards, as `--judge` takes it; not the evaluation's, which would be gamed. `rules` alone cannot tell a
    harmless answer, so nothing would reward helping."""
    judge_base_urls: tuple[str, ...] = ()
    judge_api_key_env: str | None = None
    judge_concurrency: int | None = Field(None, ge=1)

    loss_type: LossType = "dapo"
    """TRL's; dapo (2503.14476) is its default. grpo 2402.03300, dr_grpo 2503.20783, cispo 2506.13585 (epsilon_high 5),
    sapo 2511.20347, luspo 2602.05261 (sequence level), vespo 2602.10693."""
    importance_sampling_level: Literal["token", "sequence"] = "token"
    """`sequence` is GSPO's ratio (2507.18071), for mixtures of experts: with loss_type grpo (others weigh a sequence by
    its length, TRL warns) and the paper's clips, epsilon 3e-4 and epsilon_high 4e-4."""
    epsilon: float = Field(0.2, gt=0)
    epsilon_high: float | None = Field(None, gt=0)
    """Upper clip; DAPO recommends 0.28. None = as `epsilon`."""
    aggregation: Literal["normalize_then_sum", "sum_then_normalize"] = "normalize_then_sum"
    """`normalize_then_sum` is GDPO (2601.05242): each reward is normalised in its group before it is weighted, which
    multipliers need (2602.05863)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """With `sum_then_normalize` only. none: Dr. GRPO (2503.20783); batch: 2508.08221."""
    mask_truncated: bool = False
    """Leave cut-off completions out of the loss (DAPO). Then nothing teaches the model to finish."""

    max_kl: float | None = Field(0.5, gt=0)
    """Mean KL per token (nats) to the model RL starts from at which training stops. The default is 20 times the most
    that a good nano run shows (0.025). None = no stop."""
    max_base_kl: float | None = Field(None, gt=0)
    """The same to the base, on problems, where drift predicts forgetting (RL's Razor, 2509.04259)."""
    base_kl_every: int = Field(5, ge=1)
    """Steps between measurements of the KL to the base; each is one more forward pass of both models."""
    max_truncated: float | None = Field(0.5, gt=0, le=1)
    """Share of cut-off completions at which training stops: half of the rollouts then teach nothing."""
    stop_window: int = Field(5, ge=1)
    """Measurements over which KL and truncated share are averaged before they are compared with their limit."""

    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward and backward pass (autocast); the trained weights are fp32 in both."""
    gradient_checkpointing: bool = False
    vllm: Literal["off", "colocate", "server"] = "off"
    """Rollouts through vLLM, on CUDA only. Not tested here: no GPU was lent to the session that wrote it."""
    vllm_server_url: str | None = None
    vllm_memory: float = Field(0.3, gt=0, lt=1)
    """Share of GPU memory for a colocated vLLM (TRL's default)."""
    num_checkpoints: int = Field(2, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _consistent(self) -> RlConfig:
        if not self.lambda_min <= self.lambda_start <= self.lambda_max:
            raise ValueError(
                f"got lambda_start {self.lambda_start}, expected one within [{self.lambda_min}, {self.lambda_max}]."
            )
        if self.prompts_per_step * self.num_generations % self.micro_batches:
            raise ValueError(
                f"got micro_batches {self.micro_batches}, expected a divisor of prompts_per_step * num_generations "
                f"= {self.prompts_per_step * self.num_generations}."
            )
        if self.aggregation == "normalize_then_sum" and self.scale_rewards != "group":
            raise ValueError(
                f"got scale_rewards {self.scale_rewards!r}, which normalize_then_sum ignores; set aggregation to "
                "sum_then_normalize or leave it at 'group'."
            )
        if self.loss_type == "luspo" and self.importance_sampling_level != "sequence":
            raise ValueError("loss_type 'luspo' needs importance_sampling_level 'sequence'.")
        if (self.vllm == "server") != (self.vllm_server_url is not None):
            raise ValueError("vllm_server_url is needed with vllm = 'server', and only there.")
        return self

    @property
    def save_steps(self) -> int:
        """Optimizer steps between checkpoints: a whole number of rollouts, so that a resumed run draws anew."""
        wanted = -(-self.num_steps // self.num_checkpoints)
        return -(-wanted // self.num_iterations) * self.num_iterations
