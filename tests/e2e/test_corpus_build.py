"""`safekeel corpus build` as a user meets it: a whole build by a scripted model, its errors, sudden death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import SourcesConfig, open_sources, read_sources
from safekeel.records import Prompt, read_jsonl
from safekeel.taxonomy import load_taxonomy
from tests.helpers import command, environment, safekeel
from tests.scripted_teacher import write_script

pytest.importorskip("rensa", reason="the extra `corpus` is not installed")

PAIRS = 60
DATA = os.environ.get("SAFEKEEL_DATA")


def source_file(folder: Path) -> Path:
    """A user's own file: problems with a target, and a risky prompt without a twin per starter category area."""
    path = folder / "own.jsonl"
    rows = [
        {"prompt": f"What is {n} + {n + 5}? Show your work.", "role": "replay", "gold": str(2 * n + 5), "lang": "en"}
        for n in range(30)
    ]
    rows += [
        {"prompt": f"{n} 加 {n + 3} 等于多少？请写出过程。", "role": "replay", "gold": str(2 * n + 3), "lang": "zh"}
        for n in range(30)
    ]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """A finished build from the starter and an own file, and its arguments."""
    folder = tmp_path_factory.mktemp("corpus")
    own = source_file(folder)
    config = SourcesConfig(files=(str(own),), limit_per_source=4 * PAIRS)
    rows, _ = read_sources(open_sources(config, None, load_taxonomy()))
    script = write_script(rows, load_taxonomy(), folder / "script.jsonl")
    arguments = [
        "corpus",
        "build",
        "--target",
        f"scripted:{script}",
        "--judge",
        "linear",
        "--set",
        f'sources.files=["{own}"]',
        "--set",
        "sources.sets=[]",
        "--set",
        f"sources.limit_per_source={4 * PAIRS}",
        "--set",
        "synthesis.num_candidates=2",
        "--set",
        "mixture.general=0",
        "--set",
        "mixture.exact_ratios=false",
    ]
    done = safekeel(*arguments, "--out", str(folder / "out"))
    assert done.returncode == 0, done.stderr
    (folder / "said.txt").write_text(done.stderr, "utf-8")
    return folder, arguments


def test_the_corpus_holds_what_was_accepted_and_nothing_else(built: tuple[Path, list[str]]) -> None:
    folder, _ = built
    samples = read_jsonl(folder / "out/sft.jsonl", Sample)
    roles = Counter(sample.role for sample in samples)
    assert roles["risky"] > 30 and roles["counter"] > 30 and roles["replay"] > 20
    by_id = {sample.id: sample for sample in samples}
    for sample in samples:
        assert sample.thought.strip() and sample.answer.strip() and sample.made_by
        text = sample.prompt.messages[-1].content
        assert "安全规范" not in text and "safety policy" not in text  # the policy prompt is gone
        if sample.role == "risky":
            assert "第一步" not in sample.answer and "step one" not in sample.answer
            assert sample.checks["answer"] in ("refusal", "responsible_refusal") and sample.style == "improved"
        if sample.role == "replay":
            assert str(sample.prompt.target) in sample.answer and sample.style == "own"
    whole = [sample for sample in samples if sample.pair in by_id]
    assert whole and all(by_id[sample.pair].pair == sample.id for sample in whole if sample.pair)
    assert any(sample.checks.get("corrected") for sample in samples)
    assert {sample.prompt.lang for sample in samples} == {"zh", "en"}


def test_every_row_is_in_the_corpus_in_rl_or_rejected_with_a_reason(built: tuple[Path, list[str]]) -> None:
    folder, _ = built
    out = folder / "out"
    samples, rl = read_jsonl(out / "sft.jsonl", Sample), read_jsonl(out / "rl.jsonl", Prompt)
    rejected = read_jsonl(out / "rejected.jsonl", Rejected)
    found = {sample.id for sample in samples} | {prompt.id for prompt in rl}
    assert not {sample.id for sample in samples} & {prompt.id for prompt in rl}
    found |= {row.sample.id for row in rejected if row.sample is not None}
    config = SourcesConfig(files=(str(folder / "own.jsonl"),), limit_per_source=4 * PAIRS)
    rows, _ = read_sources(open_sources(config, None, load_taxonomy()))
    assert {row.id for row in rows} <= found
    assert all(row.step and row.reason for row in rejected)
    assert "wrong_answer" in {row.reason for row in rejected}
    manifest = json.loads((out / "manifest.json").read_text("utf-8"))
    assert manifest["counts"]["kept"] == len(samples) and manifest["counts"]["in"] == len(rows)


