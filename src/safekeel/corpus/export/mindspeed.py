"""`mindspeed-llm`: alpaca rows for MindSpeed-LLM's `preprocess_data.py` (Ascend, up to 671B).

Facts of MindSpeed-LLM c77308a1 (`mindspeed_llm/tasks/preprocess/`): system and history are read only where `--map-keys`
names them (`utils.py`); `--prompt-type deepseek3` is `<｜User｜>…<｜Assistant｜>` and takes the output as it is
(`configs/finetune/templates.json`); every reply of a conversation is learnt, and there is no switch for it on the
Megatron path (`data_handler.py`, `_tokenize_prompt`); a sample of `--seq-length` tokens or more is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safekeel.chat import Tokenizer
from safekeel.corpus.export.base import Corpus, Rendered, Table, convert, history_first
from safekeel.corpus.export.conversation import as_one_turn, engine_messages
from safekeel.corpus.export.llamafactory import alpaca_row
from safekeel.corpus.sample import Sample

FILE = "train.jsonl"


@dataclass(frozen=True, slots=True)
class MindSpeed:
    """Alpaca JSONL; with a tokenizer, earlier turns are context in the instruction instead of `history`."""

    name: str = "mindspeed-llm"
    tool: str = "MindSpeed-LLM 26.1.0, commit c77308a14bfcb1aa7ca61da9c1aa24a893cb1b91"

    def render(self, corpus: Corpus) -> Rendered:
        """`train.jsonl`."""
        rows, left_out = convert(corpus.samples, lambda sample: _row(corpus.tokenizer, sample))
        learnt = sum(1 for row in rows if row["history"])
        notes = [history_note("MindSpeed-LLM", learnt)] if learnt else []
        loading = (
            f"`python preprocess_data.py --input {FILE} --handler-name AlpacaStyleInstructionHandler --prompt-type "
            'deepseek3 --map-keys \'{"system":"system","history":"history"}\' --tokenizer-type PretrainedFromHF '
            f"--tokenizer-name-or-path … --output-prefix … --seq-length {corpus.longest + 1}` or more (the longest "
            f"sample has {corpus.longest} tokens, {corpus.how_counted}; longer ones are left out there). Without "
            "`--map-keys` system messages and earlier turns are lost."
        )
        return Rendered([Table(FILE, list(history_first(rows, "history")))], loading, left_out=left_out, notes=notes)


def history_note(engine: str, rows: int) -> str:
    """The warning of engines that learn earlier replies."""
    return (
        f"{rows} samples have earlier assistant turns, and {engine} learns those too. Export with --tokenizer, which "
        "writes them into the user's turn, or leave these samples out."
    )


def _row(tokenizer: Tokenizer | None, sample: Sample) -> dict[str, Any]:
    row = alpaca_row(sample)
    text = as_one_turn(tokenizer, engine_messages(sample)) if tokenizer is not None and row["history"] else None
    return row if text is None else row | {"instruction": text, "history": []}
