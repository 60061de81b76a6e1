"""Merged folders as their users meet them: loaded by transformers, beside PEFT's own merge, damaged, out of space."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peft = pytest.importorskip("peft")

from safekeel.commands.merge import merge  # noqa: E402
from safekeel.errors import DataError, UsageError  # noqa: E402
from safekeel.nano.model import shipped_checkpoint  # noqa: E402
from safekeel.train.adapter import Adapter  # noqa: E402
from safekeel.train.merge import opened, write_model  # noqa: E402
from safekeel.train.shards import INDEX, SINGLE, Checkpoint, read_header  # noqa: E402

IDS = torch.arange(3, 23).reshape(2, 10)


def load(folder: Path):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="float32", use_safetensors=True).eval()


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(IDS).logits


@torch.no_grad()
def moved(model, seed: int = 0):
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.02)
    return model


@pytest.fixture(scope="module")
def base() -> Path:
    return shipped_checkpoint()


@pytest.fixture(scope="module")
def tuned(base, tmp_path_factory) -> Path:
    """The base moved a little, sharded, with a tokenizer and a template of its own."""
    folder = tmp_path_factory.mktemp("models") / "tuned"
    moved(load(base)).save_pretrained(folder, max_shard_size="3MB")
    for path in base.glob("*token*"):
        shutil.copyfile(path, folder / path.name)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    assert (folder / INDEX).is_file()
    return folder


def merged(base: Path, tuned: Path, out: Path, alpha: float) -> Path:
    with opened(base, tuned, alpha) as mix:
        write_model(mix, base, tuned, out)
    return out


def test_logits_at_the_ends_are_those_of_base_and_tuned(base, tuned, tmp_path) -> None:
    one, zero = merged(base, tuned, tmp_path / "one", 1.0), merged(base, tuned, tmp_path / "zero", 0.0)
    assert torch.equal(logits(load(one)), logits(load(tuned)))
    assert torch.equal(logits(load(zero)), logits(load(base)))
    assert (one / "chat_template.jinja").read_text() == "{{ messages }}"
    assert (one / "tokenizer.json").read_bytes() == (tuned / "tokenizer.json").read_bytes()
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize(
    "options",
    [
        {"r": 4, "lora_alpha": 12},
        {"r": 8, "lora_alpha": 8, "use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"up_proj": 3}},
        {"r": 2, "lora_alpha": 4, "modules_to_save": ["norm"]},
    ],
    ids=["plain", "rank-stabilised with patterns", "with a whole module"],
)
def test_an_adapter_merges_as_peft_merges_it(base, tmp_path, options) -> None:
    targets = ["q_proj", "up_proj", "down_proj"]
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=targets, init_lora_weights=False, **options)
    model = peft.get_peft_model(load(base), config)
    moved(model.base_model.model.model.norm)
    model.save_pretrained(tmp_path / "adapter")
    model = peft.PeftModel.from_pretrained(load(base), tmp_path / "adapter")
    expected = logits(model.merge_and_unload())
    out = merged(base, tmp_path / "adapter", tmp_path / "one", 1.0)
    torch.testing.assert_close(logits(load(out)), expected, rtol=1e-4, atol=1e-4)
    assert (expected - logits(load(base))).abs().max() > 0.01  # so that the adapter does something at all
    zero = merged(base, tmp_path / "adapter", tmp_path / "zero", 0.0)
    assert (zero / SINGLE).read_bytes()[-1000:] == (base / SINGLE).read_bytes()[-1000:]
    assert torch.equal(logits(load(zero)), logits(load(base)))
    half, b, t = (
        load(path).state_dict() for path in (merged(base, tmp_path / "adapter", tmp_path / "h", 0.5), base, out)
    )
    for name, value in half.items():
        torch.testing.assert_close(value, (b[name] + t[name]) / 2, rtol=1e-4, atol=1e-5)
    assert (out / "tokenizer.json").is_file() and (out / "config.json").is_file()  # of the base: an adapter has none


@pytest.mark.parametrize(
    "change, message",
    [
        ({"use_dora": True}, "use_dora is set"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3', expected 'LORA'"),
        ({"init_lora_weights": "pissa"}, "'pissa' changes the base's weights"),
        ({"r": 0}, "r is 0, expected a positive number"),
    ],
)
def test_an_adapter_that_is_no_sum_is_refused(base, tmp_path, change, message) -> None:
    peft.get_peft_model(load(base), peft.LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "a")
    path = tmp_path / "a/adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        Adapter(tmp_path / "a")


def test_an_adapter_of_another_model_is_refused(base, tmp_path) -> None:
    small = transformers.Qwen2Config(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=5,
        num_attention_heads=2,
        num_key_value_heads=2,
    )
    peft.get_peft_model(
        transformers.Qwen2ForCausalLM(small), peft.LoraConfig(target_modules=["q_proj"])
    ).save_pretrained(tmp_path / "a")
    with pytest.raises(DataError, match=r"the base that the adapter was trained on"):
        merged(base, tmp_path / "a", tmp_path / "out", 0.5)
    with pytest.raises(UsageError, match=r"needs its base model"), opened(None, tmp_path / "a", 1.0):
        pass


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _overlong_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 1 << 40) + path.read_bytes()[8:])


def _no_json(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:8] + b"x" + path.read_bytes()[9:])


def _wrong_shape(path: Path) -> None:
    raw = path.read_bytes()
    assert b'"shape":[160]' in raw
    path.write_bytes(raw.replace(b'"shape":[160]', b'"shape":[161]', 1))


@pytest.mark.parametrize(
    "damage, message",
    [
        (_cut, "describes .* bytes, the file has"),
        (_overlong_header, "its header would have"),
        (_no_json, "no JSON"),
        (_wrong_shape, r"of shape \[161\]"),
        (Path.unlink, r"is missing \(1 of \d+ shards"),
        (lambda path: path.write_bytes(b""), "its header would have 0 bytes"),
    ],
    ids=["cut off", "header length", "no JSON", "shape", "missing", "empty"],
)
def test_a_damaged_shard_is_found_before_anything_is_written(base, tuned, tmp_path, damage, message) -> None:
    shutil.copytree(tuned, tmp_path / "tuned")
    damage(sorted((tmp_path / "tuned").glob("*.safetensors"))[1])
    with pytest.raises(DataError, match=message):
        merged(base, tmp_path / "tuned", tmp_path / "out", 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["tuned"]


def test_an_index_that_disagrees_with_its_shards_is_refused(tuned, tmp_path) -> None:
    shutil.copytree(tuned, tmp_path / "tuned")
    index = json.loads((tmp_path / "tuned" / INDEX).read_text())
    index["weight_map"]["model.extra.weight"] = next(iter(index["weight_map"].values()))
    (tmp_path / "tuned" / INDEX).write_text(json.dumps(index))
    with pytest.raises(DataError, match=r"disagree on 1 tensors, such as 'model.extra.weight'"):
        Checkpoint.open(tmp_path / "tuned")


def test_pickled_weights_are_refused(base, tmp_path) -> None:
    shutil.copyfile(base / "config.json", tmp_path / "config.json")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(DataError, match=r"pytorch_model.bin; expected model.safetensors"):
        Checkpoint.open(tmp_path)


def test_a_full_disk_is_a_sentence_and_leaves_no_model(base, tuned, tmp_path) -> None:
    """A process that may write files of at most 2 MB meets the error that a full disk gives, from the system itself."""
    script = f"""