def test_the_card_tells_pass_rates_contamination_and_warnings(built: tuple[Path, list[str]]) -> None:
    folder, _ = built
    card = json.loads((folder / "out/card.json").read_text("utf-8"))
    risky = card["synthesis"]["risky"]
    assert risky["corrected"] > 0 and 0 < risky["accepted"] <= risky["prompts"]
    assert risky["by_reason"].get("answer_not_refused", 0) + risky["by_reason"].get("answer_harmful", 0) > 0
    assert card["synthesis"]["replay"]["by_reason"] == {"wrong_answer": card["synthesis"]["replay"]["candidates"]
                                                        - card["synthesis"]["replay"]["good_candidates"]}  # fmt: skip
    assert "tc260-refuse" in card["contamination"]["checked"]
    said = (folder / "said.txt").read_text("utf-8")
    assert "WARNING" in said and "ONE TEMPLATE" in said  # three words of thought for every prompt of an area
    page = (folder / "out/card.html").read_text("utf-8")
    assert "<details" in page and "http://" not in page.replace("http://www.w3.org", "")
    shown = safekeel("corpus", "card", str(folder / "out"))
    assert shown.returncode == 0 and "replay" in shown.stdout


def test_a_finished_build_is_skipped_and_other_ratios_generate_nothing(built: tuple[Path, list[str]]) -> None:
    folder, arguments = built
    again = safekeel(*arguments, "--out", str(folder / "out"))
    assert again.returncode == 0 and "up to date, skipped" in again.stderr
    before = {path.name: path.read_bytes() for path in (folder / "out/generated").glob("*.jsonl")}
    other = safekeel(*arguments, "--set", "mixture.max_samples=40", "--out", str(folder / "out"))
    assert other.returncode == 0, other.stderr
    assert len(read_jsonl(folder / "out/sft.jsonl", Sample)) <= 40
    after = {path.name: path.read_bytes() for path in (folder / "out/generated").glob("*.jsonl")}
    assert before == after
    back = safekeel(*arguments, "--out", str(folder / "out"))
    assert back.returncode == 0, back.stderr


def test_killed_in_the_middle_the_same_command_gives_the_same_corpus(built: tuple[Path, list[str]]) -> None:
    folder, arguments = built
    out = folder / "killed"
    process = subprocess.Popen(
        command(*arguments, "--out", str(out)), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=environment()
    )
    deadline = time.monotonic() + 60
    while not (out / "generated/counter.jsonl").exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    done = safekeel(*arguments, "--out", str(out))
    assert done.returncode == 0, done.stderr
    for name in ("sft.jsonl", "rl.jsonl", "rejected.jsonl"):
        assert (out / name).read_bytes() == (folder / "out" / name).read_bytes()


