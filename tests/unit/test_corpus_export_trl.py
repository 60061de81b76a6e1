"""TRL's own SFTTrainer reads the export and learns exactly thought, `</think>`, answer and EOS."""

from __future__ import annotations

import json
import os
import shutil
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the train extra")
pytest.importorskip("pyarrow", reason="needs the corpus extra")

from datasets import Dataset, disable_progress_bars, load_dataset
from transformers import AutoModelForCausalLM, Qwen2Config
from trl import SFTConfig, SFTTrainer
from trl.data_utils import is_conversational

from safekeel.chat import completion_ids, load_tokenizer, prompt_ids, render_prompt
from safekeel.corpus.export import export
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import write_jsonl
from tests.unit.test_corpus_export import PLAIN, canonical, sample

disable_progress_bars()
MULTILINE = sample(
    "lines", ("user", "怎么办？"), thought="First,\n\n```\ncode\n```\nthen 安全。", answer="- one\n- two\n"
)
SAMPLES = [*(row for row in PLAIN if row.thought), MULTILINE]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_jsonl(folder / "sft.jsonl", SAMPLES)
    export(folder, ["trl", "llamafactory-alpaca"], folder / "out", shipped_checkpoint())
    return folder / "out"


def read(path: Path) -> Dataset:
    kind = "parquet" if path.suffix == ".parquet" else "json"
    return load_dataset(kind, data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


def prepared(rows: Dataset, tokenizer: Any, folder: Path, **settings: Any) -> list[tuple[list[int], list[int]]]:
    """(ids of the context, ids that are learnt) of each row, as SFTTrainer prepares them."""
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
    )
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_config(config),
        args=SFTConfig(output_dir=str(folder / "run"), report_to="none", use_cpu=True, bf16=False, **settings),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    found = []
    for row in trainer.train_dataset:
        context = [token for token, label in zip(row["input_ids"], row["labels"], strict=True) if label == -100]
        found.append((context, [label for label in row["labels"] if label != -100]))
    return found


@pytest.mark.parametrize("file", ["train.jsonl", "train-tokens.parquet", "train-messages.jsonl"])
def test_trl_learns_the_reasoning_from_every_file(exported: Path, tmp_path: Path, file: str) -> None:
    rows, tokenizer = read(exported / "trl" / file), load_tokenizer(shipped_checkpoint())
    settings = {}
    if "messages" in file:
        assert is_conversational(rows[0])
        settings = {"chat_template_path": str(exported / "trl" / "chat_template.training.jinja")}
    expected = [canonical(tokenizer, row) for row in SAMPLES]
    assert prepared(rows, tokenizer, tmp_path, **settings) == expected


def test_the_original_template_would_lose_the_reasoning(exported: Path, tmp_path: Path) -> None:
    """Why the messages come with a template: should TRL change this, the note in the export can go."""
    tokenizer = load_tokenizer(shipped_checkpoint())
    for _, learnt in prepared(read(exported / "trl" / "train-messages.jsonl"), tokenizer, tmp_path):
        assert "</think>" not in tokenizer.decode(learnt)


def test_datasets_reads_histories_however_late_they_come(exported: Path, tmp_path: Path) -> None:
    """A column of lists that are empty in the first block can hold no text later; so a filled one comes first."""
    path = exported / "llamafactory-alpaca" / "train.jsonl"
    lines = path.read_text("utf-8").split("\n")[:-1]
    filled = [line for line in lines if json.loads(line)["history"]]
    empty = next(line for line in lines if not json.loads(line)["history"])
    assert lines[0] == filled[0]
    arrangements = {"ours": [filled[0], *[empty] * 50, filled[1]], "late": [*[empty] * 50, filled[1]]}
    for name, arranged in arrangements.items():
        (tmp_path / f"{name}.jsonl").write_text("\n".join(arranged) + "\n", "utf-8")

    def histories(name: str) -> list[list[list[str]]]:
        file, cache = str(tmp_path / f"{name}.jsonl"), str(tmp_path / name)
        return load_dataset("json", data_files=file, split="train", chunksize=1000, cache_dir=cache)["history"][:]

    assert histories("ours")[-1] == json.loads(filled[1])["history"]
    with pytest.raises(Exception, match=r"generating the dataset|cast"):
        histories("late")


@pytest.mark.skipif("SAFEKEEL_DATA" not in os.environ, reason="needs SAFEKEEL_DATA")
@pytest.mark.parametrize("template", ["shipped", "january"])
def test_trl_learns_the_reasoning_with_the_real_vocabulary(tmp_path: Path, template: str) -> None:
    """R1-Distill-Qwen's tokenizer with today's template, and the first one, which leaves `<think>` to the model."""
    model = tmp_path / "model"
    shutil.copytree(Path(os.environ["SAFEKEEL_DATA"]) / "tokenizers" / "r1-distill-qwen-reconstructed", model)
    if template == "shipped":
        model.chmod(0o755)
        path = resources.files("safekeel.data") / "templates/deepseek_r1_distill_qwen.jinja"
        (model / "chat_template.jinja").write_bytes(path.read_bytes())
    tokenizer = load_tokenizer(model)
    write_jsonl(tmp_path / "sft.jsonl", SAMPLES)
    export(tmp_path, ["trl"], tmp_path, model)
    opening = [] if template == "shipped" else tokenizer("<think>\n")["input_ids"]
    expected = []
    for row in SAMPLES:
        given = prompt_ids(tokenizer, render_prompt(tokenizer, row.prompt.messages))
        expected.append((given, [*opening, *completion_ids(tokenizer, row.thought, row.answer)]))
    assert prepared(read(tmp_path / "trl" / "train.jsonl"), tokenizer, tmp_path) == expected
    assert prepared(read(tmp_path / "trl" / "train-tokens.parquet"), tokenizer, tmp_path) == expected
