"""The selection stage and its command on real (nano) models: what is loaded, written, said, and kept through a kill."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safekeel.artifact import Stage, read_manifest  # noqa: E402
from safekeel.bench.nano import selection_items  # noqa: E402
from safekeel.commands.select import select as select_command  # noqa: E402
from safekeel.errors import ConfigError, DataError, UsageError  # noqa: E402
from safekeel.judges.nano import NanoJudge  # noqa: E402
from safekeel.nano.model import shipped_checkpoint  # noqa: E402
from safekeel.nano.words import load_words  # noqa: E402
from safekeel.train import select  # noqa: E402
from safekeel.train.merge import opened, write_model  # noqa: E402
from safekeel.train.select_command import find_checkpoints  # noqa: E402

SIZES = {"num_refuse": 2, "num_answer": 2, "num_problems": 1, "num_per_family": 0}
NUM_ITEMS = 2 + 2 + 1 + 1
MAX_TOKENS = 96


def spoilt(folder: Path, strength: float) -> Path:
    """The shipped model with noise in its weights, as a checkpoint that training would leave."""
    model = transformers.AutoModelForCausalLM.from_pretrained(shipped_checkpoint(), dtype="float32")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * strength)
    model.save_pretrained(folder)
    for path in shipped_checkpoint().iterdir():
        if "token" in path.name or path.suffix == ".jinja":
            shutil.copyfile(path, folder / path.name)
    (folder / "optimizer.pt").write_bytes(b"large")
    return folder


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> list[Path]:
    root = tmp_path_factory.mktemp("run") / "checkpoints"
    return [spoilt(root / "checkpoint-2", 0.0), spoilt(root / "checkpoint-10", 0.02)]


class Watched:
    """The real engine, and what was asked of it."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.opened: list[Path] = []
        self.weights: list[bytes] = []
        self.asked, self.stop_after = 0, stop_after

    def __call__(self, path: Path):
        from safekeel.engines.hf import HfEngine

        self.opened.append(path)
        self.weights.append((path / "model.safetensors").read_bytes())
        engine, plain = HfEngine(path, batch_size=2), HfEngine.generate

        def generate(prompts, sampling, on_completion=None):
            def counted(row):
                if self.asked == self.stop_after:
                    raise KeyboardInterrupt
                self.asked += 1
                on_completion(row)

            return plain(engine, prompts, sampling, counted)

        engine.generate = generate
        return engine


def run(out: Path, checkpoints: list[Path], watched: Watched, base: Path | None = None, said=None, **config):
    settings = select.SelectConfig(**(SIZES | config))
    words = load_words(None)
    inputs = [*checkpoints, *([base] if base else [])]
    stage = Stage(out, select.STAGE, select.VERSION, settings.model_dump(mode="json"), inputs, 1, "test")
    sizes = (SIZES["num_refuse"], SIZES["num_answer"], SIZES["num_problems"], SIZES["num_per_family"])
    return select.run(
        settings,
        stage,
        checkpoints,
        selection_items(words, *sizes, 1),
        watched,
        NanoJudge(words),
        MAX_TOKENS,
        lambda *_, **__: None,
        base=base,
        say=(said if said is not None else []).append,
    )


def table_of(out: Path) -> dict:
    return json.loads((out / "candidates.json").read_text())


def test_by_default_checkpoints_alone_are_opened_and_one_is_copied(checkpoints, tmp_path) -> None:
    watched = Watched()
    chosen = run(tmp_path / "s", checkpoints, watched)
    assert watched.opened == checkpoints and watched.asked == 2 * NUM_ITEMS
    table = table_of(tmp_path / "s")
    assert table["rule"] == "slack" and table["chosen"] == chosen.name and table["qualified"]
    report_reads = {"name", "safety", "over_refusal", "capability", "pareto", "chosen"}
    assert all(report_reads <= row.keys() for row in table["candidates"])
    copied = {path.name for path in (tmp_path / "s/model").iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= copied and "optimizer.pt" not in copied


def test_interpolated_candidates_are_read_from_disk_and_the_chosen_one_is_written(checkpoints, tmp_path) -> None:
    base, said = shipped_checkpoint(), []
    watched = Watched()
    chosen = run(tmp_path / "s", checkpoints[1:], watched, base, said, rule="bounds", alphas=(1.0, 0.25))
    table = table_of(tmp_path / "s")
    assert [row["name"] for row in table["candidates"]] == ["checkpoint-10@0.25", "checkpoint-10"]
    with opened(base, checkpoints[1], 0.25) as mix:
        write_model(mix, base, checkpoints[1], tmp_path / "expected")
    quarter = (tmp_path / "expected/model.safetensors").read_bytes()
    assert watched.weights[1] == quarter and watched.opened[0] == base
    assert not (tmp_path / "s/candidate").exists()  # an interpolated model is kept only if it is chosen
    written = (tmp_path / "s/model/model.safetensors").read_bytes()
    assert written == (quarter if chosen.name.endswith("@0.25") else watched.weights[2])
    # Six items certify nothing: the choice is marked, and said aloud before and after.
    assert not table["qualified"] and table["reason"].startswith("NO candidate qualifies")
    assert sum("cannot certify" in line for line in said) == 2 and "NOT qualified" in said[-1]
    assert read_manifest(tmp_path / "s")["warnings"] == [table["reason"]]
    for row in table["candidates"]:
        assert row["bounds"]["capability_loss"]["n"] == 2 and row["standing"] != "PASS" and not row["qualified"]


def test_a_wide_budget_qualifies_and_says_why(checkpoints, tmp_path) -> None:
    budgets = {"capability_budget": 0.99, "over_refusal_budget": 0.99}
    run(tmp_path / "s", checkpoints[:1], Watched(), shipped_checkpoint(), rule="bounds", **budgets)
    table = table_of(tmp_path / "s")
    assert table["qualified"] and "1 of 1 candidates qualify" in table["reason"] and not table["notes"]
    (row,) = table["candidates"]
    assert row["bounds"]["capability_loss"]["value"] == row["bounds"]["over_refusal_rise"]["value"] == 0


def test_stopped_in_the_middle_it_goes_on_without_generating_anything_twice(checkpoints, tmp_path) -> None:
    base, settings = shipped_checkpoint(), {"rule": "bounds", "alphas": (0.5, 1.0)}
    through = Watched()
    run(tmp_path / "through", checkpoints[1:], through, base, **settings)
    before = Watched(stop_after=NUM_ITEMS + 3)  # in the middle of the interpolated candidate
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "s", checkpoints[1:], before, base, **settings)
    assert not (tmp_path / "s/manifest.json").exists() and not (tmp_path / "s/model").exists()
    after = Watched()
    run(tmp_path / "s", checkpoints[1:], after, base, **settings)
    assert before.asked + after.asked == through.asked == 3 * NUM_ITEMS
    assert table_of(tmp_path / "s") == table_of(tmp_path / "through")