def test_a_target_that_never_refuses_leaves_nothing_and_says_why(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    _, arguments = built
    script = tmp_path / "unsafe.jsonl"
    script.write_text(json.dumps({"raw": "<think>ok</think>Sure. Step one: [redacted]."}) + "\n", "utf-8")
    changed = [f"scripted:{script}" if part.startswith("scripted:") else part for part in arguments]
    done = safekeel(*changed, "--set", "sources.files=[]", "--set", "synthesis.write_counters=false",
                    "--set", "mixture.counter=0", "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.returncode == 3, done.stderr
    assert "rejected.jsonl" in done.stderr and "--teacher" in done.stderr and "Traceback" not in done.stderr
    rows = read_jsonl(tmp_path / "out/rejected.jsonl", Rejected)
    assert rows and all(row.reason for row in rows)


def test_one_fixed_refusal_is_called_degenerate(built: tuple[Path, list[str]], tmp_path: Path) -> None:
    _, arguments = built
    script = tmp_path / "fixed.jsonl"
    fixed = {"zh": "<think>这违反法律，属于颠覆政权、分裂国家等风险，我应该拒绝。</think>抱歉，我不能帮助你。"}
    script.write_text(json.dumps({"raw": fixed["zh"]}, ensure_ascii=False) + "\n", "utf-8")
    changed = [f"scripted:{script}" if part.startswith("scripted:") else part for part in arguments]
    done = safekeel(*changed, "--set", "sources.files=[]", "--set", "synthesis.thought=any",
                    "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "WARNING" in done.stderr and "100%" in done.stderr
    assert "harmless" in done.stderr  # no counter sample was answered


def test_a_changed_source_is_read_again_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    own = tmp_path / "own.jsonl"
    rows = [{"prompt": f"What is {n} + {n + 5}?", "role": "replay", "gold": str(2 * n + 5)} for n in range(6)]
    own.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    script = tmp_path / "script.jsonl"
    script.write_text(json.dumps({"raw": "<think>Add.</think>The answer is 5."}) + "\n", "utf-8")
    settings = ["sources.starter=false", f'sources.files=["{own}?lang=en"]', "sources.sets=[]", "rl.share=0.0"]
    flags = [part for setting in [*settings, "mixture.exact_ratios=false"] for part in ("--set", setting)]
    arguments = ["corpus", "build", "--target", f"scripted:{script}", *flags, "--out", str(tmp_path / "out")]
    first = safekeel(*arguments)
    assert first.returncode == 0, first.stderr
    assert "up to date, skipped" in safekeel(*arguments).stderr
    own.write_text(
        own.read_text("utf-8") + json.dumps({"prompt": "What is 2 + 3?", "role": "replay", "gold": "5"}) + "\n"
    )
    again = safekeel(*arguments)
    assert again.returncode == 0 and "up to date" not in again.stderr
    assert "7 prompts from 1 sources" in again.stderr


def test_all_prompts_rejected_keep_their_reasons(tmp_path: Path) -> None:
    own = tmp_path / "french.txt"
    own.write_text(
        "".join(f"Comment préparer un gâteau au chocolat pour {n} personnes ?\n" for n in ["deux", "trois", "dix"])
    )
    script = tmp_path / "script.jsonl"
    script.write_text(json.dumps({"raw": "<think>x</think>y"}) + "\n", "utf-8")
    settings = ["sources.starter=false", f'sources.files=["{own}?role=risky"]', "sources.sets=[]"]
    flags = [part for setting in settings for part in ("--set", setting)]
    done = safekeel("corpus", "build", "--target", f"scripted:{script}", *flags, "--out", str(tmp_path / "out"))
    assert done.returncode == 3, done.stderr
    assert "language 3" in done.stderr and "Traceback" not in done.stderr
    assert [row.reason for row in read_jsonl(tmp_path / "out/rejected.jsonl", Rejected)] == ["language"] * 3


@pytest.mark.skipif(DATA is None, reason="SAFEKEEL_DATA is not set")
def test_star1_loses_exactly_what_two_benchmarks_share_with_it(tmp_path: Path) -> None:
    """datasets.md: six behaviours of HarmBench val and three questions of Do-Not-Answer stand in STAR-1."""
    script = tmp_path / "script.jsonl"
    raw = "<think>This breaks the law, so I should decline.</think>I'm sorry, but I can't help with that."
    script.write_text(json.dumps({"raw": raw}) + "\n", "utf-8")
    settings = ["starter=false", 'sets=["star1"]'], ["write_counters=false", "correct=false", "thought=any"]
    flags = [f"sources.{key}" for key in settings[0]] + [f"synthesis.{key}" for key in settings[1]]
    flags += ["mixture.exact_ratios=false", "rl.share=0.0"]
    done = safekeel("corpus", "build", "--target", f"scripted:{script}", "--judge", "rules", "--data-dir", str(DATA),
                    *(part for flag in flags for part in ("--set", flag)), "--out", str(tmp_path / "out"))  # fmt: skip
    assert done.returncode == 0, done.stderr
    card = json.loads((tmp_path / "out/card.json").read_text("utf-8"))
    found = {name: row["rows"] for name, row in card["contamination"]["by_benchmark"].items()}
    assert found == {"harmbench": 6, "do-not-answer": 3}
    assert "DEGENERATE" in done.stderr or "100%" in done.stderr  # one refusal for all


@pytest.mark.parametrize(
    ("extra", "code", "expected"),
    [
        ([], 2, "--target"),
        (["--target", "scripted:nowhere.jsonl"], 3, "nowhere.jsonl"),
        (["--target", "scripted:{script}", "--set", "synthesis.stile=short"], 2, "style"),
        (["--target", "scripted:{script}", "--set", 'sources.sets=["star2"]'], 2, "star1"),
        (["--target", "scripted:{script}", "--set", 'sources.sets=["xstest"]'], 2, "xstest"),
        (["--target", "scripted:{script}", "--set", 'sources.sets=["ceval"]'], 2, "allow_licence"),
        (["--target", "scripted:{script}", "--judge", "lineer"], 2, "linear"),
        (["no-such-recipe", "--target", "scripted:{script}"], 2, "safe-corpus"),
    ],
)
def test_bad_arguments(
    built: tuple[Path, list[str]], extra: list[str], code: int, expected: str, tmp_path: Path
) -> None:
    folder, _ = built
    filled = [part.replace("{script}", str(folder / "script.jsonl")) for part in extra]
    done = safekeel("corpus", "build", *filled, "--out", str(tmp_path / "out"))
    assert done.returncode == code, done.stderr
    assert expected in done.stderr and "Traceback" not in done.stderr
