"""What TRL computes from our rewards, exactly; the order of prompts; and the tokens a policy is given and judged by."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from safekeel.chat import load_tokenizer, think_state, thinking_prompt
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import Prompt
from safekeel.train.rewards import NAMES, CueRewards, Outcome, Said, well_formed
from safekeel.train.rl_base import with_base_rates
from safekeel.train.rl_config import RlConfig
from safekeel.train.rl_judged import as_completion
from safekeel.train.rl_monitor import Monitor, StopRule, monitor
from safekeel.train.rl_scoring import Scorer, controller, weights
from safekeel.train.text import encode
from tests.grpo_run import SMALL, pool

NAN = float("nan")
CONFIG = RlConfig(
    **(SMALL | {"max_tokens": 8, "prompts_per_step": 3, "num_generations": 4, "kl_beta": 0.0, "max_kl": None})
)
# Rewards of three groups of four, by name; None = off its domain. Two rewards overlap in the first group.
TABLE: dict[str, list[float | None]] = {
    "safe_answer": [1.0, 0.0, 0.5, 0.5, *[None] * 8],
    "safe_thought": [1.0, 1.0, 1.0, 1.0, *[None] * 8],  # no variance: contributes nothing
    "not_over_refusing": [*[None] * 4, 1.0, 1.0, 0.0, None, *[None] * 4],  # one that a judge could not tell
    "right_answer": [*[None] * 8, 1.0, 0.0, 0.0, 0.0],
    "well_formed": [1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0],
}


class Fixed:
    """Rewards from the table, whatever was said."""

    num_unscored = 0

    def score(self, items: Sequence[tuple[Prompt, Said]]) -> list[Outcome]:
        return [Outcome({name: TABLE[name][row] for name in NAMES}) for row in range(len(items))]

    def close(self) -> None:
        pass


def expected_advantages(weight: dict[str, float]) -> list[float]:
    """The formula of `rl_trainer`, in plain Python."""
    sums = [0.0] * 12
    for name, values in TABLE.items():
        for start in range(0, 12, 4):
            group = [(row, value) for row in range(start, start + 4) if (value := values[row]) is not None]
            if len(group) < 2:
                continue
            mean = sum(value for _, value in group) / len(group)
            std = (sum((value - mean) ** 2 for _, value in group) / (len(group) - 1)) ** 0.5
            for row, value in group:
                sums[row] += weight[name] * (value - mean) / (std + 1e-4)
    mean = sum(sums) / 12
    std = (sum((value - mean) ** 2 for value in sums) / 11) ** 0.5
    return [(value - mean) / (std + 1e-4) for value in sums]


@pytest.fixture(scope="module")
def trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from safekeel.train.rl_trainer import build_trainer

    tokenizer = load_tokenizer(shipped_checkpoint())
    prompts = {prompt.id: prompt for prompt in (*pool()[:2], pool()[5])}
    scorer = Scorer(Fixed(), prompts, dict.fromkeys(prompts, "open"), tokenizer, 4, bounded=())
    folder = tmp_path_factory.mktemp("trainer")
    built: Any = build_trainer(CONFIG, shipped_checkpoint(), None, tokenizer, scorer, folder)
    built.model.train()
    return built


@pytest.mark.parametrize("multiplier", [1.0, 3.0])
def test_rewards_are_normalised_alone_then_weighted_and_none_adds_nothing(trainer: Any, multiplier: float) -> None:
    dual = controller(CONFIG)
    dual.constraints["over_refusal"].log_lambda = math.log(multiplier)
    given = weights(CONFIG, dual)
    trainer.reward_weights.copy_(trainer.reward_weights.new_tensor(given))
    batch = next(iter(trainer.get_train_dataloader()))
    out = trainer._generate_and_score_completions(batch)
    wanted = expected_advantages(dict(zip(NAMES, given, strict=True)))
    assert out["advantages"].tolist() == pytest.approx(wanted, abs=1e-4)
    # The prompts of a rollout stand together, each with its completions, which the costs rely on.
    assert [row["prompt_id"] for row in batch[::4]] == [row["prompt_id"] for row in batch[3::4]]


def test_a_multiplier_moves_only_the_groups_it_weighs() -> None:
    """Doubling the weight of right answers leaves the ratios within the other groups as they were."""
    one, two = (expected_advantages(dict.fromkeys(NAMES, 1.0) | {"right_answer": value}) for value in (1.0, 2.0))
    assert one[0] / one[1] == pytest.approx(two[0] / two[1], rel=1e-6)
    assert abs(two[8] / two[0]) > abs(one[8] / one[0])


def test_the_order_is_trls_own_and_every_pass_has_every_prompt_once(trainer: Any) -> None:
    from trl.trainer.utils import RepeatSampler

    from safekeel.train.rl_schedule import schedule

    drawn = schedule(10, 25, seed=3)
    sampler = RepeatSampler(range(10), 1, 1, 1, shuffle=True, seed=3)
    assert drawn == [*sampler, *sampler, *sampler][:25]
    assert sorted(drawn[:10]) == sorted(drawn[10:20]) == list(range(10))
    with pytest.raises(ValueError, match="empty"):
        schedule(0, 1, 0)


def test_options_reach_trl(tmp_path: Path) -> None:
    from safekeel.train.rl_trainer import trl_config

    config = RlConfig(
        importance_sampling_level="sequence", loss_type="grpo", epsilon=3e-4, epsilon_high=4e-4, micro_batches=4
    )
    args = trl_config(config, tmp_path)
    assert (args.importance_sampling_level, args.loss_type, args.epsilon, args.epsilon_high) == (
        "sequence",
        "grpo",
        3e-4,
        4e-4,
    )
    assert args.generation_batch_size == 8 * 8 and args.per_device_train_batch_size == 16
    assert args.multi_objective_aggregation == "normalize_then_sum"
    assert args.logging_nan_inf_filter is False  # else a NaN loss would be replaced by an average
    summed = trl_config(RlConfig(aggregation="sum_then_normalize", scale_rewards="none"), tmp_path)
    assert summed.scale_rewards == "none"


REAL = Path(os.environ.get("SAFEKEEL_DATA", "/nonexistent")) / "tokenizers/r1-distill-qwen-reconstructed"
TEMPLATES = Path(__file__).parents[1] / "data/templates"


@pytest.fixture(scope="module")
def real_tokenizer() -> Any:
    """R1-Distill-Qwen's, with its own template; loading it takes seconds."""
    tokenizer = load_tokenizer(REAL)
    return tokenizer, tokenizer.chat_template


