"""Judges by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from safekeel.errors import DataError, EngineError, UsageError
from safekeel.judges.base import Agreement, JudgeCard
from safekeel.judges.guard import GuardJudge
from safekeel.judges.llm import LlmJudge
from safekeel.judges.open import check_name, notice, open_judge
from safekeel.judges.panel import Cascade, Vote
from safekeel.judges.rules import RulesJudge

URL = ["http://127.0.0.1:1/v1"]


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "judge.jsonl"
    path.write_text('{"raw": "safe"}\n', "utf-8")
    return f"scripted:{path}"


def test_the_embedded_ones() -> None:
    assert isinstance(open_judge("rules"), RulesJudge)
    pytest.importorskip("safekeel.judges.linear", reason="the linear judge is another file")
    assert open_judge("linear").name == "linear"


@pytest.mark.parametrize(
    ("spec", "kind", "name"),
    [
        ("api:deepseek-r1", LlmJudge, "llm:deepseek-r1"),
        ("llm:api:deepseek-r1", LlmJudge, "llm:deepseek-r1"),
        ("api:Qwen/Qwen3Guard-Gen-8B", GuardJudge, "guard:Qwen/Qwen3Guard-Gen-8B"),
        ("llm:api:Qwen/Qwen3Guard-Gen-8B", LlmJudge, "llm:Qwen/Qwen3Guard-Gen-8B"),
        ("guard:api:meta-llama/Llama-Guard-3-8B", GuardJudge, "guard:meta-llama/Llama-Guard-3-8B"),
        ("guard:shieldlm:api:judge", GuardJudge, "guard:judge"),
    ],
)
def test_models(spec: str, kind: type, name: str) -> None:
    judge = open_judge(spec, base_urls=URL, concurrency=8)
    assert isinstance(judge, kind) and judge.name == name
    if isinstance(judge, GuardJudge):
        assert (
            judge.family.name
            == {"Qwen": "qwen3guard", "meta": "llama-guard", "judg": "shieldlm"}[judge.engine.name[:4]]
        )


def test_panels(script: str) -> None:
    cascade = open_judge(f"cascade:rules,guard:llama-guard:{script},api:deepseek-r1", base_urls=URL)
    assert isinstance(cascade, Cascade)
    assert [type(judge) for judge in cascade.judges] == [RulesJudge, GuardJudge, LlmJudge]
    vote = open_judge(f"vote: rules, llm:{script}")
    assert isinstance(vote, Vote) and vote.name == "vote:rules,llm:scripted:judge.jsonl"


def test_a_second_judge(script: str) -> None:
    judge = open_judge("api:deepseek-r1", base_urls=URL, second=script)
    assert isinstance(judge, LlmJudge)
    assert [engine.name for engine in judge.engines] == ["deepseek-r1", "scripted:judge.jsonl"]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("rule", "Did you mean 'rules'"),
        ("lineer", "Did you mean 'linear'"),
        ("ap:deepseek-r1", "Did you mean 'api'"),
        ("deepseek-r1", "unknown.*api:MODEL"),
        ("llm:", "unknown"),
        ("", "unknown"),
        ("guard:", "unknown"),
        ("guard:api:deepseek-r1", "no guard family .* qwen3guard.*llm:api:deepseek-r1"),
        ("guard:qwenguard:api:x", "Did you mean 'qwen3guard'"),
        ("guard:Qwen3Guard-Gen-8B", "expected guard:MODEL"),
        ("vote:rules", "two or more"),
        ("vote:rules,", "two or more"),
        ("vote:rules,rules", "two or more different"),
        ("cascade:rules,vote:rules", "panel in a panel"),
        ("cascade:rules,nobody", "unknown"),
        ("api:deepseek-r1", "--judge-base-url"),
        ("llm:api", "expected SCHEME:LOCATION"),
    ],
)
def test_mistakes_are_explained(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        open_judge(spec)


def test_options_without_use_are_refused(script: str) -> None:
    with pytest.raises(UsageError, match="no endpoint"):
        open_judge("rules", base_urls=URL)
    for spec in ("rules", f"guard:wildguard:{script}", "api:Qwen3Guard-Gen-4B"):
        with pytest.raises(UsageError, match="only a language model"):
            open_judge(spec, base_urls=URL if "api" in spec else (), second=script)


def test_a_missing_model_is_reported_by_its_engine(tmp_path: Path) -> None:
    with pytest.raises((DataError, EngineError)):
        open_judge(f"scripted:{tmp_path}/nothing.jsonl")


def test_a_guard_recognised_by_its_name_is_announced() -> None:
    told = notice("cascade:rules,api:meta-llama/Llama-Guard-3-8B") or ""
    assert "as a guard (llama-guard; English" in told and "llm:api:meta-llama/Llama-Guard-3-8B" in told
    for plain in ("rules", "api:deepseek-r1", "llm:api:Qwen3Guard-Gen-4B", "guard:api:Qwen3Guard-Gen-4B"):
        assert notice(plain) is None


def _card(path: Path, judge: str, version: str) -> Path:
    agreement = Agreement(
        lang="zh",
        part="answer",
        question="refused",
        dataset="d",
        label_source="human",
        num_items=1,
        num_unscored=0,
        confusion={"yes": {"yes": 1}},
    )
    path.write_text(JudgeCard(judge=judge, judge_version=version, agreement=(agreement,)).model_dump_json(), "utf-8")
    return path


def test_a_card_counts_for_its_own_judge_and_version_only(script: str, tmp_path: Path) -> None:
    judge = open_judge(script)
    assert judge.card is None
    fitting = _card(tmp_path / "card.json", judge.name, judge.version)
    carded = open_judge(script, card=fitting)
    assert carded.card is not None and carded.card.judge_version == carded.version
    for name, version in ((judge.name, "other"), ("rules", judge.version)):
        with pytest.raises(UsageError, match="another judge or version"):
            open_judge(script, card=_card(tmp_path / "other.json", name, version))
    with pytest.raises(DataError, match="does not exist"):
        open_judge(script, card=tmp_path / "none.json")


def test_names_are_checked_without_opening_anything() -> None:
    for name in ("linear", "rules", "hf:/nowhere", "llm:api:m", "guard:api:Qwen3Guard-Gen-8B", "vote:rules,linear"):
        check_name(name)
    for name in ("liner", "linear:", "llm:", "hf", "vote:rules,liner"):
        with pytest.raises(UsageError, match="unknown"):
            check_name(name)
    with pytest.raises(UsageError, match="Did you mean 'linear'"):
        check_name("liner")
