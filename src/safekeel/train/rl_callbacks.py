"""What happens beside TRL's steps: multipliers move, figures are logged, limits are watched, the state is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelerate.utils import gather_object  # type: ignore[import-untyped]
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from safekeel.artifact import atomic_write_json
from safekeel.train.balance import DualController
from safekeel.train.rl_config import RlConfig
from safekeel.train.rl_monitor import Monitor
from safekeel.train.rl_scoring import weights


class ControlCallback(TrainerCallback):
    """Dual step after every rollout, figures into every log row, the controller into every checkpoint.

    Must be added before the callback that marks checkpoints complete and writes log rows.
    """

    def __init__(self, config: RlConfig, trainer: Any, dual: DualController, watch: Monitor, state_file: str) -> None:
        self.config, self.trainer, self.dual, self.watch, self.state_file = config, trainer, dual, watch, state_file

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Costs of all processes, in rank order, so that every process has the same multipliers. Steps that reuse a
        rollout (`num_iterations`) bring no new costs, and the multipliers wait."""
        costs = gather_object(self.trainer.scorer.take_costs())
        if not costs:
            return
        for name, cost, count in costs:
            self.dual.observe(name, cost, count)
        self.dual.step()
        tensor = self.trainer.reward_weights
        tensor.copy_(tensor.new_tensor(weights(self.config, self.dual)))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is None or "loss" not in logs:
            return
        logs.update(self.dual.figures())
        if self.watch.check(state.global_step, logs):
            control.should_training_stop = True
            control.should_save = False  # a checkpoint from beyond the limit would become the result

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            atomic_write_json(folder / self.state_file, {"dual": self.dual.state(), "monitor": self.watch.state()})