@pytest.mark.skipif(not REAL.is_dir(), reason="needs SAFEKEEL_DATA with tokenizers/r1-distill-qwen-reconstructed")
@pytest.mark.parametrize("template", [None, *sorted(path.name for path in TEMPLATES.glob("*.jinja"))])
def test_a_policy_is_given_and_read_exactly_as_in_training(template: str | None, real_tokenizer: Any) -> None:
    """The prompt's tokens are those of SFT, BOS once; the completion that SFT teaches reads back and is well formed."""
    from safekeel.train.rl_trainer import SafeKeelGrpoTrainer

    tokenizer, own = real_tokenizer
    tokenizer.chat_template = own
    if template is not None:
        tokenizer.chat_template = (TEMPLATES / template).read_text("utf-8")
    prompt = pool()[0]
    encoded = encode(tokenizer, prompt, "安全第一。 First, think.", "答案是 4。")
    rendered = thinking_prompt(tokenizer, prompt.messages)
    ids, _, _ = SafeKeelGrpoTrainer._tokenize_prompts(SimpleNamespace(processing_class=tokenizer), [rendered])  # type: ignore[arg-type]
    assert ids == [encoded.prompt_ids]
    assert ids[0].count(tokenizer.bos_token_id) == 1
    scorer = Scorer(
        CueRewards(),
        {prompt.id: prompt},
        {prompt.id: think_state(rendered)},
        tokenizer,
        1,
        (),
        {tokenizer.eos_token_id},
    )
    said = scorer.said(prompt.id, encoded.completion_ids)
    assert (said.thought, said.answer, said.ended) == ("安全第一。 First, think.", "答案是 4。", True)
    assert well_formed(prompt, said) == 1.0
    assert well_formed(prompt, scorer.said(prompt.id, encoded.completion_ids[:-1])) == 0.0


def test_the_base_rates_come_from_its_own_samples() -> None:
    harmless, problem = pool()[1], pool()[5]
    rows = []
    for sample, (answer, target) in enumerate([("第一步 step one", problem.target), ("I cannot help", "999")]):
        said = Said("", "t", answer, "prefilled", True)
        rows.append(as_completion(harmless, said).model_copy(update={"sample": sample}))
        said = Said("", "t", f"The answer is {target}", "prefilled", True)
        rows.append(as_completion(problem, said).model_copy(update={"sample": sample}))
    risky, told, solved = with_base_rates([pool()[0], harmless, problem], rows, CueRewards())
    assert risky == pool()[0]
    assert told.meta["base_refusal_rate"] == solved.meta["base_pass_rate"] == 0.5


def test_a_reward_that_is_no_number_is_refused() -> None:
    from safekeel.errors import DataError

    tokenizer = load_tokenizer(shipped_checkpoint())
    prompt = pool()[0]
    rewards = CueRewards({name: lambda prompt, said: NAN for name in NAMES})
    scorer = Scorer(rewards, {prompt.id: prompt}, {prompt.id: "open"}, tokenizer, 1, ())
    with pytest.raises(DataError, match=rf"'safe_answer' of prompt '{prompt.id}' is nan"):
        scorer.functions()[0](completion_ids=[[5, 6]], prompt_id=[prompt.id])


def test_stop_rules_average_wait_and_survive_a_restart() -> None:
    def rule() -> StopRule:
        return StopRule("kl", 0.5, 3, "do something")

    first = rule()
    assert [first.crossed(value) for value in (9.0, 0.0)] == [None, None]  # not enough to tell
    assert "kl averaged 3" in (first.crossed(0.0) or "")
    whole, stopped = Monitor([rule()]), Monitor([rule()])
    for step, value in enumerate((0.6, 0.1)):
        assert not whole.check(step, {"kl": value})
    stopped.restore(whole.state())
    assert whole.check(3, {"kl": 0.9}) and stopped.check(3, {"kl": 0.9})
    assert (stopped.reason, stopped.stopped_at) == (whole.reason, 3)
    assert [found.figure for found in monitor(RlConfig(max_kl=None, max_base_kl=0.1)).rules] == [
        "base_kl/problem",
        "completions/clipped_ratio",
    ]


@pytest.mark.parametrize("logs", [{"loss": NAN}, {"loss": 0.1, "grad_norm": float("inf")}])
def test_a_loss_that_is_no_number_is_an_error(logs: dict[str, float]) -> None:
    from safekeel.errors import EngineError

    with pytest.raises(EngineError, match=r"step 7.*learning_rate"):
        Monitor([]).check(7, logs)
