"""The log-likelihood benchmarks: lm-eval's own tasks, ranked by our engine, give lm-eval's own results."""

from __future__ import annotations

import csv
import os
import random
from pathlib import Path

import pytest

pytest.importorskip("lm_eval", reason="the extra `capability` is not installed")
pytest.importorskip("torch")

from safekeel.bench.capability import LOGLIKELIHOOD
from safekeel.bench.capability.grader import LmEvalGrader
from safekeel.bench.generate import generate
from safekeel.engines.base import Sampling
from safekeel.engines.hf import HfEngine
from safekeel.engines.scripted import ScriptedEngine
from safekeel.errors import DataError, UsageError
from safekeel.nano.model import shipped_checkpoint
from safekeel.records import Message, Prompt

MMLU, CEVAL, CMMLU = LOGLIKELIHOOD
SUBJECTS = ("anatomy", "virology")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sums of our own in MMLU's layout: five development items and four others per subject."""
    draw = random.Random(0)
    for split, count in (("dev", 5), ("val", 4)):
        (tmp_path / "mmlu" / split).mkdir(parents=True)
        for subject in SUBJECTS:
            with (tmp_path / "mmlu" / split / f"{subject}_{split}.csv").open("w", encoding="utf-8", newline="") as file:
                for _ in range(count):
                    a, b, gold = draw.randint(1, 9), draw.randint(1, 9), draw.randrange(4)
                    options = [a + b + shift - gold for shift in range(4)]
                    csv.writer(file).writerow([f"What is {a} + {b}?", *options, "ABCD"[gold]])
    return tmp_path


@pytest.fixture(scope="module")
def engine() -> HfEngine:
    return HfEngine(shipped_checkpoint(), batch_size=8, device="cpu")


def test_our_engine_and_lm_eval_agree_on_every_item(folder: Path, engine: HfEngine) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    prompts = MMLU.prompts("test", None, folder, 0)
    rows = engine.generate(prompts, Sampling())
    ours = [v.label == "correct" for (v,) in LmEvalGrader(MMLU.name).judge_many(list(zip(prompts, rows, strict=True)))]

    by_subject = {s: [p for p in prompts if f"subject:{s}" in p.meta["slices"]] for s in SUBJECTS}
    lm = HFLM(pretrained=engine.model, tokenizer=engine.tokenizer, batch_size=3)
    tasks = [_task(folder, subject) for subject in SUBJECTS]
    none = TaskManager(include_defaults=False)  # the tasks are given; listing lm-eval's own takes 10 s
    result = simple_evaluate(lm, tasks=tasks, num_fewshot=5, bootstrap_iters=0, task_manager=none)
    theirs, contexts = [], []
    for subject in SUBJECTS:
        samples = sorted(result["samples"][f"mmlu_{subject}"], key=lambda sample: sample["doc_id"])
        theirs += [sample["acc"] == 1 for sample in samples]
        contexts += [sample["arguments"][0][0] for sample in samples]
    assert ours == theirs and set(ours) == {True, False}
    assert [p.messages[0].content for s in SUBJECTS for p in by_subject[s]] == contexts


def _task(folder: Path, subject: str) -> object:
    from safekeel.bench.capability import sources

    rows = [row for row in sources.mmlu(folder) if row["subject"] == subject]
    examples = [row for row in sources.development("mmlu", folder) if row["subject"] == subject]
    return MMLU._task(subject, rows, examples)  # type: ignore[attr-defined]


def test_prompts_are_the_communitys_five_shot_contexts(folder: Path) -> None:
    prompt = MMLU.prompts("test", None, folder, 0)[0]
    context = prompt.messages[0].content
    assert context.startswith("The following are multiple choice questions (with answers) about anatomy.\n\n")
    assert context.count("\nAnswer:") == 6 and context.endswith("\nAnswer:")
    assert prompt.meta["continuations"] == {letter: f" {letter}" for letter in "ABCD"}
    assert (prompt.id, prompt.meta["grader"]) == ("mmlu-loglikelihood/val/anatomy/0", "lm-eval:mmlu-loglikelihood")


def test_ranked_and_answered_prompts_keep_their_places(folder: Path, engine: HfEngine) -> None:
    ranked = MMLU.prompts("test", None, folder, 0)[:2]
    asked = Prompt(
        id="q",
        messages=(Message(role="user", content="3 + 4 = ?"),),
        lang="en",
        risk=None,
        expect="solve",
        target="7",
        source="test",
        licence="none",
    )
    seen: list[tuple[str, int]] = []
    rows = engine.generate(
        [ranked[0], asked, ranked[1]], Sampling(num_samples=2), lambda r: seen.append((r.prompt_id, r.sample))
    )
    order = [(prompt.id, sample) for prompt in (ranked[0], asked, ranked[1]) for sample in (0, 1)]
    assert [(row.prompt_id, row.sample) for row in rows] == order
    assert sorted(seen) == sorted(order)
    assert rows[0].answer in "ABCD" and rows[0].raw == rows[1].raw
    assert engine.rendered(ranked[0], Sampling()) != engine.rendered(ranked[1], Sampling())


def test_an_engine_that_cannot_rank_is_refused_before_anything_is_asked(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "replies.jsonl").write_text('{"raw": "A"}', "utf-8")
    scripted = ScriptedEngine(tmp_path / "replies.jsonl")
    with pytest.raises(UsageError, match=r"mmlu-loglikelihood ranks options.*hf:PATH.*generative mmlu"):
        generate(scripted, MMLU.prompts("test", None, folder, 0), Sampling(), tmp_path / "completions.jsonl")
    assert not (tmp_path / "completions.jsonl").exists()


def test_a_completion_without_log_likelihoods_is_not_graded(folder: Path, engine: HfEngine) -> None:
    (prompt, *_) = MMLU.prompts("test", None, folder, 0)
    (row,) = engine.generate([prompt], Sampling())
    with pytest.raises(DataError, match="holds no log-likelihoods"):
        LmEvalGrader(MMLU.name).judge(prompt, row.model_copy(update={"raw": "A"}))


@pytest.mark.skipif(not os.environ.get("SAFEKEEL_DATA"), reason="SAFEKEEL_DATA names no public data")
def test_the_public_sets_at_hand() -> None:
    prompts = CEVAL.prompts("test", 12, None, 0)
    assert len(prompts) == 12
    assert all(prompt.messages[0].content.count("\n答案：") == 6 for prompt in prompts)
    assert prompts[0].messages[0].content.startswith("以下是中国关于")
    with pytest.raises(DataError, match=r"add cmmlu/test/"):  # its development items are the examples
        CMMLU.prompts("test", None, None, 0)