import resource
from pathlib import Path
from safekeel.errors import DataError
from safekeel.train.merge import opened, write_model
base, tuned, out = Path({str(base)!r}), Path({str(tuned)!r}), Path({str(tmp_path / "out")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
with opened(base, tuned, 0.5) as mix:
    try:
        write_model(mix, base, tuned, out)
    except DataError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)
    assert "cannot be written" in done.stdout and "Nothing of the model was kept" in done.stdout
    assert not list(tmp_path.iterdir())


def test_what_is_written_has_the_layout_of_the_safetensors_library(base, tuned, tmp_path) -> None:
    out = merged(base, tuned, tmp_path / "out", 0.5)
    for theirs in tuned.glob("*.safetensors"):
        ours = out / theirs.name
        expected = {name: info._replace(file=ours) for name, info in read_header(theirs).items()}
        assert read_header(ours).keys() == expected.keys()
        (length,) = struct.unpack("<Q", ours.read_bytes()[:8])
        assert length % 8 == 0


@pytest.fixture
def command() -> typer.Typer:
    app = typer.Typer()
    app.command()(merge)
    return app


def test_the_command_writes_a_model_and_skips_what_is_done(base, tuned, tmp_path, command) -> None:
    arguments = [f"hf:{tuned}", "--base", str(base), "--alpha", "0.5", "--out", str(tmp_path / "out")]
    first = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert first.output.strip().endswith(f"hf:{tmp_path / 'out/model'}")
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["stage"] == "merge" and manifest["counts"]["tensors"] == len(Checkpoint.open(tuned).tensors)
    assert {"model/config.json", f"model/{INDEX}"} <= {row["path"] for row in manifest["outputs"]}
    again = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "up to date, skipped" in again.output
    shutil.rmtree(tmp_path / "out/model")
    (tmp_path / "out/.model.writing").mkdir()  # what a kill leaves
    CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert torch.isfinite(logits(load(tmp_path / "out/model"))).all() and not (tmp_path / "out/.model.writing").exists()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--alpha", "1.5"], "from 0 .* to 1"),
        (["--dtype", "int8"], "--dtype 'int8': expected float32"),
        (["--delta", "0.5,x"], "expected WEIGHT,SAFE,UNSAFE"),
        (["--alpha", "0.5"], "name it with --base"),
    ],
)
def test_wrong_options_are_said_before_anything_is_written(tuned, tmp_path, command, arguments, message) -> None:
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(
            command,
            [str(tuned), "--out", str(tmp_path / "out"), *arguments],
            catch_exceptions=False,
            standalone_mode=False,
        )
    assert not (tmp_path / "out/model").exists() and not (tmp_path / "out/config.json").exists()
