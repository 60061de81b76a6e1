"""`trl`: prompt and completion for TRL's SFTTrainer, in forms that keep the reasoning.

Facts of TRL 1.16.0 (`trl/trainer/sft_trainer.py`, `_prepare_dataset`): strings are tokenized with the tokenizer's
special tokens, and EOS is added where the completion lacks it; conversations are rendered by the chat template, which
for R1 deletes the thought from the completion; rows with `input_ids` and `labels` are taken as they are; what is longer
than `max_length` (1,024) is cut.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from safekeel.chat import Tokenizer, prompt_ids
from safekeel.corpus.export.base import Corpus, Rendered, Table, convert, pyarrow
from safekeel.corpus.export.conversation import engine_messages, rendered, response
from safekeel.corpus.export.template import TRAINING_TEMPLATE, training_template
from safekeel.corpus.sample import Sample

STRINGS, MESSAGES, TOKENS = "train.jsonl", "train-messages.jsonl", "train-tokens.parquet"
_CONFIG = "SFTConfig(max_length={longest}, packing=False{more})"


@dataclass(frozen=True, slots=True)
class Trl:
    """With a tokenizer: rendered strings, the same as tokens, and conversations with a template for training."""

    name: str = "trl"
    tool: str = "TRL 1.16.0, trl/trainer/sft_trainer.py"

    def render(self, corpus: Corpus) -> Rendered:
        """`train.jsonl` of strings (the default to use), `train-tokens.parquet`, `train-messages.jsonl`."""
        if corpus.tokenizer is None:
            return _without_tokenizer(corpus)
        tokenizer = corpus.tokenizer
        rows, left_out = convert(corpus.samples, lambda sample: _strings(tokenizer, sample))
        left_ids = {row.sample.id for row in left_out if row.sample}
        whole = [sample for sample in corpus.samples if sample.id not in left_ids]
        tables = [Table(STRINGS, rows), _tokens(tokenizer, rows), Table(MESSAGES, [_messages(row) for row in whole])]
        texts, notes, loading = {}, [], _loading(corpus)
        if template := training_template(tokenizer):
            texts[TRAINING_TEMPLATE] = template
            more = f', chat_template_path="{TRAINING_TEMPLATE}"'
            loading += f"\n`{MESSAGES}` only with `{_CONFIG.format(longest=corpus.longest, more=more)}`."
        else:
            notes.append(f"No training variant of this chat template is known: use {STRINGS}, not {MESSAGES}.")
        if merged := _merged(tokenizer, rows):
            notes.append(
                f"{merged} samples begin with a line break that {STRINGS} joins with the one after <think>; "
                f"{TOKENS} has them exactly."
            )
        return Rendered(tables, loading, texts, left_out, notes)


def _strings(tokenizer: Tokenizer, sample: Sample) -> dict[str, Any]:
    prompt, completion = rendered(tokenizer, sample)
    return {"prompt": prompt, "completion": completion, "id": sample.id}


def _messages(sample: Sample) -> dict[str, Any]:
    turns = [{"role": message.role, "content": message.content} for message in engine_messages(sample)]
    return {"prompt": turns, "completion": [{"role": "assistant", "content": response(sample)}], "id": sample.id}


def _tokens(tokenizer: Tokenizer, rows: list[dict[str, Any]]) -> Table:
    """Ids and labels as `train/sft.py` makes them: prompt and completion tokenized apart, as in generation."""
    arrow = pyarrow()
    table = []
    for row in rows:
        given = prompt_ids(tokenizer, row["prompt"])
        learnt = tokenizer(row["completion"], add_special_tokens=False, verbose=False)["input_ids"]
        table.append({"input_ids": given + learnt, "labels": [-100] * len(given) + learnt})
    ids = arrow.list_(arrow.int64())
    return Table(TOKENS, table, arrow.schema([("input_ids", ids), ("labels", ids)]))


def _merged(tokenizer: Tokenizer, rows: list[dict[str, Any]]) -> int:
    """Rows whose two strings are other tokens together than apart: only a leading line break can do that here."""
    starts = [row for row in rows if row["prompt"].endswith("\n") and row["completion"].startswith("\n")]
    return sum(
        tokenizer(row["prompt"] + row["completion"], add_special_tokens=False)["input_ids"]
        != tokenizer(row["prompt"], add_special_tokens=False)["input_ids"]
        + tokenizer(row["completion"], add_special_tokens=False)["input_ids"]
        for row in starts
    )


def _loading(corpus: Corpus) -> str:
    config = _CONFIG.format(longest=corpus.longest, more="")
    return (
        f'`SFTTrainer(model, args={config}, train_dataset=load_dataset("json", data_files="{STRINGS}", split="train"), '
        "processing_class=tokenizer)` with the tokenizer this export was made with. The loss is on the completion: "
        f"thought, `</think>`, answer, EOS. `{TOKENS}` holds the same as `input_ids` and `labels`. `max_length` is the "
        f"longest sample ({corpus.how_counted}); TRL's default of 1,024 cuts what is longer, without a word."
    )


def _without_tokenizer(corpus: Corpus) -> Rendered:
    rows, left_out = convert(corpus.samples, _messages)
    note = (
        f"No tokenizer was given, so {MESSAGES} holds conversations only: TRL renders them with the model's template, "
        "and R1's deletes the thought from the completion. Export with --tokenizer, or train with a template that "
        "keeps assistant turns whole."
    )
    loading = (
        f'`load_dataset("json", data_files="{MESSAGES}", split="train")` with `SFTConfig(max_length={corpus.longest}, '
        "chat_template_path=…)`, the template being one that keeps `<think>…</think>` in assistant turns."
    )
    return Rendered([Table(MESSAGES, rows)], loading, left_out=left_out, notes=[note])
