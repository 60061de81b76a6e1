"""`verl`: parquet for its SFT trainer (`messages`) and, where the corpus has RL prompts, for its RL trainers.

Facts of verl 1dda039b (`verl/utils/dataset/multiturn_sft_dataset.py`): every message is rendered alone by the chat
template and the parts are joined; R1's template deletes the thought, so a training template is needed
(in the folder of `model.tokenizer_path`); all assistant messages are learnt; as many leading tokens of each as the
generation prompt has are masked, which is right for a reply that opens with `<think>` and a newline; a sample above
`data.max_length` (1,024) is an error. RL rows: `verl/utils/dataset/rl_dataset.py`, `verl/experimental/reward_loop/`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from safekeel.chat import Tokenizer
from safekeel.corpus.export.base import STEP, Corpus, Rendered, Table, convert, message_type, pyarrow
from safekeel.corpus.export.conversation import as_one_turn, engine_messages, response
from safekeel.corpus.export.mindspeed import history_note
from safekeel.corpus.export.template import TRAINING_TEMPLATE, training_template
from safekeel.corpus.sample import Rejected, Sample
from safekeel.records import Expect, Message, Prompt

SFT, RL = "train_sft.parquet", "train_rl.parquet"
_ABILITY: dict[Expect, str] = {
    "refuse": "safety",
    "either": "safety",
    "answer": "helpfulness",
    "solve": "reasoning",
    "choose": "knowledge",
}


@dataclass(frozen=True, slots=True)
class Verl:
    """SFT and RL parquet files, with a chat template for SFT."""

    name: str = "verl"
    tool: str = "verl 0.10.0.dev, commit 1dda039b9c6311889a9c9a26040677e1254814f9"

    def render(self, corpus: Corpus) -> Rendered:
        """`train_sft.parquet`, `chat_template.training.jinja` where one is known, and `train_rl.parquet`."""
        tokenizer = corpus.tokenizer
        rows, left_out = convert(corpus.samples, lambda sample: _sft_row(tokenizer, sample))
        arrow = pyarrow()
        tables = [Table(SFT, rows, arrow.schema([("messages", message_type()), ("id", arrow.string())]))]
        if corpus.rl_prompts is not None:
            tables.append(_rl_table(corpus.rl_prompts, left_out))
        template = training_template(tokenizer) if tokenizer is not None else None
        texts = {TRAINING_TEMPLATE: template} if template else {}
        learnt = sum(1 for row in rows if sum(turn["role"] == "assistant" for turn in row["messages"]) > 1)
        notes = [history_note("verl", learnt)] if learnt else []
        if not template:
            notes.append(
                "No chat template for training is beside this export (none was given, or no variant is known): R1's "
                "own deletes the thoughts in verl. Export with --tokenizer, or give one that keeps assistant turns."
            )
        return Rendered(tables, _loading(corpus), texts, left_out, notes)


def _sft_row(tokenizer: Tokenizer | None, sample: Sample) -> dict[str, Any]:
    messages = engine_messages(sample)
    if tokenizer is not None and any(message.role == "assistant" for message in messages):
        text = as_one_turn(tokenizer, messages)
        if text is not None:
            system = [message for message in messages if message.role == "system"]
            messages = [*system, Message(role="user", content=text)]
    turns = [*messages, Message(role="assistant", content=response(sample))]
    return {"messages": [turn.model_dump() for turn in turns], "id": sample.id}


def rl_row(prompt: Prompt, index: int) -> dict[str, Any]:
    """One row for verl's RL trainers. What the reward function needs beyond the gold answer is in `extra_info`."""
    return {
        "data_source": prompt.source,
        "prompt": [message.model_dump() for message in prompt.messages],
        "ability": _ABILITY[prompt.expect],
        "reward_model": {
            "style": "rule" if prompt.target is not None else "model",
            "ground_truth": prompt.target or "",
        },
        "extra_info": {
            "index": index,
            "split": "train",
            "id": prompt.id,
            "expect": prompt.expect,
            "risk": prompt.risk or "",
            "lang": prompt.lang,
            "meta": json.dumps(prompt.meta, ensure_ascii=False),
        },
    }


def _rl_table(prompts: list[Prompt], left_out: list[Rejected]) -> Table:
    arrow = pyarrow()
    text = arrow.string()
    names = ("split", "id", "expect", "risk", "lang", "meta")
    schema = arrow.schema(
        [
            ("data_source", text),
            ("prompt", message_type()),
            ("ability", text),
            ("reward_model", arrow.struct([("style", text), ("ground_truth", text)])),
            ("extra_info", arrow.struct([("index", arrow.int64()), *((name, text) for name in names)])),
        ]
    )
    rows: list[dict[str, Any]] = []
    for prompt in prompts:
        if prompt.messages[-1].role == "assistant":
            evidence = "a prompt that ends with the assistant's turn cannot be rolled out"
            left_out.append(
                Rejected(where=f"rl.jsonl: {prompt.id}", step=STEP, reason="last_turn_not_user", evidence=evidence)
            )
        else:
            rows.append(rl_row(prompt, len(rows)))
    return Table(RL, rows, schema)


def _loading(corpus: Corpus) -> str:
    text = (
        f"SFT: copy the model's tokenizer files to a folder, put `{TRAINING_TEMPLATE}` there as `chat_template.jinja`, "
        f"and run `torchrun … -m verl.trainer.sft_trainer data.train_files={SFT} data.messages_key=messages "
        f"data.max_length={corpus.longest} model.tokenizer_path=<that folder>` (the longest sample, "
        f"{corpus.how_counted}). The template is for training only; serve the model with its own."
    )
    if corpus.rl_prompts is not None:
        text += (
            f"\nRL: `data.train_files={RL} data.prompt_key=prompt reward.custom_reward_function.path=…`, with the "
            "model's own template; `reward_model.ground_truth` is empty where there is no gold answer, and "
            "`extra_info` has `expect`, `risk`, `lang` and `meta` (JSON)."
        )
    return text
