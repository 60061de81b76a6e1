"""The decoding loop: the same greedy tokens as `generate()`, rows independent of their neighbours, fair sampling."""

from __future__ import annotations

import os
import random
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from scipy.stats import chisquare  # noqa: E402

from safekeel.engines import cpu_attention  # noqa: E402
from safekeel.engines.decoding import Decoder, Row  # noqa: E402
from safekeel.engines.growing_cache import growing_cache, joined, select, supports  # noqa: E402
from safekeel.engines.plain_decoding import PlainDecoder  # noqa: E402
from safekeel.nano.model import shipped_checkpoint  # noqa: E402

STORIES = "weights/stories260K"
NO_STOP: frozenset[int] = frozenset([-1])
SMALL = {
    "vocab_size": 97,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,  # a flat model has near-ties that rounding decides
}


def random_model(name: str, **more: Any) -> Any:
    torch.manual_seed(1)
    config = getattr(transformers, f"{name}Config")(**SMALL | more)
    return getattr(transformers, f"{name}ForCausalLM")(config).eval()


def stories() -> Any:
    """A pretrained Llama that nobody here trained, from llama2.c's legacy format (RoPE pairs are neighbours there)."""
    root = os.environ.get("SAFEKEEL_DATA")
    if not root:
        pytest.skip("SAFEKEEL_DATA names no public data")
    content = (Path(root) / STORIES / "checkpoint_legacy.bin").read_bytes()
    dim, hidden, layers, heads, kv_heads, vocab, window = struct.unpack("7i", content[:28])
    config = transformers.LlamaConfig(
        vocab_size=vocab,
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=window,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )
    numbers = torch.frombuffer(bytearray(content[28:]), dtype=torch.float32)
    place = 0

    def take(*shape: int) -> Any:
        nonlocal place
        size = torch.Size(shape).numel()
        place += size
        return numbers[place - size : place].view(*shape)

    def halves(weights: Any, count: int) -> Any:
        return weights.view(layers, count, dim // heads // 2, 2, dim).transpose(2, 3).reshape(layers, -1, dim)

    kv = dim // heads * kv_heads
    state = {"model.embed_tokens.weight": take(vocab, dim)}
    parts = [("input_layernorm", take(layers, dim))]
    parts += [("self_attn.q_proj", halves(take(layers, dim, dim), heads))]
    parts += [("self_attn.k_proj", halves(take(layers, kv, dim), kv_heads))]
    parts += [("self_attn.v_proj", take(layers, kv, dim)), ("self_attn.o_proj", take(layers, dim, dim))]
    parts += [("post_attention_layernorm", take(layers, dim)), ("mlp.gate_proj", take(layers, hidden, dim))]
    parts += [("mlp.down_proj", take(layers, dim, hidden)), ("mlp.up_proj", take(layers, hidden, dim))]
    for name, weights in parts:
        state |= {f"model.layers.{layer}.{name}.weight": weights[layer] for layer in range(layers)}
    state["model.norm.weight"] = take(dim)
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = transformers.LlamaForCausalLM(config).eval()
    model.load_state_dict(state)
    return model


def nano() -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype="float32").eval()


MODELS: dict[str, Callable[[], Any]] = {
    "nano": nano,
    "stories260K": stories,
    "random-llama": lambda: random_model("Llama"),
    "random-qwen2": lambda: random_model("Qwen2", tie_word_embeddings=True),
}


@pytest.fixture(scope="module", params=MODELS)
def compared(request: pytest.FixtureRequest) -> tuple[Any, list[Row], frozenset[int], list[list[int]]]:
    """A model, rows, a stop token that ends some of them early, and what `generate()` gives."""
    model = MODELS[request.param]()
    rows = some_rows(model, 14)
    free_running = [by_generate(model, row, NO_STOP) for row in rows]
    common = Counter(token for tokens in free_running for token in tokens).most_common(1)[0][0]
    expected = [tokens[: tokens.index(common) + 1] if common in tokens else tokens for tokens in free_running]
    assert {tokens[-1] == common for tokens in expected} == {True, False}  # else the tests prove too little
    return model, rows, frozenset([common]), expected


