"""Interpolation, byte by byte: ends, linearity, shards, types, LoRA, task vectors, and what must be refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from safetensors.torch import load_file, save_file  # noqa: E402

from safekeel.errors import DataError, UsageError  # noqa: E402
from safekeel.train import interpolate  # noqa: E402
from safekeel.train.merge import Delta, opened, write_model  # noqa: E402
from safekeel.train.shards import INDEX, SINGLE, Checkpoint  # noqa: E402

SHAPES = {"model.embed_tokens.weight": (7, 4), "model.layers.0.up.weight": (5, 4), "model.norm.weight": (4,)}
KINDS = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def tensors(seed: int, kind=torch.float32) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=rng).to(kind) for name, shape in SHAPES.items()}


def saved(folder: Path, weights: dict, shards: list[list[str]] | None = None, **config) -> Path:
    """A model folder as `save_pretrained` writes it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "qwen2", "num_attention_heads": 2} | config))
    (folder / "tokenizer_config.json").write_text("{}")
    if shards is None:
        save_file(weights, folder / SINGLE, {"format": "pt"})
        return folder
    place = {}
    for number, names in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        save_file({name: weights[name] for name in names}, folder / file, {"format": "pt"})
        place |= dict.fromkeys(names, file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": place}))
    return folder


def merged(base: Path | None, tuned: Path, out: Path, alpha=1.0, deltas=(), dtype=None) -> dict[str, torch.Tensor]:
    with opened(base, tuned, alpha, deltas) as mix:
        write_model(mix, base, tuned, out, dtype)
    found: dict[str, torch.Tensor] = {}
    for file in sorted(out.glob("*.safetensors")):
        found |= load_file(file)
    return found


def same_bytes(left: dict, right: dict) -> bool:
    return left.keys() == right.keys() and all(
        left[name].dtype == right[name].dtype
        and torch.equal(left[name].contiguous().view(torch.uint8), right[name].contiguous().view(torch.uint8))
        for name in left
    )


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_ends_are_the_bytes_of_base_and_tuned(tmp_path, kind) -> None:
    b, t = tensors(1, kind), tensors(2, kind)
    base, tuned = saved(tmp_path / "b", b), saved(tmp_path / "t", t)
    assert same_bytes(merged(base, tuned, tmp_path / "zero", 0.0), b)
    assert same_bytes(merged(base, tuned, tmp_path / "one", 1.0), t)


@settings(max_examples=25, deadline=None)
@given(alpha=st.floats(0, 1), kind=st.sampled_from(sorted(KINDS)), block=st.sampled_from([1, 3, 8, 1 << 20]))
def test_between_the_ends_it_is_the_line_rounded_once(tmp_path_factory, alpha, kind, block) -> None:
    """Whatever the block size: computed in float32, within half a unit of the stored type's last place."""
    tmp_path, stored = tmp_path_factory.mktemp("line"), KINDS[kind]
    b, t = tensors(3, stored), tensors(4, stored)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpolate, "BLOCK", block)
        found = merged(saved(tmp_path / "b", b), saved(tmp_path / "t", t), tmp_path / "out", alpha)
    for name, value in found.items():
        exact = (1 - alpha) * b[name].double() + alpha * t[name].double()
        spacing = torch.finfo(stored).eps * exact.abs().clamp(min=torch.finfo(stored).tiny)
        slack = torch.finfo(torch.float32).eps * (b[name].double().abs() + t[name].double().abs())
        assert value.dtype == stored
        assert ((value.double() - exact).abs() <= spacing + 2 * slack).all(), name


def test_it_is_linear_and_idempotent(tmp_path) -> None:
    b, t = tensors(5), tensors(6)
    base, tuned = saved(tmp_path / "b", b), saved(tmp_path / "t", t)
    half = merged(base, tuned, tmp_path / "half", 0.5)
    quarter, through_half = (
        merged(base, tuned, tmp_path / "q", 0.25),
        merged(base, tmp_path / "half", tmp_path / "h", 0.5),
    )
    for name in half:
        torch.testing.assert_close(quarter[name], through_half[name], rtol=1e-6, atol=1e-7)
    assert same_bytes(merged(tmp_path / "half", tmp_path / "half", tmp_path / "again", 0.3), half)


@given(order=st.permutations(sorted(SHAPES)), cut=st.integers(1, 2))
@settings(max_examples=8, deadline=None)
def test_shards_and_their_order_do_not_matter(tmp_path_factory, order, cut) -> None:
    tmp_path = tmp_path_factory.mktemp("shards")
    b, t = tensors(7), tensors(8)
    whole = merged(saved(tmp_path / "b", b), saved(tmp_path / "t", t), tmp_path / "w", 0.25)
    tuned = saved(tmp_path / "ts", t, [order[:cut], order[cut:]])
    assert same_bytes(merged(tmp_path / "b", tuned, tmp_path / "s", 0.25), whole)
    index = json.loads((tmp_path / "s" / INDEX).read_text())
    assert index["metadata"]["total_size"] == sum(value.numel() * 4 for value in t.values())
    assert index["weight_map"] == json.loads((tuned / INDEX).read_text())["weight_map"]
    assert set(Checkpoint.open(tmp_path / "s").tensors) == set(SHAPES)  # which checks index and shards against it


