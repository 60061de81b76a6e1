"""Plans: exact sizes, memory estimates beside what PyTorch allocates, and errors before hours are spent."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from safekeel.config import load_recipe, recipe_names
from safekeel.errors import ConfigError, DataError, UsageError
from safekeel.train.launch import memory
from safekeel.train.launch.memory import Work, estimate
from safekeel.train.launch.plan import GIB, Plan, plan_of, require_possible
from safekeel.train.launch.plan_text import as_text
from safekeel.train.launch.recipe import TrainRecipe, is_training, recipe_plans
from safekeel.train.launch.shape import Shape, read_shape, shape_of
from safekeel.train.launch.sharded import LaunchConfig
from safekeel.train.launch.work import Lengths
from safekeel.train.lora import TARGETS
from safekeel.train.preference_config import PreferenceConfig
from safekeel.train.rl_config import RlConfig
from safekeel.train.sft import SftConfig

# Parameter counts of the published checkpoints (the sizes that their model pages and index files state).
PUBLISHED = {
    "deepseek-r1-distill-qwen-1.5b": 1_777_088_000,
    "deepseek-r1-distill-qwen-7b": 7_615_616_512,
    "deepseek-r1-distill-llama-8b": 8_030_261_248,
    "deepseek-r1-distill-qwen-14b": 14_770_033_664,
    "deepseek-r1-distill-qwen-32b": 32_763_876_352,
    "deepseek-r1-distill-llama-70b": 70_553_706_496,
    "qwen3-8b": 8_190_735_360,
}
SMALL = {
    "hidden_size": 64,
    "intermediate_size": 224,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 4096,
}
LENGTHS = Lengths(samples=1000, tokens=600_000, longest=4000)


def training_recipes() -> list[str]:
    return [name for name in recipe_names() if is_training(load_recipe(name, []))]


def small(family: str, **more: object) -> tuple[object, Shape]:
    """A small model's transformers configuration and its shape."""
    transformers = pytest.importorskip("transformers", reason="needs the train extra")
    config = transformers.AutoConfig.for_model(family, **(SMALL | more))
    return config, shape_of(config.to_dict(), family)


def test_every_real_model_has_a_recipe_of_its_published_size() -> None:
    assert {name: TrainRecipe.resolve(load_recipe(name, [])).model.shape().params for name in training_recipes()} == (
        PUBLISHED
    )


@pytest.mark.skipif("SAFEKEEL_DATA" not in os.environ, reason="needs public data: set SAFEKEEL_DATA")
def test_the_32b_sizes_are_those_of_its_own_config() -> None:
    shape = read_shape(Path(os.environ["SAFEKEEL_DATA"]) / "tokenizers/r1-distill-qwen-32b")
    mine = TrainRecipe.resolve(load_recipe("deepseek-r1-distill-qwen-32b", [])).model.shape()
    assert mine == shape


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("tied", [True, False])
def test_parameter_counts_are_those_of_transformers(family: str, tied: bool) -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from transformers import AutoModelForCausalLM

    config, shape = small(family, tie_word_embeddings=tied, head_dim=16)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    assert shape.params == sum(parameter.numel() for parameter in model.parameters())
    assert shape.layer_params == sum(parameter.numel() for parameter in model.model.layers[0].parameters())


def test_adapter_counts_are_those_of_peft() -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    peft = pytest.importorskip("peft", reason="needs the train extra")
    from transformers import AutoModelForCausalLM

    config, shape = small("qwen2")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
        adapted = peft.get_peft_model(
            model, peft.LoraConfig(r=4, target_modules=list(TARGETS["all"]), layers_to_transform=[0, 2])
        )
    assert shape.lora_params(4, TARGETS["all"], layers=2) == adapted.get_nb_trainable_parameters()[0]
    with pytest.raises(UsageError, match=r"up_proj"):
        shape.lora_params(4, ("up_pro",))