@pytest.fixture(scope="module")
def llama() -> Any:
    return random_model("Llama")


def some_rows(model: Any, count: int, seed: int = 0) -> list[Row]:
    """Prompts of 1 to 30 tokens and limits of 1 to 30, in no order."""
    draw = random.Random(seed)
    vocabulary = range(3, model.config.vocab_size)
    return [
        Row(draw.choices(vocabulary, k=draw.randint(1, 30)), draw.randint(1, 30), sample) for sample in range(count)
    ]


def by_generate(model: Any, row: Row, stop_ids: frozenset[int]) -> list[int]:
    """What `generate()` gives for this prompt alone."""
    config = transformers.GenerationConfig(
        max_new_tokens=row.limit, do_sample=False, eos_token_id=sorted(stop_ids), pad_token_id=0
    )
    ids = torch.tensor([row.ids])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return output[0, len(row.ids) :].tolist()


def decode(model: Any, rows: list[Row], batch_size: int, stop_ids: frozenset[int] = NO_STOP, **options: Any) -> list:
    settings = {"temperature": 0.0, "top_p": 1.0, "seed": 0} | options
    fresh = [Row(row.ids, row.limit, row.sample) for row in rows]
    given = list(Decoder(model, stop_ids, 0, batch_size, **settings).run(fresh))
    assert sorted(map(id, given)) == sorted(map(id, fresh))  # each exactly once
    return [row.tokens for row in fresh]


@pytest.mark.parametrize("batch_size", [1, 4, 40])
def test_greedy_tokens_are_those_of_generate(compared: tuple, batch_size: int) -> None:
    model, rows, stop_ids, expected = compared
    assert supports(model)
    assert decode(model, rows, batch_size, stop_ids) == expected


def test_the_pretrained_model_tells_a_story() -> None:
    """The weights are read as they were meant; else the comparison above would be of two wrong models."""
    model = stories()
    content = (Path(os.environ["SAFEKEEL_DATA"]) / STORIES / "tokenizer.bin").read_bytes()
    pieces, place = [], 4
    while place < len(content):
        (length,) = struct.unpack("i", content[place + 4 : place + 8])
        pieces.append(content[place + 8 : place + 8 + length])
        place += 8 + length
    (tokens,) = decode(model, [Row([1], 24)], 1)
    assert b"".join(pieces[token] for token in tokens).decode().strip().startswith("Once upon a time, there was a")


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("attention", ["sdpa", "eager", cpu_attention.NAME])
def test_every_kind_of_attention(attention: str, kv_heads: int) -> None:
    own = attention == cpu_attention.NAME
    model = random_model("Qwen2", num_key_value_heads=kv_heads, attn_implementation="sdpa" if own else attention)
    rows = some_rows(model, 8)
    expected = [by_generate(model, row, NO_STOP) for row in rows]
    if own:
        cpu_attention.use(model)
    assert model.config._attn_implementation == attention
    assert decode(model, rows, 5) == expected
    assert [by_generate(model, row, NO_STOP) for row in rows] == expected


def test_our_attention_is_torchs_up_to_rounding() -> None:
    torch.manual_seed(0)
    memory = torch.randn(2, 3, 2, 20, 8)
    keys, values = memory[0, :, :, :13], memory[1, :, :, :13]  # views of larger memory, as in the growing cache
    query = torch.randn(3, 6, 1, 8)
    mask = torch.zeros(3, 1, 1, 13).masked_fill(
        torch.arange(13) < torch.tensor([[0], [4], [12]]).view(3, 1, 1, 1), -torch.inf
    )
    ours, _ = cpu_attention.attention(torch.nn.Module(), query, keys, values, mask)
    repeated = (keys.repeat_interleave(3, 1), values.repeat_interleave(3, 1))
    theirs = torch.nn.functional.scaled_dot_product_attention(query, *repeated, attn_mask=mask).transpose(1, 2)
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_models_with_windows_or_states_go_through_generate() -> None:
    model = random_model("Mistral", sliding_window=8)
    assert not supports(model)
    rows = some_rows(model, 9)
    expected = [by_generate(model, row, NO_STOP) for row in rows]
    fresh = [Row(row.ids, row.limit) for row in rows]
    list(PlainDecoder(model, NO_STOP, 0, 1, temperature=0.0, top_p=1.0, seed=0).run(fresh))
    assert [row.tokens for row in fresh] == expected


