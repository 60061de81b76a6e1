"""What each public benchmark makes of its rows, on small made files in upstream's formats."""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path

import pytest

from safekeel.bench.safety import BENCHMARKS
from safekeel.bench.safety.harm14 import canonical
from safekeel.bench.safety.s_eval import FAMILIES
from safekeel.errors import DataError
from safekeel.records import Prompt
from safekeel.taxonomy import load_taxonomy
from tests.upstream_formats import jsonl, write, write_all, write_zip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_all(folder)
    return folder


def prompts(name: str, folder: Path, split: str = "test") -> list[Prompt]:
    return BENCHMARKS.get(name).prompts(split, None, folder, 0)


def text(prompt: Prompt) -> str:
    return prompt.messages[0].content


def test_s_eval_base(data: Path) -> None:
    rows = prompts("s-eval-base-zh", data)
    assert [(row.id, row.expect, row.risk) for row in rows] == [
        ("s-eval-base-zh/b0", "refuse", "A.1.d"),
        ("s-eval-base-zh/b1", "either", "A.5.b"),
        ("s-eval-base-zh/b2", "refuse", "A.1.h"),
    ]
    assert text(rows[0]) == "p\u20280" and rows[0].lang == "zh" and "NC" in rows[0].licence


@pytest.mark.parametrize("split", ["test", "medium", "large", "full"])
def test_s_eval_attacks_of_one_goal_share_a_cluster_over_families(data: Path, split: str) -> None:
    rows = prompts("s-eval-attack-en", data, split)
    assert len(rows) == 30
    assert {row.meta["cluster"] for row in rows} == {f"s-eval-attack-en/goal-{i}" for i in range(3)}
    assert {row.attack.name for row in rows if row.attack} == {f"s-eval-{family}" for family in FAMILIES}
    assert rows[0].meta["slices"] == ["type:Extremism", "family:positive_induction"]


@pytest.mark.parametrize("ext", ["", "no json", '{"model": "attack"}', '{"category": "unheard_of"}', '["x"]'])
def test_s_eval_attack_without_a_known_family_is_an_error(tmp_path: Path, ext: str) -> None:
    row = {"traceid": "t", "risk_type": "Extremism", "prompt": "p", "ext": ext}
    stem = "S-Eval_attack_zh_small.jsonl"
    write_zip(tmp_path, f"s_eval/small/{stem}.zip", stem, jsonl([row]))
    with pytest.raises(DataError, match=r"zh_small\.jsonl\.zip: row 1: .*(ext|family)"):
        prompts("s-eval-attack-zh", tmp_path)


def test_xstest_halves(data: Path) -> None:
    rows = {row.id: row for row in prompts("xstest", data)}
    safe, unsafe = rows["xstest/1"], rows["xstest/2"]
    assert (safe.expect, safe.risk, safe.meta["slices"]) == ("answer", None, ["type:homonyms", "label:safe"])
    assert (unsafe.expect, unsafe.risk) == ("refuse", "A.4.a")


def test_harmbench_leaves_copyright_out_and_puts_the_context_first(data: Path) -> None:
    rows = {row.id: row for row in prompts("harmbench", data)}
    assert list(rows) == ["harmbench/say_one", "harmbench/say_two", "harmbench/say_three"]
    assert text(rows["harmbench/say_two"]) == "Some\ncontext\n\n---\n\nSay two, please"
    assert rows["harmbench/say_one"].meta["slices"] == ["type:illegal", "kind:standard"]
    assert [row.id for row in prompts("harmbench", data, "validation")] == list(rows)


def test_headered_and_headerless_advbench_agree(data: Path) -> None:
    assert [text(row) for row in prompts("advbench", data)] == ["Do a", "Do b", "Do c"]
    assert [text(row) for row in prompts("advbench", data, "headerless")] == ["Do a", "Do b, c", "Do c"]


def test_jailbreakbench_takes_both_column_sets(data: Path, tmp_path: Path) -> None:
    assert [row.id for row in prompts("jailbreakbench", data)] == [f"jailbreakbench/{i}" for i in (1, 2, 3)]
    hub = "Index,Goal,Target,Behavior,Category,Source\n0,Do it,Sure,Do,Privacy,Original\n"
    write(tmp_path, "jailbreakbench/harmful_behaviors.csv", hub)
    (row,) = prompts("jailbreakbench", tmp_path)
    assert (row.id, row.risk, row.meta["slices"]) == ("jailbreakbench/0", "A.4.f", ["type:Privacy"])
    benign = prompts("jailbreakbench-benign", data)
    assert {(row.expect, row.risk) for row in benign} == {("answer", None)}


def test_or_bench_parts_expect_opposite_things(data: Path) -> None:
    assert {(row.expect, row.risk) for row in prompts("or-bench-hard-1k", data)} == {("answer", None)}
    assert {(row.expect, row.risk) for row in prompts("or-bench-toxic", data)} == {("refuse", "A.1.f")}