@pytest.mark.parametrize("family", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_activations_are_what_autograd_keeps(family: str, dtype: str) -> None:
    """Byte for byte per layer and token: the difference between four layers and two."""
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from transformers import AutoModelForCausalLM

    kept = []
    for layers in (2, 4):
        config, shape = small(family, num_hidden_layers=layers, head_dim=16)
        model = AutoModelForCausalLM.from_config(config, dtype=getattr(torch, dtype), attn_implementation="sdpa")
        own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
        sizes: dict[int, int] = {}
        alive = []

        def note(tensor: object, sizes=sizes, alive=alive, own=own) -> object:
            storage = tensor.untyped_storage()  # type: ignore[attr-defined]
            if storage.data_ptr() not in own:
                sizes[storage.data_ptr()] = storage.nbytes()
                alive.append(tensor)  # freed memory would be handed out again under the same address
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            model.model(input_ids=torch.zeros((2, 64), dtype=torch.long), use_cache=False)
        kept.append(sum(sizes.values()))
    value_bytes = 4 if dtype == "float32" else 2
    assert (kept[1] - kept[0]) / (2 * 2 * 64) == memory.layer_bytes_per_token(shape, value_bytes)


@pytest.mark.parametrize(
    ("activations", "more"),
    [
        ("keep", {}),
        ("recompute", {}),
        ("keep", {"vocab_size": 40_000, "num_hidden_layers": 1}),
    ],
)
def test_the_peak_is_what_pytorch_allocates_within_a_fifth(activations: str, more: dict) -> None:
    torch = pytest.importorskip("torch", reason="needs the train extra")
    from torch.distributed._tools.mem_tracker import MemTracker
    from transformers import AutoModelForCausalLM

    from safekeel.train.launch.loss import ModelWithLoss
    from safekeel.train.launch.offload import save_activations

    config, shape = small("qwen2", **more)
    module = ModelWithLoss(AutoModelForCausalLM.from_config(config, attn_implementation="sdpa"))
    save_activations(module.model.model.layers, activations, pin_memory=False)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(module.parameters())
    ids = torch.randint(0, config.vocab_size, (4, 256))  # type: ignore[attr-defined]
    positions = torch.arange(256).expand(4, -1)
    tracker = MemTracker()
    tracker.track_external(module, optimizer)
    with tracker:
        for _ in range(2):  # the optimizer's moments exist from the first step on
            tracker.reset_mod_stats()
            module(ids, ids.clone(), positions).backward()
            optimizer.step()
            optimizer.zero_grad()
    measured = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    work = Work(4, 256, 4, shape.params, activations=activations, head="pieces")  # type: ignore[arg-type]
    assert estimate(shape, work).total == pytest.approx(measured, rel=0.2)


def test_the_loss_cuts_are_those_of_the_code() -> None:
    pytest.importorskip("torch", reason="needs the train extra")
    utils = pytest.importorskip("trl.trainer.utils", reason="needs the train extra")
    from safekeel.train.token_loss import MOST_LOGITS

    assert memory.MOST_LOGITS == MOST_LOGITS
    assert memory.LOSS_COLUMNS == utils._CHUNKED_LOGPROB_CHUNK_SIZE


def test_the_vocabulary_dominates_where_logits_are_whole() -> None:
    shape = TrainRecipe.resolve(load_recipe("deepseek-r1-distill-qwen-1.5b", [])).model.shape()
    work = Work(1, 16_384, 2, shape.params, activations="recompute", head="whole")
    whole = estimate(shape, work)
    assert whole.logits == max(whole.parts().values()) > 30 * GIB
    assert estimate(shape, replace(work, head="pieces")).logits < GIB
    kept = estimate(shape, replace(work, activations="keep", head="pieces")).activations
    offloaded = replace(work, activations="offload")
    assert estimate(shape, offloaded).activations < kept / 100
    assert memory.host_bytes(shape, offloaded) == 28 * 16_384 * 1536 * 2


@pytest.mark.parametrize("name", training_recipes())
def test_every_recipe_can_be_carried_out_on_the_devices_it_names(name: str) -> None:
    for plan in recipe_plans(TrainRecipe.resolve(load_recipe(name, []))):
        require_possible(plan)
        assert plan.seconds and plan.device_bytes and plan.memory.total < plan.device_bytes


def sft_plan(config: SftConfig, launch: LaunchConfig | None = None, lengths: Lengths = LENGTHS) -> Plan:
    shape = TrainRecipe.resolve(load_recipe("deepseek-r1-distill-qwen-7b", [])).model.shape()
    return plan_of(config, shape, lengths, launch or LaunchConfig(), 80 * GIB, True)


def test_a_plan_counts_tokens_steps_hours_and_cost() -> None:
    config = SftConfig(regime="real", num_epochs=3, batch_size=64, micro_tokens=8192, max_length=8192)
    launch = LaunchConfig(processes=8, tokens_per_second=2500, price_per_hour=2.0)
    plan = sft_plan(config, launch)
    assert (plan.steps, plan.trained_tokens, plan.devices) == (48, 1_800_000, 8)
    assert plan.seconds == pytest.approx(90) and plan.cost == pytest.approx(90 / 3600 * 8 * 2.0)
    assert plan.problems == () and "8 device(s)" in as_text(plan) and "0.2 device hours" in as_text(plan)
    assert json.loads(json.dumps(plan.as_dict()))["steps"] == 48


@pytest.mark.parametrize(
    ("config", "launch", "lengths", "said"),
    [
        ({"batch_size": 32}, {}, LENGTHS, "GiB to use"),
        ({"packing": False, "batch_size": 30, "micro_batch_size": 4}, {"processes": 8}, LENGTHS, "use 32 rows"),
        ({"packing": False}, {"processes": 8}, LENGTHS, "sft.packing=true"),
        ({"micro_tokens": 2048}, {"processes": 8}, LENGTHS, "one sample has 4000 tokens"),
        ({"max_length": 2048}, {"processes": 8}, replace(LENGTHS, too_long=7), "7 samples are longer"),
        ({"max_length": 262_144}, {"processes": 8}, replace(LENGTHS, longest=200_000), "positions end at 131072"),
        ({}, {}, Lengths(0, 0, 0), "nothing is left"),
    ],
)
def test_what_would_fail_is_said_first(config: dict, launch: dict, lengths: Lengths, said: str) -> None:
    plan = sft_plan(SftConfig(regime="real", **({"max_length": 8192} | config)), LaunchConfig(**launch), lengths)
    assert said in "\n".join(plan.problems), plan.problems
    assert said in as_text(plan)
    with pytest.raises(UsageError, match="cannot be carried out"):
        require_possible(plan)


def test_preference_and_rl_are_planned_too() -> None:
    shape = TrainRecipe.resolve(load_recipe("deepseek-r1-distill-qwen-1.5b", [])).model.shape()
    launch = LaunchConfig(tokens_per_second=3000, generated_per_second=1000)
    pairs = PreferenceConfig(batch_size=32, micro_batch_size=2, max_length=4096)
    plan = plan_of(pairs, shape, Lengths(640, 1_200_000, 4000), launch, 80 * GIB, True)
    assert (plan.kind, plan.steps, plan.work.rows, plan.work.activations) == ("preference", 20, 4, "recompute")
    assert plan.seconds == pytest.approx(1_200_000 * 4 / 3 / 3000)  # and one forward pass of the reference
    rl = RlConfig(num_steps=10, prompts_per_step=4, num_generations=8, max_tokens=1000, kl_beta=0.0)
    plan = plan_of(rl, shape, Lengths(100, 20_000, 400), launch, 80 * GIB, True)
    assert plan.generated_tokens == 10 * 32 * 1000 and plan.trained_tokens == 10 * 32 * 1200
    assert plan.seconds == pytest.approx(384_000 * 4 / 3 / 3000 + 320)
    assert plan.memory.cache > 0


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        (None, DataError, "config.json does not exist"),
        ("{", DataError, "no JSON"),
        (json.dumps(SMALL | {"model_type": "deepseek_v3"}), UsageError, "MindSpeed-LLM"),
        (json.dumps({"model_type": "qwen2", "hidden_size": 64}), DataError, "num_hidden_layers is None"),
    ],
)
def test_a_model_folder_that_cannot_be_measured(tmp_path: Path, config: str | None, error: type, said: str) -> None:
    if config is not None:
        (tmp_path / "config.json").write_text(config, "utf-8")
    with pytest.raises(error, match=said):
        read_shape(tmp_path)


