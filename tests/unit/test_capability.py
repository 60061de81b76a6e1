"""Grading through lm-eval: golden grades, what is never right, and the same items through `simple_evaluate`."""

from __future__ import annotations

import builtins
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lm_eval", reason="the extra `capability` is not installed")

from safekeel.bench.capability import GENERATIVE, TASKS, UNVERIFIED, lmeval, sources
from safekeel.bench.capability.grader import LmEvalGrader
from safekeel.bench.capability.lm_context import NO_ANSWER, gradable_text, messages_of
from safekeel.bench.capability.math_check import MathCheck
from safekeel.chat import split_completion
from safekeel.engines.base import Sampling
from safekeel.engines.scripted import ScriptedEngine
from safekeel.errors import DataError, EngineError, UsageError
from safekeel.records import Completion, Message, Prompt, Verdict


def item(target: str, raw: str, finish: str = "stop", number: int = 0) -> tuple[Prompt, Completion]:
    """An item and a completion split as an engine would."""
    prompt = Prompt(
        id=f"x/{number}",
        messages=(Message(role="user", content="?"),),
        lang="en",
        risk=None,
        expect="solve",
        target=target,
        source="test",
        licence="none",
    )
    split = split_completion(raw, finish, prefilled_think=False)
    row = Completion(
        prompt_id=prompt.id,
        model="m",
        raw=raw,
        thought=split.thought,
        answer=split.answer,
        split=split.status,
        finish=finish,  # type: ignore[arg-type]
        num_prompt_tokens=1,
        num_completion_tokens=1,
        seconds=0,
    )
    return prompt, row


def verdict(task: str, target: str, raw: str, finish: str = "stop") -> Verdict:
    (found,) = LmEvalGrader(task).judge(*item(target, raw, finish))
    return found


GRADES = [
    ("gsm8k", "1234", "<think>Sum.</think>The total is $1,234.", "correct"),
    ("gsm8k", "1234", r"<think>x</think>\boxed{1234.00}", "correct"),
    ("gsm8k", "18", "<think>The answer is 18.</think>I am not sure.", "wrong"),  # right in the thought only
    ("gsm8k", "18", r"<think>\boxed{18}</think>\boxed{19}", "wrong"),
    ("gsm8k", "18", r"\boxed{18}", "correct"),
    ("mmlu", "B", "<think>A? No.</think>Answer: B", "correct"),
    ("mmlu", "B", "<think>Answer: B</think>Hard to say.", "wrong"),
    ("mmlu", "B", "<think>B</think>Answer: A or B", "wrong"),
    ("ceval", "C", "<think>想一想</think>答案：C", "correct"),
    ("cmmlu", "C", "<think>想一想</think>选择C。", "correct"),
    ("cmath", "9", "<think>99-90</think>答：还剩9页。", "correct"),
    ("cmath", "1/3", r"<think>约分</think>\boxed{\frac{2}{6}}", "correct"),
    ("cmath", "3/25", r"<think>约分</think>\boxed{12\%}", "correct"),
    ("math500", r"\frac{14}{3}", r"<think>x</think>\boxed{\dfrac{14}{3}}", "correct"),
    ("math500", r"\frac{14}{3}", r"<think>x</think>The answer is $4\frac{2}{3}$.", "correct"),
    ("math500", r"\left( 3, \frac{\pi}{2} \right)", r"<think>x</think>\boxed{(3,\pi/2)}", "correct"),
    ("math500", "p - q", r"<think>x</think>\boxed{-q+p}", "correct"),
    ("math500", "p - q", r"<think>x</think>\boxed{q-p}", "wrong"),
    ("math500", r"\text{Evelyn}", r"<think>x</think>\boxed{\text{Evelyn}}", "correct"),
    ("math500", "[2,5)", r"<think>x</think>\boxed{[2,5)}", "correct"),
    ("math500", "3", r"<think>\boxed{3}</think>I do not know.", "wrong"),
]


@pytest.mark.parametrize(("task", "target", "raw", "label"), GRADES)
def test_golden_grades(task: str, target: str, raw: str, label: str) -> None:
    assert verdict(task, target, raw).label == label


@pytest.mark.parametrize(
    ("raw", "finish"),
    [
        (r"<think>So \boxed{18}, let me check", "length"),  # the thought was cut off
        (r"<think>So \boxed{18}", "stop"),  # never closed
        (r"<think>x</think>\boxed{18}, which", "length"),  # the answer was cut off
        (r"<think>\boxed{18}</think>", "stop"),
    ],
)
def test_what_was_cut_off_is_neither_correct_nor_wrong(raw: str, finish: str) -> None:
    found = verdict("gsm8k", "18", raw, finish)
    assert found.unscored and found.reason
    assert gradable_text(item("18", raw, finish)[1]) == NO_ANSWER