def test_physical_safety_pairs_share_a_cluster(data: Path) -> None:
    rows = {row.id.split("/")[1]: row for row in prompts("physical-safety", data)}
    assert rows["safe-2"].meta["cluster"] == rows["unsafe-2"].meta["cluster"] == "physical-safety/pair-2"
    assert (rows["safe-2"].expect, rows["unsafe-2"].expect) == ("answer", "refuse")
    assert text(rows["unsafe-2"]) == "Unsafe 1"


def test_jade_reads_prompts_only(data: Path) -> None:
    rows = prompts("jade", data)
    assert [text(row) for row in rows] == ["问题0", "问题1", "问题2"]
    assert "已省略" not in "".join(row.model_dump_json() for row in rows)


def test_jailbench_attacks_cluster_by_seed(data: Path) -> None:
    rows = prompts("jailbench-attack", data)
    assert len(rows) == 60 and len({row.meta["cluster"] for row in rows}) == 3
    assert rows[19].meta["cluster"] == rows[0].meta["cluster"] != rows[20].meta["cluster"]
    assert {row.risk for row in rows} == {"A.2.f"}


def test_xsafety_leaves_commonsense_out(data: Path) -> None:
    for lang in ("zh", "en"):
        rows = prompts(f"xsafety-{lang}", data)
        assert len(rows) == 26 and not any("commonsense" in row.id for row in rows)
    assert text(rows[0]) == "one, Crimes_And_Illegal_Activities"


def test_safetybench_answers_count_from_zero(data: Path) -> None:
    rows = prompts("safetybench-zh-subset", data)
    assert [row.target for row in rows] == ["A", "B", "A", "B"]
    assert rows[0].meta["options"] == {"A": "是。", "B": "否。"} and len(rows[1].meta["options"]) == 3
    assert text(rows[0]).splitlines()[-3:] == ["问0", "A. 是。", "B. 否。"]
    assert "答案：" in text(rows[0]) and "Answer:" in text(prompts("safetybench-en", data)[0])


@pytest.mark.parametrize(
    ("answers", "options", "message"),
    [
        ({"0": {"answer": 2}}, ["x", "y"], "the answer of id 0 is 2, expected 0 to 1"),
        ({"1": {"answer": 0}}, ["x", "y"], "the answer of id 0 is None"),
        ({"0": {"answer": 0}}, ["x"], "'options' is no list of two to four texts"),
    ],
)
def test_safetybench_with_a_wrong_key_is_an_error(
    tmp_path: Path, answers: dict, options: list[str], message: str
) -> None:
    write(tmp_path, "safetybench/test_answers_zh_subset.json", json.dumps(answers))
    question = {"id": 0, "options": options, "category": "Mental Health", "question": "?"}
    write(tmp_path, "safetybench/test_zh_subset.json", json.dumps([question]))
    with pytest.raises(DataError, match=rf"test_zh_subset\.json: item 1: {message}"):
        prompts("safetybench-zh-subset", tmp_path)


def test_harm14_has_fourteen_dimensions_in_any_spelling(data: Path) -> None:
    known = tomllib.loads(categories())["harm14"]
    assert len(known) == 14
    assert {canonical(name) for name in known} == set(known)
    assert canonical("Controversial Topics, Politics") == canonical("controversial_topics,_politics")
    assert [row.meta["slices"] for row in prompts("harm14", data)][2] == ["type:self_harm"]


def categories() -> str:
    return (resources.files("safekeel.bench.safety") / "categories.toml").read_text("utf-8")


def test_the_map_of_categories_is_reasoned_and_names_real_categories() -> None:
    real = {*load_taxonomy().subset("31"), ""}
    for table, entries in tomllib.loads(categories()).items():
        for name, entry in entries.items():
            assert set(entry) == {"risk", "fit", "why"}, f"{table}: {name}"
            assert entry["risk"] in real and entry["fit"] in ("clear", "coarse") and entry["why"]


def test_duplicate_ids_and_unknown_categories_name_the_rows(tmp_path: Path) -> None:
    head = "id,prompt,type,label,focus,note\n"
    row = "7,How?,homonyms,safe,,\n"
    path = write(tmp_path, "xstest/xstest_prompts.csv", head + row + row)
    with pytest.raises(DataError, match=rf"{path}: row 3: the id '7' is also at {path}: row 2"):
        prompts("xstest", tmp_path)
    write(tmp_path, "xstest/xstest_prompts.csv", head + "7,How?,contrast_new,unsafe,,\n")
    with pytest.raises(DataError, match="row 2: the category 'contrast_new' is unknown, expected one of contrast_homo"):
        prompts("xstest", tmp_path)
    write(tmp_path, "xstest/xstest_prompts.csv", head + "7,How?,homonyms,maybe,,\n")
    with pytest.raises(DataError, match="row 2: the label is 'maybe', expected 'safe' or 'unsafe'"):
        prompts("xstest", tmp_path)


def test_same_text_shares_a_cluster(tmp_path: Path) -> None:
    rows = [{"id_": str(i), "prompt": "同", "domain_en": "law"} for i in range(2)]
    write(tmp_path, "cvalues/cvalues_responsibility_prompts.jsonl", jsonl(rows))
    assert {row.meta["cluster"] for row in prompts("cvalues", tmp_path)} == {"cvalues/0"}
