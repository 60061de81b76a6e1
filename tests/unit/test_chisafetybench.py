"""CHiSafetyBench's refusal questions: the real file where SAFEKEEL_DATA has it, and a small made one everywhere."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

from safekeel.bench.safety import BENCHMARKS
from safekeel.bench.safety.chisafetybench import ChiSafetyBenchRefusal, risk_ids
from safekeel.errors import DataError, UsageError
from safekeel.taxonomy import load_taxonomy

BENCH = BENCHMARKS.get("chisafetybench-refusal")
FILE = Path("chisafetybench") / ChiSafetyBenchRefusal.file
ITEMS = [
    {"id": 1, "question": " 问题甲？", "category": "宣扬民族仇恨"},
    {"id": 2, "question": "问题乙", "category": "民族歧视"},
    {"id": 3, "question": "问题丙", "category": "年龄歧视内容"},
    {"id": 4, "question": "问题乙", "category": "其他法律、行政法规禁止的内容"},
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write(tmp_path, [{"category": "应拒答", "infos": ITEMS}])
    return tmp_path


def write(folder: Path, content: object) -> None:
    path = folder / FILE
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def test_items_become_prompts_that_should_be_refused(data: Path) -> None:
    prompts = BENCH.prompts("test", None, data, seed=0)
    assert [prompt.id for prompt in prompts] == [f"chisafetybench-refusal/{number}" for number in (1, 2, 3, 4)]
    assert [prompt.risk for prompt in prompts] == ["A.1.e", "A.2.a", "A.2.f", "A.1.h"]
    assert {(prompt.expect, prompt.lang, prompt.target) for prompt in prompts} == {("refuse", "zh", None)}
    assert prompts[0].messages[0].content == "问题甲？"
    assert {tuple(prompt.meta["slices"]) for prompt in prompts} == {("history:without",)}
    assert all("evaluation only" in prompt.licence for prompt in prompts)


def test_items_with_one_text_share_a_cluster(data: Path) -> None:
    clusters = [prompt.meta["cluster"] for prompt in BENCH.prompts("test", None, data, seed=0)]
    assert clusters[1] == clusters[3] and len(set(clusters)) == 3


def test_limit_draws_by_seed_in_file_order(data: Path) -> None:
    draws = {tuple(prompt.id[-1] for prompt in BENCH.prompts("test", 2, data, seed)) for seed in range(20)}
    assert all(draw == tuple(sorted(set(draw))) and len(draw) == 2 for draw in draws)
    assert len(draws) > 1
    assert BENCH.prompts("test", 2, data, 7) == BENCH.prompts("test", 2, data, 7)
    assert len(BENCH.prompts("test", 99, data, 7)) == 4


def test_data_folder_comes_from_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEKEEL_DATA", str(data))
    assert len(BENCH.prompts("test", None, None, 0)) == 4


def test_missing_data_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAFEKEEL_DATA", raising=False)
    with pytest.raises(DataError, match=r"UnicomBenchmark.*--data-dir DIR or set SAFEKEEL_DATA=DIR"):
        BENCH.prompts("test", None, None, 0)
    with pytest.raises(DataError, match=r"does not exist\. .*UnicomBenchmark"):
        BENCH.prompts("test", None, tmp_path, 0)


def test_unknown_split_and_benchmark_are_usage_errors(data: Path) -> None:
    with pytest.raises(UsageError, match="no split 'train', expected 'test'"):
        BENCH.prompts("train", None, data, 0)
    with pytest.raises(UsageError, match="Did you mean 'chisafetybench-refusal'"):
        BENCHMARKS.get("chisafetybench-refusals")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{"infos": [ITEMS[0], {**ITEMS[1], "category": "天气"}]}], "item 2: the category '天气' is none"),
        ([{"infos": [{"id": 1, "category": "民族歧视"}]}], "item 1: got .*expected `id`, `question`"),
        ([{"infos": [{**ITEMS[0], "question": "  "}]}], "item 1: the question is empty"),
        ({"infos": []}, "expected a list of objects"),
        ([], "holds no question"),
    ],
)
def test_malformed_file_is_an_error_that_names_the_item(tmp_path: Path, content: object, message: str) -> None:
    write(tmp_path, content)
    with pytest.raises(DataError, match=message):
        BENCH.prompts("test", None, tmp_path, 0)


def test_file_that_is_no_utf8_json_is_an_error(data: Path) -> None:
    (data / FILE).write_bytes("[民族]".encode("gb18030"))
    with pytest.raises(DataError, match="not UTF-8 JSON"):
        BENCH.prompts("test", None, data, 0)


def test_category_names_cover_the_taxonomy() -> None:
    assert set(risk_ids().values()) == set(load_taxonomy().subset("31"))


HAS_DATA = (Path(os.environ.get("SAFEKEEL_DATA", "/nonexistent")) / FILE).is_file()


@pytest.mark.skipif(not HAS_DATA, reason=f"needs {FILE} in the folder that SAFEKEEL_DATA names")
def test_the_real_file_has_462_questions_in_17_categories() -> None:
    prompts = BENCH.prompts("test", None, None, 0)
    counts = Counter(prompt.risk for prompt in prompts)
    assert len(prompts) == len({prompt.id for prompt in prompts}) == 462
    assert set(counts) == set(load_taxonomy().subset("17"))
    assert [counts[f"A.1.{letter}"] for letter in "abcdefgh"] == [20, 25, 27, 55, 42, 50, 21, 26]
    assert sum(counts[risk] for risk in counts if risk and risk.startswith("A.2")) == 196
    twice = [prompt.id for prompt in prompts if prompt.meta["cluster"] != prompt.id]
    assert twice == ["chisafetybench-refusal/60"]
    assert not any(prompt.messages[0].content.startswith(" ") for prompt in prompts)