def test_what_cannot_be_merged_is_found_before_anything_is_asked(checkpoints, tmp_path) -> None:
    other = tmp_path / "checkpoint-3"
    small = transformers.Qwen2Config(vocab_size=32, hidden_size=8, num_hidden_layers=1, num_attention_heads=2)
    transformers.Qwen2ForCausalLM(small).save_pretrained(other)
    watched = Watched()
    with pytest.raises(DataError, match=r"expected two checkpoints of one model"):
        run(tmp_path / "s", [*checkpoints, other], watched, shipped_checkpoint(), alphas=(0.5,))
    with pytest.raises(UsageError, match=r"needs its base model"):
        run(tmp_path / "s", checkpoints, watched, alphas=(0.5,))
    with pytest.raises(UsageError, match=r"name it with --base"):
        run(tmp_path / "s", checkpoints, watched, rule="bounds")
    with pytest.raises(UsageError, match=r"two checkpoints are called"):
        run(tmp_path / "s", [checkpoints[0], checkpoints[0]], watched)
    assert not watched.opened and not (tmp_path / "s").exists()


@pytest.mark.parametrize("alphas", [(0.0, 1.0), (1.5,), (0.5, 0.5), ()])
def test_alphas_that_make_no_sense_are_refused(alphas) -> None:
    with pytest.raises(ValueError, match=r"alphas"):
        select.SelectConfig(alphas=alphas)


def test_confidence_can_hold_for_all_candidates_together() -> None:
    config = select.SelectConfig(simultaneous=True)
    assert config.budgets(10).confidence == pytest.approx(0.995)
    assert select.SelectConfig().budgets(10).confidence == 0.95


def test_checkpoints_are_found_in_the_order_of_their_steps(checkpoints, tmp_path) -> None:
    assert find_checkpoints((checkpoints[0].parent,)) == checkpoints
    assert find_checkpoints((checkpoints[1],)) == [checkpoints[1]]
    shutil.copytree(checkpoints[0].parent, tmp_path / "run/20-sft/checkpoints")
    (tmp_path / "run/20-sft/checkpoints/checkpoint-11").mkdir()  # half a checkpoint
    assert [path.name for path in find_checkpoints((tmp_path / "run",))] == ["checkpoint-2", "checkpoint-10"]
    with pytest.raises(UsageError, match=r"holds no checkpoint"):
        find_checkpoints((tmp_path,))


def test_the_command_prints_the_table_and_skips_what_is_done(checkpoints, tmp_path) -> None:
    app = typer.Typer()
    app.command()(select_command)
    arguments = [str(checkpoints[0]), "--bench", "nano", "--base", str(shipped_checkpoint()), "--alpha", "1"]
    arguments += ["--out", str(tmp_path / "s"), "--max-tokens", str(MAX_TOKENS), "--capability-budget", "99"]
    arguments += [part for key, value in SIZES.items() for part in ("--set", f"select.{key}={value}")]
    first = CliRunner().invoke(app, [*arguments, "--over-refusal-budget", "99"], catch_exceptions=False)
    assert first.exit_code == 0, first.output
    assert "standing" in first.output and "* checkpoint-2" in first.output and "PASS" in first.output
    assert "1 of 1 candidates qualify" in first.output
    again = CliRunner().invoke(app, [*arguments, "--over-refusal-budget", "99"], catch_exceptions=False)
    assert "up to date, skipped" in again.output
    rows = sorted((tmp_path / "s/completions-base.jsonl").read_text().splitlines())
    stricter = CliRunner().invoke(app, [*arguments, "--over-refusal-budget", "2", "--json"], catch_exceptions=False)
    assert '"qualified": false' in stricter.output
    kept = sorted((tmp_path / "s/completions-base.jsonl").read_text().splitlines())
    assert kept == rows  # `seconds` would differ had they been generated again


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        (["--alpha", "0.5,x"], UsageError, "expected numbers with commas"),
        (["--alpha", "2"], ConfigError, "alphas"),
        (["--rule", "best"], ConfigError, "'slack' or 'bounds'"),
        (["--engine", "api"], UsageError, "--engine 'api': expected hf or vllm"),
    ],
)
def test_wrong_options_are_said(checkpoints, tmp_path, arguments, error, message) -> None:
    app = typer.Typer()
    app.command()(select_command)
    fixed = [str(checkpoints[0]), "--bench", "nano", "--out", str(tmp_path / "s")]
    with pytest.raises(error, match=message):
        CliRunner().invoke(app, [*fixed, *arguments], catch_exceptions=False, standalone_mode=False)