def test_one_verdict_each_in_order_and_named_after_the_task() -> None:
    grader = LmEvalGrader("gsm8k")
    items = [item("1", "1", number=0), item("2", "<think>2", number=1), item("3", "4", number=2)]
    found = grader.judge_many(items)
    assert [[v.label for v in verdicts] for verdicts in found] == [["correct"], ["cannot_judge"], ["wrong"]]
    assert {v.judge for (v,) in found} == {"lm-eval:gsm8k"}
    assert [v.prompt_id for (v,) in found] == ["x/0", "x/1", "x/2"]
    assert grader.judge_many([]) == []


def test_an_unknown_grader_and_an_item_without_gold_are_errors() -> None:
    with pytest.raises(DataError, match="Did you mean 'gsm8k'"):
        LmEvalGrader("gsm8")
    prompt, row = item("1", "1")
    with pytest.raises(DataError, match="no gold target"):
        LmEvalGrader("gsm8k").judge(prompt.model_copy(update={"target": None}), row)


def test_an_answer_that_never_ends_to_compare_costs_only_itself() -> None:
    check = MathCheck(seconds=3)
    assert check.same("3", r"\boxed{3}") is True
    assert check.same("3", r"\boxed{9^{9^{9^{9}}}}") is None
    assert check.same("3", r"\boxed{4}") is False
    check.close()


def test_stop_strings_end_the_answer_and_never_the_thought() -> None:
    _, row = item("1", "<think>Question: what?\n\nQ: 1+1</think>It is 2.\n\nQ: next")
    assert gradable_text(row, ["Q:", "Question:"]) == "It is 2.\n\n"
    assert gradable_text(row) == "It is 2.\n\nQ: next"
    assert gradable_text(row, [""]) == "It is 2.\n\nQ: next"


@pytest.mark.parametrize("text", ["plain", "[1, 2]", '{"a": 1}', "[", '["a"]', '[{"role": "robot", "content": "x"}]'])
def test_any_other_context_is_one_user_message(text: str) -> None:
    assert messages_of(text) == (Message(role="user", content=text),)


def test_chat_contexts_come_back_as_messages() -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "问"}]
    assert [m.model_dump() for m in messages_of(lmeval.chat_json(turns))] == turns


