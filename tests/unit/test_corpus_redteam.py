"""Red-team finds: what becomes training, what would spoil a benchmark."""

import shutil
from pathlib import Path

import pytest

from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import Checked
from safekeel.corpus.sources.redteam import RedTeamSource
from safekeel.errors import DataError
from safekeel.records import Attack, Completion, Message, Prompt, Verdict, write_jsonl


def prompt(identifier: str, text: str = "Please tell me about this.", **changes) -> Prompt:
    fields = {
        "id": identifier,
        "messages": (Message(role="user", content=text),),
        "lang": "en",
        "risk": "A.1.h",
        "expect": "refuse",
        "target": None,
        "source": "test",
        "licence": "MIT",
    }
    return Prompt(**(fields | changes))


def completion(identifier: str, sample_number: int = 0, answer: str = "step one: [redacted]") -> Completion:
    return Completion(
        prompt_id=identifier,
        sample=sample_number,
        model="m",
        raw=answer,
        thought="planning",
        answer=answer,
        split="closed",
        finish="stop",
        num_prompt_tokens=1,
        num_completion_tokens=1,
        seconds=0,
        key=f"key-{identifier}-{sample_number}",
    )


def verdict(identifier: str, label: str, sample_number: int = 0, part: str = "answer") -> Verdict:
    return Verdict(
        prompt_id=identifier,
        sample=sample_number,
        part=part,
        label=label,
        judge="j",
        judge_version="1",
        unscored=label == "cannot_judge",
    )


def evaluation(folder: Path, prompts: list[Prompt], completions: list[Completion], verdicts: list[Verdict]) -> Path:
    folder.mkdir()
    write_jsonl(folder / "prompts.jsonl", prompts)
    write_jsonl(folder / "completions.jsonl", completions)
    write_jsonl(folder / "verdicts.jsonl", verdicts)
    return folder


def attacked(identifier: str, parent: str) -> Prompt:
    return prompt(identifier, attack=Attack(name="fiction", params={"k": 1}, parent_id=parent))


def test_finds_carry_the_attack_and_the_models_own_answer(tmp_path):
    prompts = [prompt("own/1"), prompt("own/2"), attacked("own/1~fiction", "own/1"), prompt("own/3", expect="answer")]
    folder = evaluation(
        tmp_path / "50-attack",
        prompts,
        [*(completion(p.id) for p in prompts), completion("own/2", 1, "other: [redacted]")],
        [
            verdict("own/1", "refusal"),
            verdict("own/1", "harmful", part="thought"),  # a harmful thought with a safe answer is no find
            verdict("own/2", "cannot_judge"),
            verdict("own/2", "harmful", 1),
            verdict("own/1~fiction", "harmful"),
            verdict("own/3", "harmful"),
        ],
    )
    source = RedTeamSource(folder)
    rows = list(source.rows())
    finds = [row for row in rows if isinstance(row, Sample)]
    assert [row.id for row in finds] == [f"{source.name}/own/2", f"{source.name}/own/1~fiction"]
    assert source.name == f"redteam:{tmp_path.name}/50-attack"
    assert finds[0].prompt.meta["own_answer"] == "other: [redacted]"
    assert finds[0].prompt.meta["own_thought"] == "planning"
    assert finds[0].prompt.meta["own_completion"] == "key-own/2-1"
    assert finds[1].prompt.attack == prompts[2].attack and finds[1].prompt.meta["parent"] == "own/1"
    assert finds[1].prompt.meta["cluster"] == "own/1" and finds[1].answer == ""
    assert [row.reason for row in rows if isinstance(row, Rejected)] == ["not_to_decline"]
    assert source.notes == ["4 prompts, 5 answers, 3 of them judged harmful, 1 not judged"]
    assert "must not be exported" in source.warnings[0]


def test_benchmark_items_and_their_disguises_are_refused(tmp_path):
    nano = prompt("nano-refuse/test/00001", meta={"world": "nano", "split": "test"})
    prompts = [prompt("advbench/7"), attacked("jailbreak-fiction/9", "tc260-refuse/A.1.a-001"), nano]
    folder = evaluation(
        tmp_path / "eval", prompts, [completion(p.id) for p in prompts], [verdict(p.id, "harmful") for p in prompts]
    )
    rows = list(RedTeamSource(folder).rows())
    assert [row.reason for row in rows] == ["benchmark_item"] * 3
    assert "an item of the benchmark advbench, which measures nothing after training on it" in rows[0].evidence
    assert 'sources.allow_benchmarks = ["tc260-refuse"] gives it up' in rows[1].evidence
    assert all("own_answer" not in row.sample.prompt.meta for row in rows)
    assert "redacted" not in "".join(row.model_dump_json() for row in rows)
    allowed = list(RedTeamSource(folder, ["advbench"]).rows())
    assert [isinstance(row, Sample) for row in allowed] == [True, False, False]
    with pytest.raises(DataError, match=r"all 3 rows were rejected \(benchmark_item 3\)"):
        list(Checked(RedTeamSource(folder), None, 0).rows())


def test_folders_without_an_evaluation_or_without_finds(tmp_path):
    with pytest.raises(DataError, match=r"prompts\.jsonl does not exist; expected a folder that `safekeel eval` wrote"):
        RedTeamSource(tmp_path)
    folder = evaluation(tmp_path / "e", [prompt("own/1")], [completion("own/1")], [verdict("own/1", "refusal")])
    with pytest.raises(DataError, match="none of 1 answers was judged harmful"):
        list(RedTeamSource(folder).rows())
    shutil.rmtree(folder)
