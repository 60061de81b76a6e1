"""Engines: the scripted fake, and transformers on a random model of a few thousand weights."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from safekeel.chat import completion_text, prompt_ids, render_prompt
from safekeel.engines import open_engine
from safekeel.engines.base import Engine, Sampling, generation_key
from safekeel.engines.scripted import ScriptedEngine
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.records import Completion, Message, Prompt

WINDOW = 64


def prompt(identifier: str, text: str) -> Prompt:
    return Prompt(
        id=identifier,
        messages=(Message(role="user", content=text),),
        lang="en",
        risk=None,
        expect="answer",
        target=None,
        source="test",
        licence="Apache-2.0",
    )


PROMPTS = [prompt(f"p{index}", "how are you 安全 " * index) for index in (3, 0, 5, 1, 4, 2)]


# --- scripted ---------------------------------------------------------------------------------------------------------


def script(folder: Path, *rows: dict) -> Path:
    path = folder / "replies.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def test_the_first_fitting_reply_wins(tmp_path: Path) -> None:
    path = script(
        tmp_path,
        {"id": "p1", "match": "never said", "raw": "both must fit"},
        {"id": "p1", "raw": "<think>by id</think>one"},
        {"match": "安全 .*安全", "raw": "<think>by text</think>many"},
        {"match": "^$", "raw": "cut", "finish": "length"},
    )
    engine = open_engine(f"scripted:{path}")
    seen: list[Completion] = []
    rows = engine.generate([prompt("p1", "x"), PROMPTS[0], prompt("e", ""), prompt("z", "x")], Sampling(), seen.append)
    assert [(row.prompt_id, row.thought, row.answer, row.split, row.finish) for row in rows] == [
        ("p1", "by id", "one", "closed", "stop"),
        ("p3", "by text", "many", "closed", "stop"),
        ("e", "cut", "", "truncated", "length"),
        ("z", None, "", "truncated", "error"),
    ]
    assert "no reply for prompt 'z'" in (rows[-1].error or "")
    assert seen == rows
    assert {row.model for row in rows} == {engine.name} == {"scripted:replies.jsonl"}


def test_a_script_answers_every_sample_and_its_id_is_its_content(tmp_path: Path) -> None:
    engine = ScriptedEngine(script(tmp_path, {"raw": "A"}))
    rows = engine.generate(PROMPTS[:2], Sampling(num_samples=2))
    assert [(row.prompt_id, row.sample) for row in rows] == [("p3", 0), ("p3", 1), ("p0", 0), ("p0", 1)]
    (tmp_path / "other").mkdir()
    assert ScriptedEngine(script(tmp_path / "other", {"raw": "A"})).model_id == engine.model_id
    assert ScriptedEngine(script(tmp_path / "other", {"raw": "B"})).model_id != engine.model_id


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"match": "(", "raw": "A"}, r"replies\.jsonl:1: .*expected a regular expression"),
        ({"match": "a"}, r"replies\.jsonl:1: .*raw: missing"),
        ({"raw": "A", "answer": "B"}, r"replies\.jsonl:1: .*answer: unknown name"),
    ],
)
def test_a_malformed_script_names_its_line(tmp_path: Path, row: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ScriptedEngine(script(tmp_path, row))


# --- open_engine and the key ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("model", "expected SCHEME:LOCATION"),
        ("hf:", "expected SCHEME:LOCATION"),
        ("api:gpt", r"api:gpt needs its server: --base-url URL"),
        ("script:x", r"unknown scheme 'script'\. Did you mean 'scripted'\? Known: api, hf, scripted, vllm\."),
    ],
)
def test_a_wrong_model_argument(spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_engine(spec)


def test_without_torch_the_scripted_engine_works_and_hf_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"  # as if not installed
        "from safekeel.engines import open_engine\n"
        f"open_engine('scripted:{script(tmp_path, {'raw': 'A'})}')\n"
        "assert 'transformers' not in sys.modules\n"
        "open_engine('hf:model')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "EngineError: hf:model needs torch, which is not installed: pip install 'safekeel[train]'." in done.stderr


def test_the_key_of_a_generation_holds_everything_that_changes_it() -> None:
    base = ("m", "prompt", Sampling(), 0)
    assert generation_key(*base) == generation_key("m", "prompt", Sampling(num_samples=4), 0)
    changed = [
        ("m2", *base[1:]),
        ("m", "prompt ", *base[2:]),
        (*base[:3], 1),
        *(
            ("m", "prompt", Sampling(**change), 0)
            for change in ({"max_tokens": 9}, {"temperature": 1}, {"top_p": 0.9}, {"seed": 1}, {"think": "none"})
        ),
    ]
    assert len({generation_key(*key) for key in [base, *changed]}) == 9


# --- hf ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Qwen2 (hidden 32, 2 layers) with R1's template. One token besides EOS stops it, as in chat models,
    chosen so that some greedy completions stop and others do not; its own generation config asks for sampling."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from safekeel.nano.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("tiny") / "random"
    tokenizer = train_tokenizer([prompt.messages[0].content for prompt in PROMPTS] + [completion_text("a", "b")], 350)
    tokenizer.pad_token = tokenizer.eos_token  # as R1's own: padding cannot be told from EOS without a mask
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=False,
        initializer_range=0.3,  # a flat model has near-ties that rounding decides
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(config)
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    free_running = open_engine(f"hf:{folder}").generate(PROMPTS[:1], Sampling(max_tokens=6))[0]
    stop = tokenizer(free_running.raw, add_special_tokens=False)["input_ids"][-1]
    model.generation_config = transformers.GenerationConfig(
        eos_token_id=[tokenizer.eos_token_id, stop], do_sample=True, temperature=5.0, repetition_penalty=3.0
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def engine(model_folder: Path) -> Any:
    return open_engine(f"hf:{model_folder}", batch_size=4, device="cpu")


def texts(rows: list[Completion]) -> list[tuple]:
    return [(row.prompt_id, row.sample, row.raw, row.finish, row.num_completion_tokens) for row in rows]


def test_batches_give_what_the_model_gives_alone_and_in_order(engine: Any, model_folder: Path) -> None:
    """Against greedy decoding by hand: no batch, no padding, no cache, no `generate`."""
    import torch

    sampling = Sampling(max_tokens=16)
    expected = []
    for item in PROMPTS:
        ids = prompt_ids(engine.tokenizer, render_prompt(engine.tokenizer, item.messages))
        start = len(ids)
        while len(ids) < start + 16 and (len(ids) == start or ids[-1] not in engine.stop_ids):
            with torch.inference_mode():
                ids.append(int(engine.model(torch.tensor([ids])).logits[0, -1].argmax()))
        stopped = ids[-1] in engine.stop_ids
        raw = engine.tokenizer.decode(ids[start : len(ids) - stopped])
        expected.append((item.id, 0, raw, "stop" if stopped else "length", len(ids) - start))
    assert {row[3] for row in expected} == {"stop", "length"}  # else the test proves too little
    rows = engine.generate(PROMPTS, sampling)
    assert texts(rows) == expected
    alone = open_engine(f"hf:{model_folder}", batch_size=1, device="cpu")
    assert texts(alone.generate(PROMPTS, sampling)) == expected


def test_a_row_is_handed_on_while_others_are_still_waiting(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Completion] = []
    num_seen_before_call = []
    real = engine.model.forward
    monkeypatch.setattr(
        engine.model, "forward", lambda **inputs: num_seen_before_call.append(len(seen)) or real(**inputs)
    )
    rows = engine.generate(PROMPTS, Sampling(max_tokens=2), seen.append)
    assert num_seen_before_call[:3] == [0, 0, 4]  # four prompts read, a step, the rows handed on; then the other two
    assert sorted(texts(seen)) == sorted(texts(rows))
    assert [row.prompt_id for row in rows] == [item.id for item in PROMPTS]


def test_the_split_knows_how_the_prompt_ended(engine: Any) -> None:
    """A random model writes no tag: after an open thought that is all thought, after a closed one all answer."""
    for think, status in (("default", "truncated"), ("forced", "truncated"), ("none", "none")):
        row = engine.generate(PROMPTS[:1], Sampling(max_tokens=3, think=think))[0]
        assert (row.split, row.finish) == (status, "length")
        assert row.answer == ("" if status == "truncated" else row.raw.strip())


def test_sampling_is_seeded_and_leaves_the_callers_generator_alone(engine: Any) -> None:
    import torch

    drawn = Sampling(max_tokens=8, temperature=1.0, num_samples=3, seed=7)
    torch.manual_seed(1)
    rows = engine.generate(PROMPTS, drawn)
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after
    assert texts(engine.generate(PROMPTS, drawn)) == texts(rows)
    assert [(row.prompt_id, row.sample) for row in rows[:4]] == [("p3", 0), ("p3", 1), ("p3", 2), ("p0", 0)]
    assert len({row.raw for row in rows[:3]}) > 1
    assert texts(engine.generate(PROMPTS, drawn.model_copy(update={"seed": 8}))) != texts(rows)


def test_temperature_and_top_p_are_obeyed_and_top_k_is_off(engine: Any) -> None:
    """transformers would keep the 50 likeliest tokens unless told otherwise."""
    flat = Sampling(max_tokens=1, temperature=100.0, num_samples=300)
    assert len({row.raw for row in engine.generate(PROMPTS[:1], flat)}) > 60
    narrow = Sampling(max_tokens=4, temperature=100.0, top_p=1e-6, num_samples=5)
    assert {row.raw for row in engine.generate(PROMPTS[:1], narrow)} == {
        engine.generate(PROMPTS[:1], Sampling(max_tokens=4))[0].raw
    }


def test_a_prompt_beyond_the_window_is_an_error_row(engine: Any) -> None:
    long = prompt("long", "how are you 安全 " * 40)
    near = prompt("near", "how are you 安全 " * 8)
    rows = engine.generate([PROMPTS[1], long, near], Sampling(max_tokens=60, think="none"))
    assert [row.prompt_id for row in rows] == ["p0", "long", "near"]
    assert (rows[1].finish, rows[1].answer, rows[1].split) == ("error", "", "truncated")
    assert f"the model's window {WINDOW}; shorten it." in (rows[1].error or "")
    for row in (rows[0], rows[2]):
        assert row.error is None
        assert row.finish == "stop" or row.num_prompt_tokens + row.num_completion_tokens == WINDOW


def test_the_model_id_is_weights_tokenizer_and_template(engine: Any, model_folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    assert open_engine(f"hf:{copy}", device="cpu").model_id == engine.model_id
    assert (open_engine(f"hf:{copy}", device="cpu").name, engine.name.split("/")[-1]) == (
        f"{tmp_path.name}/copy",
        "random",
    )
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text("utf-8") + " ", "utf-8")
    retemplated = open_engine(f"hf:{copy}", device="cpu").model_id
    weights = load_file(copy / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"] + torch.tensor(1e-3)
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert len({engine.model_id, retemplated, open_engine(f"hf:{copy}", device="cpu").model_id}) == 3


def _without(*names: str) -> Any:
    def damage(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return damage


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _half_written(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _remote_code(folder: Path) -> None:
    config = {"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "code.py").write_text("raise SystemExit('remote code was run')", "utf-8")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_without("config.json"), EngineError, "it holds no config.json"),
        (_without("model.safetensors"), EngineError, "holds no weights at all, expected"),
        (_pickled, EngineError, r"holds pytorch_model.bin, expected \*.safetensors: pickled"),
        (_half_written, EngineError, "cannot be loaded as a causal language model"),
        (_remote_code, EngineError, "cannot be loaded as a causal language model"),
        (_without("chat_template.jinja"), DataError, "has no chat template"),
    ],
)
def test_a_damaged_model_folder(
    model_folder: Path, tmp_path: Path, damage: Any, error: type[Exception], message: str
) -> None:
    copy = Path(shutil.copytree(model_folder, tmp_path / "copy"))
    damage(copy)
    with pytest.raises(error, match=message):
        open_engine(f"hf:{copy}")


def test_a_missing_model(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub")
    with pytest.raises(EngineError, match="no such folder; expected a checkpoint folder or a hub id"):
        open_engine(f"hf:{tmp_path / 'absent'}")

    def refuse(*_: Any, **__: Any) -> str:
        raise OSError("no network")

    monkeypatch.setattr(hub, "snapshot_download", refuse)
    with pytest.raises(EngineError, match=r"is no local folder, and the hub does not give it \(OSError: no network\)"):
        open_engine("hf:owner/name")


def test_out_of_memory_says_what_to_lower(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    def exhausted(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(engine.model, "forward", exhausted)
    with pytest.raises(EngineError, match="lower the batch size"):
        engine.generate(PROMPTS, Sampling(max_tokens=2))


def test_both_are_engines(engine: Any, tmp_path: Path) -> None:
    """Everything `Engine` declares is there (what mypy checks of the classes, checked of the objects)."""
    declared = {name for name in vars(Engine) if not name.startswith("_")}
    assert declared == {"name", "model_id", "rendered", "generate"}
    for each in (engine, ScriptedEngine(script(tmp_path, {"raw": "A"}))):
        assert all(hasattr(each, name) for name in declared)