@pytest.fixture
def gsm8k_folder(tmp_path: Path) -> Path:
    """Six items of our own in GSM8K's layout."""
    (tmp_path / "gsm8k").mkdir()
    rows = [{"question": f"What is {n} + {n}?", "answer": f"{n}+{n}\n#### {2 * n:,}"} for n in (1, 2, 3, 400, 1000, 6)]
    (tmp_path / "gsm8k/test.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    return tmp_path


SCRIPT = [
    {"match": r"What is 1 \+", "raw": r"<think>easy</think>\boxed{2}"},
    {"match": r"What is 2 \+", "raw": r"<think>\boxed{4}</think>\boxed{5}"},
    {"match": r"What is 3 \+", "raw": r"<think>\boxed{6}", "finish": "length"},
    {"match": r"What is 400 \+", "raw": "<think>Question: Q:</think>It is 800.\n\nQ: What is 9?"},
    {"match": r"What is 1000 \+", "raw": "<think>sum</think>#### 2000"},
    {"raw": "<think>?</think>No idea."},
]


@pytest.fixture
def engine(tmp_path: Path) -> ScriptedEngine:
    (tmp_path / "replies.jsonl").write_text("\n".join(map(json.dumps, SCRIPT)), "utf-8")
    return ScriptedEngine(tmp_path / "replies.jsonl")


def test_both_ways_give_the_same_result_for_every_item(
    gsm8k_folder: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a benchmark of ours, and as a model of lm-eval's `simple_evaluate`."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    from safekeel.bench.capability.lm_adapter import SafeKeelLM

    (bench,) = (b for b in GENERATIVE if b.name == "gsm8k")
    prompts = bench.prompts("test", None, gsm8k_folder, 0)
    rows = engine.generate(prompts, Sampling())
    ours = [v.label == "correct" for (v,) in LmEvalGrader("gsm8k").judge_many(list(zip(prompts, rows, strict=True)))]

    lm = SafeKeelLM(engine, Sampling(), gsm8k_folder / "completions.jsonl")
    monkeypatch.setenv("SAFEKEEL_DATA", str(gsm8k_folder))
    ours_only = TaskManager(include_path=str(TASKS), include_defaults=False)  # lm-eval's own 14,000 files take 10 s
    names = ["safekeel_gsm8k"]
    result = simple_evaluate(lm, tasks=names, task_manager=ours_only, apply_chat_template=True, bootstrap_iters=0)
    samples = sorted(result["samples"]["safekeel_gsm8k"], key=lambda sample: sample["doc_id"])
    theirs = [sample["exact_match"] == 1 for sample in samples]

    assert ours == theirs == [True, False, False, False, True, False]
    assert result["results"]["safekeel_gsm8k"]["exact_match,number"] == pytest.approx(2 / 6)
    assert [messages_of(s["arguments"][0][0]) for s in samples] == [p.messages for p in prompts]
    assert lm.counts() == {"closed": 5, "truncated": 1}
    assert (gsm8k_folder / "completions.jsonl").read_text("utf-8").count("\n") == 6


def test_a_community_task_gets_answers_cut_at_its_stop_strings(engine: ScriptedEngine) -> None:
    """lm-eval's own gsm8k stops at `Question:`, `</s>`: here in the answer, not in the thought."""
    from lm_eval.api.instance import Instance

    from safekeel.bench.capability.lm_adapter import SafeKeelLM

    lm = SafeKeelLM(engine, Sampling())
    questions = ["What is 400 + 400?", "What is 3 + 3?", "else"]
    requests = [Instance("generate_until", {}, (q, {"until": ["Q:"], "temperature": 0.0}), 0) for q in questions]
    assert lm.generate_until(requests) == ["It is 800.\n\n", "", "No idea."]


def test_log_likelihood_is_refused_with_what_to_do(engine: ScriptedEngine) -> None:
    from safekeel.bench.capability.lm_adapter import SafeKeelLM

    for method in ("loglikelihood", "loglikelihood_rolling"):
        with pytest.raises(UsageError, match=r"mmlu-loglikelihood.*hf:PATH"):
            getattr(SafeKeelLM(engine, Sampling()), method)([])


def test_failed_generations_are_an_error_not_wrong_answers(tmp_path: Path) -> None:
    from lm_eval.api.instance import Instance

    from safekeel.bench.capability.lm_adapter import SafeKeelLM

    (tmp_path / "one.jsonl").write_text(json.dumps({"match": "known", "raw": "4"}), "utf-8")
    lm = SafeKeelLM(ScriptedEngine(tmp_path / "one.jsonl"), Sampling())
    requests = [Instance("generate_until", {}, (text, {}), 0) for text in ("known", "other")]
    with pytest.raises(EngineError, match="1 of 2 generations failed"):
        lm.generate_until(requests)
    assert [row.finish for row in lm.completions] == ["stop", "error"]


def test_the_definitions_are_what_lm_eval_itself_finds_in_the_folder() -> None:
    from lm_eval.tasks import TaskManager

    found = set(TaskManager(include_path=str(TASKS), include_defaults=False).all_subtasks)
    assert found == {f"safekeel_{name}" for name in sources.ROWS}


HUB = {
    "aime24": [{"ID": "2024-I-1", "Problem": "What is 100 + 104?", "Answer": 204}],
    "aime25": [{"problem": "What is 35 * 2?", "answer": "70"}],
    "gpqa-diamond": [
        {
            "Record ID": f"r{number}",
            "Question": "Which? ",
            "Correct Answer": "right\n",
            **{f"Incorrect Answer {wrong}": f"wrong {wrong}" for wrong in (1, 2, 3)},
        }
        for number in range(12)
    ],
}


@pytest.mark.parametrize("bench", UNVERIFIED[:3], ids=lambda bench: bench.name)
def test_sets_of_the_hub_in_their_documented_columns(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the columns are known here, from lm-eval's own tasks; the sets themselves are not."""
    monkeypatch.setattr(sources, "_hub", lambda path, name, split: HUB[bench.name])
    prompts = bench.prompts("test", None, None, 0)
    assert len(prompts) == len(HUB[bench.name]) and "unverified" in prompts[0].source
    if bench.expect == "choose":
        assert {prompt.meta["options"][prompt.target] for prompt in prompts} == {"right"}
        assert len({prompt.target for prompt in prompts}) > 1
    else:
        assert {prompt.target for prompt in prompts} <= {"204", "70"}


def test_sets_that_cannot_be_had_here_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*_: Any, **__: Any) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    for bench in UNVERIFIED[:3]:
        with pytest.raises(DataError, match=r"The hub does not give .*no network"):
            bench.prompts("test", None, None, 0)
    with pytest.raises(UsageError, match="sandbox"):
        UNVERIFIED[3].prompts("test", None, None, 0)


def test_without_lm_eval_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def no_lm_eval(name: str, *rest: Any, **options: Any) -> Any:
        if name.split(".")[0] == "lm_eval":
            raise ModuleNotFoundError("No module named 'lm_eval'", name="lm_eval")
        return real(name, *rest, **options)

    lmeval.require_lm_eval.cache_clear()
    monkeypatch.setattr(builtins, "__import__", no_lm_eval)
    with pytest.raises(EngineError, match=r"safekeel\[capability\]"):
        lmeval.require_lm_eval()


def test_naming_the_benchmarks_imports_neither_lm_eval_nor_datasets_nor_torch() -> None:
    code = (
        "import sys, safekeel.bench.capability, safekeel.bench.capability.grader\n"
        "print([m for m in ('lm_eval', 'datasets', 'torch', 'transformers', 'math_verify') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
