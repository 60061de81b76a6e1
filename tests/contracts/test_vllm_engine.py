"""The vLLM engine against a stand-in with vLLM's documented signatures and nothing else. No GPU is needed, and nothing
here says that it runs on one."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("transformers")

from safekeel.chat import completion_text, prompt_ids, render_prompt
from safekeel.engines import open_engine
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError, EngineError
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import Completion, Message, Prompt

WINDOW = 200


@dataclass
class SamplingParams:
    """Fields and defaults of vllm/sampling_params.py (main at 00388f65); an unknown one is a TypeError, as there."""

    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: str | list[str] | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True


@dataclass
class CompletionOutput:
    """Of vllm/outputs.py (003d3ee2)."""

    index: int
    text: str
    token_ids: tuple[int, ...]
    cumulative_logprob: float | None = None
    logprobs: None = None
    finish_reason: str | None = None
    stop_reason: int | str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool = True


@dataclass
class Model:
    max_model_len: int = WINDOW


@dataclass
class Inner:
    model_config: Model = field(default_factory=Model)


class LLM:
    """`LLM.__init__` and `LLM.generate` of vllm/entrypoints/llm.py (10fdb8f0), of which a script says the replies."""

    replies: ClassVar[list[tuple[list[int], str]]] = []
    calls: ClassVar[list[tuple[list[dict], list[SamplingParams]]]] = []
    settings: ClassVar[dict[str, Any]] = {}
    broken: ClassVar[Exception | None] = None

    def __init__(
        self,
        model: str,
        *,
        tensor_parallel_size: int = 1,
        dtype: str = "auto",
        trust_remote_code: bool = False,
        seed: int = 0,
        gpu_memory_utilization: float = 0.9,
        max_model_len: int | None = None,  # of EngineArgs, by **kwargs
    ) -> None:
        if LLM.broken:
            raise LLM.broken
        LLM.settings = {**locals()}
        self.llm_engine = Inner()

    def generate(
        self,
        prompts: list[dict],
        sampling_params: list[SamplingParams],
        *,
        use_tqdm: bool = True,
        lora_request: None = None,
        priority: None = None,
    ) -> list[RequestOutput]:
        assert len(prompts) == len(sampling_params)
        assert all(set(prompt) == {"prompt_token_ids"} for prompt in prompts) and use_tqdm is False
        LLM.calls.append((prompts, sampling_params))
        if LLM.broken:
            raise LLM.broken
        found = []
        for place, prompt in enumerate(prompts):
            tokens, reason = LLM.replies[place % len(LLM.replies)]
            output = CompletionOutput(0, "", tuple(tokens), finish_reason=reason)
            found.append(RequestOutput(str(place), None, prompt["prompt_token_ids"], [output]))
        return found


@pytest.fixture
def vllm(monkeypatch: pytest.MonkeyPatch) -> type[LLM]:
    module = types.ModuleType("vllm")
    module.LLM, module.SamplingParams = LLM, SamplingParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm", module)
    LLM.calls, LLM.broken = [], None
    return LLM


def prompt(identifier: str, text: str) -> Prompt:
    return Prompt(
        id=identifier,
        messages=(Message(role="user", content=text),),
        lang="en",
        risk=None,
        expect="answer",
        target=None,
        source="test",
        licence="none",
    )


PROMPTS = [prompt(f"p{number}", f"What is {number} + 1?") for number in range(5)]
SPEC = f"vllm:{shipped_checkpoint()}"


def test_replies_become_completions(vllm: type[LLM]) -> None:
    engine: Any = open_engine(SPEC)
    eos = engine.tokenizer.eos_token_id
    ids = engine.tokenizer(completion_text("plain", "4"), add_special_tokens=False)["input_ids"]
    vllm.replies = [([*ids, eos], "stop"), (ids[:2], "length"), ([], "abort")]
    rows = engine.generate(PROMPTS[:3], Sampling(max_tokens=50))
    assert [(row.prompt_id, row.split, row.finish) for row in rows] == [
        ("p0", "prefilled", "stop"),
        ("p1", "truncated", "length"),
        ("p2", "truncated", "error"),
    ]
    assert (rows[0].thought, rows[0].answer) == ("plain", "4")
    assert rows[0].raw == completion_text("plain", "4")  # without the stop token, which counts as a token
    assert rows[0].num_completion_tokens == len(ids) + 1
    assert "abort" in (rows[2].error or "")
    assert rows[0].model == engine.name == "nano/checkpoint"


def test_the_request_is_our_own_rendering_and_says_everything(vllm: type[LLM]) -> None:
    engine: Any = open_engine(SPEC, tensor_parallel_size=2, max_model_len=WINDOW)
    assert (vllm.settings["tensor_parallel_size"], vllm.settings["max_model_len"]) == (2, WINDOW)
    assert vllm.settings["trust_remote_code"] is False
    vllm.replies = [([5], "length")]
    for think in ("default", "none", "forced"):
        sampling = Sampling(max_tokens=7, temperature=0.6, top_p=0.95, think=think, seed=3)
        engine.generate(PROMPTS[:1], sampling)
        (requests, (parameters,)) = vllm.calls[-1]
        text = render_prompt(engine.tokenizer, PROMPTS[0].messages, think)  # type: ignore[arg-type]
        assert requests == [{"prompt_token_ids": prompt_ids(engine.tokenizer, text)}]
        assert engine.rendered(PROMPTS[0], sampling) == text
        assert (parameters.n, parameters.temperature, parameters.top_p, parameters.max_tokens) == (1, 0.6, 0.95, 7)
        assert (parameters.top_k, parameters.repetition_penalty) == (0, 1.0)  # R1's own config is not merged in


def test_every_sample_has_a_seed_of_its_own_that_does_not_depend_on_the_others(vllm: type[LLM]) -> None:
    engine = open_engine(SPEC)
    vllm.replies = [([5], "length")]
    sampling = Sampling(temperature=1.0, num_samples=3)
    rows = engine.generate(PROMPTS[:2], sampling)
    assert [(row.prompt_id, row.sample) for row in rows] == [(f"p{p}", s) for p in (0, 1) for s in (0, 1, 2)]
    seeds = [parameters.seed for parameters in vllm.calls[0][1]]
    assert len(set(seeds)) == 6 and all(0 <= seed < 2**63 for seed in seeds if seed is not None)
    engine.generate(PROMPTS[1:2], sampling)
    assert [parameters.seed for parameters in vllm.calls[1][1]] == seeds[3:]
    engine.generate(PROMPTS[1:2], sampling.model_copy(update={"seed": 1}))
    assert not set(seeds) & {parameters.seed for parameters in vllm.calls[2][1]}


def test_rows_are_handed_on_after_every_chunk_and_survive_a_crash(vllm: type[LLM]) -> None:
    engine = open_engine(SPEC, chunk_size=2)
    vllm.replies = [([5], "length")]
    seen: list[Completion] = []
    engine.generate(PROMPTS, Sampling(), seen.append)
    assert [len(requests) for requests, _ in vllm.calls] == [2, 2, 1]
    assert [row.prompt_id for row in seen] == [item.id for item in PROMPTS]

    def crash(row: Completion) -> None:
        seen.append(row)
        vllm.broken = RuntimeError("CUDA error") if len(seen) == 7 else None

    with pytest.raises(EngineError, match=r"vLLM gave up \(RuntimeError: CUDA error\)"):
        engine.generate(PROMPTS, Sampling(), crash)
    assert len(seen) == 7


def test_a_prompt_beyond_the_window_is_an_error_row_and_is_not_sent(vllm: type[LLM]) -> None:
    engine = open_engine(SPEC)
    vllm.replies = [([5], "length")]
    rows = engine.generate([prompt("long", "why " * 300), PROMPTS[0]], Sampling(max_tokens=500))
    assert [row.finish for row in rows] == ["error", "length"]
    assert f"the model's window {WINDOW}" in (rows[0].error or "")
    (requests, (parameters,)) = vllm.calls[0]
    assert parameters.max_tokens == WINDOW - len(requests[0]["prompt_token_ids"])


def test_the_identity_is_weights_and_number_type_and_not_that_of_hf(vllm: type[LLM]) -> None:
    engine = open_engine(SPEC)
    assert engine.model_id == open_engine(SPEC).model_id != open_engine(SPEC, dtype="float16").model_id
    assert {"name", "model_id", "rendered", "generate"} == {name for name in vars(Engine) if not name.startswith("_")}
    assert all(hasattr(engine, name) for name in ("name", "model_id", "rendered", "generate"))


def test_what_a_user_without_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(EngineError, match=r"pip install 'safekeel\[vllm\]'.*api:NAME"):
        open_engine("vllm:owner/name")


def test_a_model_that_does_not_load(vllm: type[LLM], tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"vllm:.*absent: no such folder"):
        open_engine(f"vllm:{tmp_path / 'absent'}")
    vllm.broken = ValueError("no kernel image is available")
    with pytest.raises(EngineError, match=r"cannot be loaded \(ValueError: no kernel image"):
        open_engine(SPEC)


def test_a_prompt_that_the_template_rejects_is_data_error(vllm: type[LLM]) -> None:
    engine = open_engine(SPEC)
    bad = PROMPTS[0].model_copy(update={"messages": (Message(role="assistant", content="x"),)})
    with pytest.raises(DataError, match="must end with a user"):
        engine.rendered(bad, Sampling())


def test_a_prefill_is_sent_behind_the_template_and_counts_as_said(vllm: type[LLM]) -> None:
    engine: Any = open_engine(SPEC)
    begun = Message(role="assistant", content="<think>\nwe add")
    item = PROMPTS[0].model_copy(update={"messages": (*PROMPTS[0].messages, begun)})
    ids = engine.tokenizer(" 1\n</think>\n\n4", add_special_tokens=False)["input_ids"]
    vllm.replies = [([*ids, engine.tokenizer.eos_token_id], "stop")]
    row = engine.generate([item], Sampling(max_tokens=50))[0]
    (requests, _) = vllm.calls[-1]
    text = engine.rendered(item, Sampling())
    assert text.endswith("<think>\nwe add") and requests == [{"prompt_token_ids": prompt_ids(engine.tokenizer, text)}]
    assert (row.thought, row.answer, row.split) == ("we add 1", "4", "prefilled")
    assert row.num_completion_tokens == len(ids) + 1
