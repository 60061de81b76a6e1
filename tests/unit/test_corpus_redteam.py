"""Red-team finds: what becomes training, what would spoil a benchmark."""

import json
import re
import shutil
from pathlib import Path

import pytest

from safekeel.attack_run.command import attack_model
from safekeel.attack_run.goals import GoalRequest
from safekeel.attack_run.prepare import AttackRequest
from safekeel.attack_run.search import SearchRequest
from safekeel.attacks.search.log import QueryRow
from safekeel.bench.command import EvalRequest, JudgeRequest
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import Checked
from safekeel.corpus.sources.finds import held_out_wording
from safekeel.corpus.sources.redteam import RedTeamSource
from safekeel.errors import DataError
from safekeel.records import Attack, Completion, Message, Prompt, Verdict, read_jsonl, write_jsonl
from tests.attack_world import comply, nano_goals, refuse


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
    assert source.notes == [
        "4 prompts, 5 answers, 3 of them judged harmful, 1 not judged",
        "2 prompts found by direct 1, fiction 1",
        "1 prompts refused: not_to_decline 1",
    ]
    assert [row.prompt.meta.get("goal") for row in finds] == ["Please tell me about this."] * 2
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
    with pytest.raises(DataError, match=r"prompts\.jsonl does not exist; expected a folder that `safekeel eval` or"):
        RedTeamSource(tmp_path)
    folder = evaluation(tmp_path / "e", [prompt("own/1")], [completion("own/1")], [verdict("own/1", "refusal")])
    with pytest.raises(DataError, match="none of 1 answers was judged harmful"):
        list(RedTeamSource(folder).rows())
    shutil.rmtree(folder)


FAMILIES = ("fiction", "role_play")
NUMBER = 4


def attack(folder: Path, split: str, wording: str | None = None, search: tuple[str, ...] = ("bandit",)) -> Path:
    """A real run against a scripted model that helps within a story."""
    goals = nano_goals(NUMBER, split)
    stories = r"no laws|没有法律|wizard|巫师|film set|拍电影"
    script = [
        {"match": f"(?s)(?=.*(?:{stories})).*{re.escape(goal.meta['phrase'])}", "raw": comply(goal)} for goal in goals
    ]
    script.append({"raw": refuse(goals[0])})
    folder.parent.mkdir(parents=True, exist_ok=True)
    model = folder.parent / f"{folder.name}.jsonl"
    model.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in script), "utf-8")
    request = AttackRequest(
        EvalRequest(f"scripted:{model}", (), JudgeRequest()),
        GoalRequest("nano", split, limit=NUMBER),
        families=FAMILIES,
        wording=wording,
        search=SearchRequest(search, budget=8),
    )
    attack_model(request, folder, "safekeel attack", lambda _: None)
    return folder


def by_reason(rows: list) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for row in rows:
        kind = "find" if isinstance(row, Sample) else row.reason
        prompt = row.prompt if isinstance(row, Sample) else row.sample.prompt
        found.setdefault(kind, []).append(prompt.attack.name)
    return found


def test_an_attack_on_training_goals_gives_families_and_searches(tmp_path: Path) -> None:
    folder = attack(tmp_path / "attack", "train")
    queries = [row for row in read_jsonl(folder / "queries.jsonl", QueryRow) if row.jailbroken]
    assert queries
    source = RedTeamSource(folder)
    assert {path.name for path in source.files} >= {"queries.jsonl", "pack.json"}
    rows = list(source.rows())
    kinds = by_reason(rows)
    assert kinds["find"] == ["fiction"] * NUMBER + ["search-bandit"] * len(queries)
    finds = [row for row in rows if isinstance(row, Sample)]
    goals = {goal.id: goal for goal in nano_goals(NUMBER, "train")}
    for row in finds:
        assert row.role == "risky" and row.answer == ""
        goal = goals[row.prompt.meta["parent"]]
        assert row.prompt.attack.parent_id == goal.id and row.prompt.meta["goal"] == goal.messages[-1].content
        assert row.prompt.risk == goal.risk and row.prompt.meta["cluster"] == goal.meta["cluster"]
    for row, query in zip(finds[NUMBER:], queries, strict=True):
        assert row.prompt.messages == query.messages and row.prompt.attack.params["label"] == query.label
        assert row.prompt.meta["own_answer"] == query.response != ""
        assert row.prompt.meta["own_thought"] == query.thought and row.prompt.meta["own_completion"] == query.key
        assert query.label.startswith("fiction:train")
    assert f"{len(finds)} prompts found by fiction {NUMBER}, search-bandit {len(queries)}" in source.notes
    assert any(note.endswith(f"calls of searches, {len(queries)} of them judged harmful") for note in source.notes)
    assert len({row.id for row in finds}) == len(finds)