def test_types_may_differ_and_another_can_be_asked_for(tmp_path) -> None:
    b, t = tensors(9, torch.bfloat16), tensors(10)
    base, tuned = saved(tmp_path / "b", b, dtype="bfloat16"), saved(tmp_path / "t", t, torch_dtype="float32")
    assert {value.dtype for value in merged(base, tuned, tmp_path / "o", 0.5).values()} == {torch.float32}
    assert same_bytes(
        merged(base, tuned, tmp_path / "z", 0.0), {name: value.to(torch.float32) for name, value in b.items()}
    )
    assert same_bytes(
        merged(base, tuned, tmp_path / "h", 1.0, dtype="bfloat16"),
        {name: value.to(torch.bfloat16) for name, value in t.items()},
    )
    config = json.loads((tmp_path / "h/config.json").read_text())
    assert config["dtype"] == "bfloat16" and "torch_dtype" not in config
    with pytest.raises(UsageError, match=r"float8.*expected float32, bfloat16"):
        merged(base, tuned, tmp_path / "no", 1.0, dtype="float8")


def test_a_tied_head_on_one_side_only_is_the_embedding(tmp_path) -> None:
    b, t = tensors(11), tensors(12)
    head = {"lm_head.weight": b["model.embed_tokens.weight"].clone()}
    tied = saved(tmp_path / "tied", t, tie_word_embeddings=True)
    stored_twice = saved(tmp_path / "twice", b | head, tie_word_embeddings=True)
    assert merged(stored_twice, tied, tmp_path / "a", 0.5).keys() == t.keys()
    both = merged(tied, stored_twice, tmp_path / "b", 0.5)
    torch.testing.assert_close(both["lm_head.weight"], both["model.embed_tokens.weight"], rtol=0, atol=0)
    untied = saved(tmp_path / "untied", b | head, tie_word_embeddings=False)
    with pytest.raises(DataError, match=r"1 only in .*untied.*lm_head"):
        merged(untied, tied, tmp_path / "c", 0.5)


def test_task_vectors_are_added_with_their_weights(tmp_path) -> None:
    names = ["t", "s", "u"]
    values = {name: tensors(20 + number) for number, name in enumerate(names)}
    t, s, u = (saved(tmp_path / name, values[name]) for name in names)
    deltas = [Delta(weight=0.5, safe=s, unsafe=u), Delta(weight=-0.25, safe=u, unsafe=t)]
    found = merged(None, t, tmp_path / "out", 1.0, deltas)
    for name, value in found.items():
        expected = values["t"][name] + 0.5 * (values["s"][name] - values["u"][name])
        expected = expected - 0.25 * (values["u"][name] - values["t"][name])
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-6)
    nothing = [Delta(weight=0.0, safe=s, unsafe=u)]
    assert same_bytes(merged(None, t, tmp_path / "same", 1.0, nothing), values["t"])
    with pytest.raises(UsageError, match=r"merge first"):
        merged(s, t, tmp_path / "no", 0.5, deltas)
    with pytest.raises(UsageError, match=r"finite"):
        merged(None, t, tmp_path / "no", 1.0, [Delta.model_construct(weight=math.inf, safe=s, unsafe=u)])


def test_integers_are_kept_where_equal_and_refused_where_not(tmp_path) -> None:
    counts = {"model.position": torch.arange(4)}
    base, tuned = saved(tmp_path / "b", tensors(1) | counts), saved(tmp_path / "t", tensors(2) | counts)
    assert torch.equal(merged(base, tuned, tmp_path / "o", 0.5)["model.position"], counts["model.position"])
    other = saved(tmp_path / "x", tensors(2) | {"model.position": torch.arange(4) + 1})
    with pytest.raises(DataError, match=r"model.position.*I64.*Dequantise"):
        merged(base, other, tmp_path / "p", 0.5)


def test_what_is_no_number_is_refused_and_leaves_nothing(tmp_path) -> None:
    b, t = tensors(1), tensors(2)
    t["model.norm.weight"][2] = float("nan")
    with pytest.raises(DataError, match=r"'model.norm.weight' would hold NaN"):
        merged(saved(tmp_path / "b", b), saved(tmp_path / "t", t), tmp_path / "out", 0.5)
    large = {name: torch.full_like(value, 1e6) for name, value in b.items()}
    with pytest.raises(DataError, match=r"1e\+06, too large for torch.float16"):
        merged(tmp_path / "b", saved(tmp_path / "l", large), tmp_path / "out", 0.5 + 0.5, dtype="float16")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "l", "t"]


@pytest.mark.parametrize("alpha", [-0.1, 1.01, math.nan])
def test_alpha_outside_its_range_is_refused(tmp_path, alpha) -> None:
    with pytest.raises(UsageError, match=r"from 0 .* to 1"):
        merged(tmp_path, tmp_path, tmp_path / "out", alpha)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model.extra.weight": torch.zeros(2)}, "1 only in .*/t .*model.extra.weight"),
        ({"model.norm.weight": None}, "1 only in .*/b .*model.norm.weight"),
        ({"model.norm.weight": torch.zeros(5)}, r"'model.norm.weight' has the shape \[5\].*\[4\]"),
    ],
)
def test_other_tensors_are_an_error_before_anything_is_written(tmp_path, change, message) -> None:
    base = saved(tmp_path / "b", tensors(1))
    weights = {name: value for name, value in (tensors(2) | change).items() if value is not None}
    with pytest.raises(DataError, match=message):
        merged(base, saved(tmp_path / "t", weights), tmp_path / "out", 0.5)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "config, message",
    [
        ({"model_type": "llama"}, "model_type is 'llama'"),
        ({"num_attention_heads": 4}, "num_attention_heads is 4"),
        ({"rope_parameters": {"rope_theta": 1e6}}, "rope_theta is 1000000.0"),
        ({"quantization_config": {"bits": 4}}, "quantised"),
    ],
)
def test_another_architecture_of_the_same_shapes_is_refused(tmp_path, config, message) -> None:
    base = saved(tmp_path / "b", tensors(1), rope_theta=1e4)
    with pytest.raises(DataError, match=message):
        merged(base, saved(tmp_path / "t", tensors(2), **config), tmp_path / "out", 0.5)
