"""Tokens of what a stage would train on, counted by the stage's own rules; loads a tokenizer and no weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safekeel.corpus.sample import Sample
from safekeel.errors import DataError
from safekeel.records import Prompt, read_jsonl
from safekeel.train.launch.work import Lengths
from safekeel.train.preference_config import PreferenceConfig
from safekeel.train.rl_config import RlConfig
from safekeel.train.sft import SftConfig


def count_lengths(
    config: SftConfig | PreferenceConfig | RlConfig, model_dir: Path, corpus: Path, data_dir: Path | None
) -> Lengths:
    """Lengths of the samples, pairs or prompts of a corpus folder.

    Raises:
        DataError: the corpus lacks the stage's file, or the tokenizer cannot be trained with.
    """
    from safekeel.chat import load_tokenizer
    from safekeel.train.text import check_trainable

    tokenizer = load_tokenizer(model_dir)
    check_trainable(tokenizer)
    if isinstance(config, SftConfig):
        return _of_samples(config, tokenizer, corpus)
    if isinstance(config, PreferenceConfig):
        return _of_pairs(config, tokenizer, corpus, data_dir)
    return _of_prompts(tokenizer, corpus)


def _of_samples(config: SftConfig, tokenizer: Any, corpus: Path) -> Lengths:
    from safekeel.train.sft_data import prepare

    prepared = prepare(tokenizer, read_jsonl(_file(corpus, "sft.jsonl"), Sample), config.max_length)
    return _lengths([len(document.input_ids) for document in prepared.documents], len(prepared.too_long))


def _of_pairs(config: PreferenceConfig, tokenizer: Any, corpus: Path, data_dir: Path | None) -> Lengths:
    from safekeel.train.preference import gather
    from safekeel.train.preference_data import relabel, tokenise
    from safekeel.train.preference_sources import sources_of

    samples = read_jsonl(_file(corpus, "sft.jsonl"), Sample)
    if "own" in (config.sources or sources_of(samples)):
        return _of_own_pairs(config, tokenizer, samples)
    pairs = relabel(gather(config, corpus, data_dir, _nobody, corpus, _silent).pairs).pairs
    done = tokenise(tokenizer, pairs, config.max_length, config.safety_margin)
    both = [[len(row["prompt_ids"]) + len(row[side]) for side in ("chosen_ids", "rejected_ids")] for row in done.rows]
    too_long = sum(dropped.reason == "too_long" for dropped in done.dropped)
    longest = max((max(sides) for sides in both), default=0)
    return Lengths(len(both), sum(sum(sides) for sides in both), longest, too_long)


def _nobody() -> Any:
    raise AssertionError("a plan asks no model")


def _silent(label: str, done: int, total: int, value: float = 0.0, note: str = "") -> None:
    """Progress of work that takes no time: pairs are read from files."""


def _of_own_pairs(config: PreferenceConfig, tokenizer: Any, samples: list[Sample]) -> Lengths:
    """An upper bound for the source `own`, whose pairs exist only after the model has answered every prompt."""
    from safekeel.train.sft_data import prepare

    counts = [len(document.input_ids) for document in prepare(tokenizer, samples, config.max_length).documents]
    most = config.max_rejected_per_prompt
    note = (
        f"source own: the pairs are not there yet; counted as {most} per sample of the corpus, both sides as long as "
        f"the sample. Sampling {config.own_answers.num_samples} answers to each prompt comes on top"
    )
    return Lengths(most * len(counts), 2 * most * sum(counts), max(counts, default=0), note=note)


def _of_prompts(tokenizer: Any, corpus: Path) -> Lengths:
    from safekeel.chat import prompt_ids, render_prompt

    prompts = read_jsonl(_file(corpus, "rl.jsonl"), Prompt)
    return _lengths([len(prompt_ids(tokenizer, render_prompt(tokenizer, prompt.messages))) for prompt in prompts], 0)


def _lengths(counts: list[int], too_long: int) -> Lengths:
    return Lengths(len(counts), sum(counts), max(counts, default=0), too_long)


def _file(corpus: Path, name: str) -> Path:
    path = corpus / name
    if not path.exists():
        raise DataError(f"{path} does not exist; expected a corpus folder such as out/nano/10-corpus.")
    return path