def test_a_sampled_row_does_not_depend_on_its_neighbours(llama: Any) -> None:
    rows = some_rows(llama, 20)
    drawn = {"temperature": 1.0, "top_p": 0.9, "seed": 5}
    together = decode(llama, rows, 20, **drawn)
    assert decode(llama, rows[:7], 3, **drawn) == together[:7]
    assert decode(llama, rows[::-1], 6, **drawn) == together[::-1]
    assert decode(llama, rows, 20, **(drawn | {"seed": 6})) != together
    same_prompt = [Row(rows[0].ids, 30, sample) for sample in range(4)]
    assert len({tuple(tokens) for tokens in decode(llama, same_prompt, 4, **drawn)}) == 4


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.5, 1.0), (1.0, 0.6)])
def test_tokens_are_drawn_with_their_probabilities(llama: Any, temperature: float, top_p: float) -> None:
    """First tokens of 4,000 samples against the exact distribution (chi-square, a fixed seed)."""
    ids = [5, 9, 30]
    with torch.inference_mode():
        exact = (llama(torch.tensor([ids])).logits[0, -1].double() / temperature).softmax(-1)
    order = exact.argsort(descending=True)
    before = exact[order].cumsum(-1) - exact[order]
    kept = order[before < top_p]
    expected = exact[kept] / exact[kept].sum()
    rows = [Row(ids, 1, sample) for sample in range(4000)]
    counts = Counter(tokens[0] for tokens in decode(llama, rows, 1000, temperature=temperature, top_p=top_p))
    assert set(counts) <= set(kept.tolist())
    likely = [place for place, share in enumerate(expected.tolist()) if share * len(rows) >= 5]
    seen = [counts[int(kept[place])] for place in likely]
    wanted = [float(expected[place]) * len(rows) for place in likely]
    rest = len(rows) - sum(wanted)
    if rest > 1e-6:
        seen, wanted = [*seen, len(rows) - sum(seen)], [*wanted, rest]
    assert chisquare(seen, wanted).pvalue > 0.001


def test_rows_are_given_out_early_and_their_seconds_add_up(llama: Any) -> None:
    import time

    rows = [Row([5, 6], limit) for limit in (1, 2, 2, 30, 3)]
    started = time.perf_counter()
    order = [row.limit for row in Decoder(llama, NO_STOP, 0, 4, 0.0, 1.0, 0).run(rows)]
    assert order == [1, 2, 2, 3, 30]  # the long one was set aside while the last one had its turn
    assert 0 < sum(row.seconds for row in rows) <= time.perf_counter() - started


def test_nothing_to_do(llama: Any) -> None:
    assert list(Decoder(llama, NO_STOP, 0, 4, 0.0, 1.0, 0).run([])) == []


@pytest.mark.parametrize(("length", "start", "width"), [(5, 0, 3), (5, 2, 3), (5, 4, 9)])
def test_selected_and_joined_caches_hold_their_rows_at_the_right(length: int, start: int, width: int) -> None:
    old, new = growing_cache(), growing_cache()
    for cache, rows, positions in ((old, 3, length), (new, 2, width)):
        for layer in range(2):
            cache.update(*torch.randn(2, rows, 2, positions, 4), layer)
    both = joined(select(old, torch.tensor([0, 2]), start), new)
    total = max(length - start, width)
    assert both.get_seq_length() == total
    for layer in range(2):
        keys = both.layers[layer].keys
        assert torch.equal(keys[:2, :, total - (length - start) :], old.layers[layer].keys[[0, 2], :, start:])
        assert torch.equal(keys[2:, :, total - width :], new.layers[layer].keys)
        assert keys[:2, :, : total - (length - start)].eq(0).all() and keys[2:, :, : total - width].eq(0).all()
    more = torch.randn(2, 4, 2, 1, 4)
    keys, values = both.update(*more, 0)
    assert torch.equal(keys[:, :, -1:], more[0]) and torch.equal(values[:, :, -1:], more[1])
    assert keys.shape[-2] == total + 1
