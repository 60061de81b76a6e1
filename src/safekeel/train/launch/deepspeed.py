"""A DeepSpeed ZeRO-3 configuration for the stock Trainer's stages. Untested: DeepSpeed needs an accelerator, and the
default environment leaves it out because transformers imports it even to save a model.

    python -m safekeel.train.launch.deepspeed zero3.json
    accelerate launch --use_deepspeed --deepspeed_config_file zero3.json --num_processes 8 \\
        -m safekeel.cli train sft …

FSDP2 (`sharded.py`) is the tested way past one device. What is known of this one, from reading: each process first
loads the whole model on its host, because the stages load it before the Trainer exists; and its optimizer files
(`global_stepN/`) stay in the checkpoints.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from safekeel.files import atomic_write_text


def zero3(offload_optimizer: bool = False, offload_weights: bool = False) -> dict[str, Any]:
    """DeepSpeed's configuration; `auto` is filled in by transformers from the stage's own settings.

    Args:
        offload_optimizer: moments and master weights in host memory (12 bytes per parameter off the devices).
        offload_weights: the weights at work as well (2 bytes per parameter; much slower).
    """
    host = {"device": "cpu", "pin_memory": True}
    stage: dict[str, Any] = {
        "stage": 3,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
        "stage3_gather_16bit_weights_on_model_save": True,  # else a checkpoint holds empty tensors
    }
    if offload_optimizer or offload_weights:
        stage["offload_optimizer"] = host
    if offload_weights:
        stage["offload_param"] = host
    return {
        "bf16": {"enabled": "auto"},
        "zero_optimization": stage,
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


def write(path: Path, offload_optimizer: bool = False, offload_weights: bool = False) -> None:
    """Write the configuration as JSON."""
    atomic_write_text(path, json.dumps(zero3(offload_optimizer, offload_weights), indent=2) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]), "--offload-optimizer" in sys.argv, "--offload-weights" in sys.argv)