def test_a_recipe_for_a_real_model_with_nano_settings_is_refused() -> None:
    tables = load_recipe("qwen3-8b", ['sft.regime="nano"'])
    with pytest.raises(ConfigError, match="real"):
        TrainRecipe.resolve(tables)
    with pytest.raises(ConfigError, match="num_hidden_layers"):
        TrainRecipe.resolve(load_recipe("qwen3-8b", ["model.num_hidden_layer=3"]))


def test_a_dry_run_counts_what_the_stages_would_train_on(tmp_path: Path) -> None:
    """On the nano corpus' own rows, against a count by hand and the SFT stage's."""
    pytest.importorskip("transformers", reason="needs the train extra")
    import random

    from safekeel.chat import load_tokenizer
    from safekeel.corpus.nano_source import paired_requests, safety_samples
    from safekeel.nano.model import shipped_checkpoint
    from safekeel.nano.words import load_words
    from safekeel.records import write_jsonl
    from safekeel.train.launch.plan import dry_run
    from safekeel.train.sft_data import prepare

    samples = safety_samples(paired_requests(load_words(), "sft", 20, 0.5, random.Random(0)))
    write_jsonl(tmp_path / "sft.jsonl", samples)
    write_jsonl(tmp_path / "rl.jsonl", [sample.prompt for sample in samples[:10]])
    prepared = prepare(load_tokenizer(shipped_checkpoint()), samples, 512)
    launch = LaunchConfig(tokens_per_second=1000)
    plan = dry_run("sft", SftConfig(batch_size=8), shipped_checkpoint(), tmp_path, launch)
    assert plan.lengths == Lengths(
        len(samples), prepared.num_tokens, max(len(document.input_ids) for document in prepared.documents)
    )
    assert plan.steps == -(-len(samples) // 8) * 2 and plan.problems == ()
    cut = dry_run("sft", SftConfig(batch_size=8, max_length=64), shipped_checkpoint(), tmp_path, launch)
    assert cut.lengths.too_long == len(samples) - cut.lengths.samples > 0 and "too_long=drop" in cut.problems[0]
    pairs = dry_run("preference", PreferenceConfig(), shipped_checkpoint(), tmp_path, launch)
    assert 0 < pairs.lengths.samples <= len(samples)
    own = dry_run("preference", PreferenceConfig(sources=("own",)), shipped_checkpoint(), tmp_path, launch)
    assert own.lengths.tokens == 2 * prepared.num_tokens and "source own" in as_text(own)
    assert dry_run("rl", RlConfig(), shipped_checkpoint(), tmp_path, launch).lengths.samples == 10
    with pytest.raises(UsageError, match="preference"):
        dry_run("preferense", SftConfig(), shipped_checkpoint(), tmp_path)
    with pytest.raises(DataError, match="corpus folder"):
        dry_run("sft", SftConfig(), shipped_checkpoint(), tmp_path / "nowhere")
