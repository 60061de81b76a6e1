"""`llamafactory-alpaca` and `llamafactory-sharegpt`, with the `dataset_info.json` that names their columns.

Facts of LLaMA-Factory ff6d4d12 (`src/llamafactory/data/`): `dataset_info.json` columns that are not named are not read
(`parser.py`); instruction and input are joined by a newline, conversations must alternate from the user on
(`converter.py`); the template `deepseekr1` adds an empty thought to a reply without `<think>` and learns every reply of
a conversation unless `mask_history` is set (`template.py`, `processor/supervised.py`); what is longer than
`cutoff_len` (2,048) is cut.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from safekeel.corpus.export.base import Corpus, Rendered, Table, convert, history_first
from safekeel.corpus.export.conversation import conversation, response
from safekeel.corpus.sample import Sample

FILE, DATASET = "train.jsonl", "safekeel_sft"
TOOL = "LLaMA-Factory 0.9.5.dev, commit ff6d4d12eeb035d6ce06805a5733dd7b29f2ac30"
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "system": "system", "history": "history"}
_SHAREGPT = {"messages": "conversations", "system": "system"}
_TAGS = {  # all seven: one that is not named becomes None there
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}


def alpaca_row(sample: Sample) -> dict[str, Any]:
    """`{instruction, input, output, system, history}`, the response with its think tags. MindSpeed-LLM reads it too.

    Raises:
        CannotHold: as `conversation.conversation`.
    """
    turns = conversation(sample)
    return {
        "instruction": turns.user,
        "input": "",
        "output": response(sample),
        "system": turns.system,
        "history": [list(pair) for pair in turns.history],
    }


def sharegpt_row(sample: Sample) -> dict[str, Any]:
    """`{conversations: [{from, value}], system}`; the last turn is the response with its think tags.

    Raises:
        CannotHold: as `conversation.conversation`.
    """
    turns = conversation(sample)
    texts = [*(text for pair in turns.history for text in pair), turns.user, response(sample)]
    tags = ("human", "gpt")
    return {
        "conversations": [{"from": tags[index % 2], "value": text} for index, text in enumerate(texts)],
        "system": turns.system,
    }


@dataclass(frozen=True, slots=True)
class LlamaFactory:
    """One of the two file formats of LLaMA-Factory."""

    name: str
    tool: str = TOOL

    def render(self, corpus: Corpus) -> Rendered:
        """`train.jsonl` and `dataset_info.json`."""
        info: dict[str, Any] = {"file_name": FILE, "formatting": "alpaca", "columns": _ALPACA}
        if self.name == "llamafactory-alpaca":
            rows, left_out = convert(corpus.samples, alpaca_row)
            rows = list(history_first(rows, "history"))
        else:
            info |= {"formatting": "sharegpt", "columns": _SHAREGPT, "tags": _TAGS}
            rows, left_out = convert(corpus.samples, sharegpt_row)
        texts = {"dataset_info.json": json.dumps({DATASET: info}, indent=2) + "\n"}
        loading = (
            f"In the training YAML: `dataset_dir: <this folder>`, `dataset: {DATASET}`, `template: deepseekr1`, "
            f"`mask_history: true` (without it earlier replies of a conversation are learnt too), `cutoff_len: "
            f"{corpus.longest}` (the longest sample, {corpus.how_counted}; the default of 2,048 cuts what is longer). "
            "`<think>` and its line break are in the loss, because this template does not open the thought in the "
            "prompt; the tokens are the same as in generation. `deepseekr1` fits R1 and its distilled models only."
        )
        return Rendered([Table(FILE, rows)], loading, texts, left_out)