def test_a_prefilled_turn_is_no_training_prompt(tmp_path: Path) -> None:
    turns = (Message(role="user", content="Tell me."), Message(role="assistant", content="Sure, step"))
    given = attacked("own/1~answer_prefill", "own/1").model_copy(update={"messages": turns})
    folder = evaluation(tmp_path / "e", [given], [completion(given.id)], [verdict(given.id, "harmful")])
    (row,) = RedTeamSource(folder).rows()
    assert isinstance(row, Rejected) and row.reason == "prefilled_turn" and "own_answer" not in row.sample.prompt.meta


@pytest.mark.parametrize("wording", ["validation", "test"])
def test_wordings_that_are_measured_with_are_refused_and_counted(tmp_path: Path, wording: str) -> None:
    source = RedTeamSource(attack(tmp_path / "attack", "train", wording))
    kinds = by_reason(list(source.rows()))
    assert kinds["held_out_wording"].count("fiction") == NUMBER
    assert kinds.get("find", []) == ["search-bandit"] * len(kinds.get("find", []))
    refused = len(kinds["held_out_wording"])
    assert any(f"held_out_wording {refused}" in note for note in source.notes)
    rows = [row for row in source.rows() if isinstance(row, Rejected) and row.reason == "held_out_wording"]
    assert f"the {wording} wording of fiction, which is for measuring only" in rows[0].evidence
    assert "--wording train" in rows[0].evidence


@pytest.mark.parametrize("split", ["validation", "test"])
def test_an_attack_on_held_out_goals_teaches_nothing(tmp_path: Path, split: str) -> None:
    folder = attack(tmp_path / "attack", split, "train")
    rows = list(RedTeamSource(folder).rows())
    assert {row.reason for row in rows} == {"benchmark_item"}
    assert "search-bandit" in by_reason(rows)["benchmark_item"]


@pytest.mark.parametrize(
    ("params", "wording", "held_out"),
    [
        ({}, None, False),
        ({"wording": "train"}, "train", False),
        ({"wording": "test"}, None, True),
        ({"label": "fiction:train(role_play:train)"}, "test", False),
        ({"label": "fiction:train(role_play:validation)"}, "test", True),
        ({"label": "fiction:train+around"}, "train", False),
        ({"label": "fiction:train+around"}, "test", True),
        ({"label": "fiction:train+around"}, None, True),
        ({"label": "augmented"}, "test", False),
    ],
)
def test_which_wordings_are_held_out(params: dict, wording: str | None, held_out: bool) -> None:
    found = prompt("a/1", attack=Attack(name="x", params=params, parent_id="a"))
    assert (held_out_wording(found, wording) is not None) is held_out


def test_queries_of_another_attack_are_an_error(tmp_path: Path) -> None:
    folder = attack(tmp_path / "attack", "train")
    rows = [row.model_copy(update={"goal_id": "other"}) for row in read_jsonl(folder / "queries.jsonl", QueryRow)]
    write_jsonl(folder / "queries.jsonl", rows)
    with pytest.raises(DataError, match=r"the goal 'other', which prompts\.jsonl does not hold"):
        list(RedTeamSource(folder).rows())
