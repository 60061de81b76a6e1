"""Parallel layouts: the shipped presets of four engines are possible, and each rule is broken by one change."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.errors import UsageError
from safekeel.train.launch.layout import Layout, ModelSizes, problems, require_possible

V3 = ModelSizes(layers=61, heads=128, kv_heads=128, experts=256)
ENDS_EARLY = replace(V3, layers=None)  # verl and slime say only how many layers the last stage holds
# reference/train-peers.md §6, read from the engines' own scripts.
PRESETS = {
    "mindspeed full A2": (
        Layout(512, 1, 8, 1, 64, 1, 64, 4096, stage_layers=(7, 7, 7, 8, 8, 8, 8, 8)),
        V3,
    ),
    "mindspeed full A3": (Layout(256, 2, 16, 1, 8, 1, 1024, 4096, empty_layers=3), V3),
    "mindspeed LoRA A2": (Layout(64, 1, 4, 1, 16, 1, 256, 4096, stage_layers=(15, 15, 16, 15)), V3),
    "mindspeed LoRA A3 16k": (Layout(128, 1, 8, 2, 16, 1, 128, 16384, empty_layers=3), V3),
    "mindspeed V3.2 A3 16k": (Layout(512, 16, 8, 2, 64, 1, 512, 16384, empty_layers=3), V3),
    "verl 96": (Layout(96, 8, 12, 1, 8), ENDS_EARLY),
    "verl 128": (Layout(128, 8, 16, 1, 8), ENDS_EARLY),
    "verl 256": (Layout(256, 8, 16, 1, 8), ENDS_EARLY),
    "verl 512": (Layout(512, 1, 16, 1, 32), ENDS_EARLY),
    "slime 128": (Layout(128, 8, 4, 4, 32), ENDS_EARLY),
    "mindspeed-rl 256": (Layout(256, 4, 8, 1, 8, stage_layers=(7, 7, 7, 8, 8, 8, 8, 8)), V3),
    "seed inference": (Layout(64, 1, 8, 1, 8, stage_layers=(7, 7, 7, 8, 8, 8, 8, 8)), V3),
}


@pytest.mark.parametrize("name", PRESETS)
def test_shipped_presets_are_possible(name: str) -> None:
    assert problems(*PRESETS[name]) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"world": 500}, "500 devices are no multiple"),
        ({"expert": 48}, "does not divide the 64 devices of a pipeline stage"),
        ({"global_batch": 100}, "use 64 or 128 rows"),
        ({"micro_batch": 3}, "3 x 64 = 192"),
        ({"stage_layers": (7, 8)}, "2 layer counts for 8"),
        ({"stage_layers": (7, 7, 7, 8, 8, 8, 8, 7)}, "hold 60 layers, the model has 61"),
        ({"stage_layers": ()}, "add 3 empty layers"),
        ({"empty_layers": 3}, "exclude each other"),
        ({"pipeline": 0}, "pipeline is 0"),
    ],
)
def test_each_rule_names_what_is_wrong(change: dict, said: str) -> None:
    preset, model = PRESETS["mindspeed full A2"]
    with pytest.raises(UsageError, match="impossible") as raised:
        require_possible(replace(preset, **change), model)
    assert said in str(raised.value)


def test_sequences_heads_and_experts_have_to_divide() -> None:
    dense = ModelSizes(layers=28, heads=28, kv_heads=4, experts=0)
    assert "2 x context = 8" in problems(Layout(8, context=4, length=4098), dense)[0]
    assert "28 attention heads" in problems(Layout(8, tensor=8), dense)[0]
    assert "without experts" in problems(Layout(8, expert=2), dense)[0]
    assert "256 experts" in problems(Layout(96, expert=96), V3)[0]


@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(1, 6), st.integers(1, 4), st.integers(1, 9))
def test_a_layout_built_from_its_parts_is_possible(
    tensor: int, pipeline: int, context: int, data: int, micro: int, passes: int
) -> None:
    layout = Layout(
        world=tensor * pipeline * context * data,
        tensor=tensor,
        pipeline=pipeline,
        context=context,
        micro_batch=micro,
        global_batch=micro * data * passes,
        length=2 * context * 64,
    )
    assert layout.data == data and problems(layout, ModelSizes(layers=pipeline * 5)) == []
    one_short = replace(layout, global_batch=micro * data * passes + 1)
    assert bool(problems(one_short)) == (micro * data > 1)
