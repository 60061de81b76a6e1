"""Labelled sets: small files in the public formats, traps included; published reference points on the real ones."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest

from safekeel.errors import DataError, UsageError
from safekeel.judges.baselines import people_with_people, string_match, xstest_baselines, zh_baselines
from safekeel.judges.calibrate import open_sources
from safekeel.judges.label_sources import (
    answers_of,
    read_do_not_answer,
    read_jade,
    read_xstest,
    read_zh_judge,
    zh_judge_file,
)

DATA = os.environ.get("SAFEKEEL_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="SAFEKEEL_DATA is not set: the public labelled sets are not here")
XSTEST_HEAD = ["id", "type", "prompt", "completion", "annotation_1", "annotation_2", "agreement", "final_label"]


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8", newline: str = "\r\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file, lineterminator=newline).writerows(rows)


def xstest_rows(*labels: tuple[str, str, str]) -> list[list[str]]:
    rows = [
        [f"v2-{i}", "t", f"question {i}", f"line one\r\nline {i}", a, b, "TRUE" if a == b else "False", final]
        for i, (a, b, final) in enumerate(labels, start=1)
    ]
    return [list(XSTEST_HEAD), *rows]


COMPLY, REFUSE, PARTIAL = "1_full_compliance", "2_full_refusal", "3_partial_refusal"


def test_xstest_partial_refusals_are_refusals_and_models_share_prompts(tmp_path: Path) -> None:
    rows = xstest_rows((COMPLY, COMPLY, COMPLY), (REFUSE, PARTIAL, PARTIAL), (REFUSE, REFUSE, REFUSE))
    for model in ("gpt4", "other"):
        write_csv(tmp_path / "xstest" / "human_labels" / f"xstest_v2_completions_{model}.csv", rows)
    found = read_xstest(tmp_path)
    assert (found.lang, found.label_source, len(found.items)) == ("en", "human", 6)
    assert [item.labels["answer", "refused"] for item in found.items] == ["no", "yes", "yes"] * 2
    assert [(i.prompt.id, i.completion.sample) for i in found.items[::3]] == [("xstest/v2-1", 0), ("xstest/v2-1", 1)]
    assert found.items[0].completion.answer == "line one\r\nline 1"
    assert people_with_people(found).observed == pytest.approx(2 / 3)
    assert all(item.prompt.expect == "either" and item.prompt.risk is None for item in found.items)


@pytest.mark.parametrize("broken", ["label", "column", "encoding", "short row"])
def test_malformed_files_are_named_with_their_line(tmp_path: Path, broken: str) -> None:
    path = tmp_path / "xstest" / "human_labels" / "xstest_v2_completions_gpt4.csv"
    rows = xstest_rows((COMPLY, COMPLY, COMPLY), (REFUSE, REFUSE, REFUSE))
    if broken == "label":
        rows[2][-1] = "4_other"
    if broken == "column":
        rows[0][-1] = "label"
    if broken == "short row":
        rows[2] = rows[2][:4]
    write_csv(path, rows)
    if broken == "encoding":
        path.write_bytes(path.read_bytes() + b"\xff\xfe\xff")
    expected = {"label": ":5: final_label is '4_other'", "column": "no column 'final_label'"}
    with pytest.raises(DataError, match=expected.get(broken, "utf-8" if broken == "encoding" else "no value")):
        read_xstest(tmp_path)


def test_do_not_answer_actions(tmp_path: Path) -> None:
    """0 is a refusal; 2, 3 and 5 are none; 1 and 4 can be either and have no label for `refused`."""
    head = ["id", "question", "response", "harmful", "action"]
    rows = [head, *[[str(i), f"q{i}", f"a{i}", "1" if i == 5 else "0", str(i)] for i in range(6)]]
    for model in ("ChatGPT", "vicuna-7b"):
        write_csv(tmp_path / "do_not_answer" / "human_labels" / f"annotated_response_{model}.csv", rows)
    items = read_do_not_answer(tmp_path).items
    assert [item.labels.get(("answer", "refused")) for item in items[:6]] == ["yes", None, "no", "no", None, "no"]
    assert [item.labels["answer", "harmful"] for item in items[:6]] == ["no"] * 5 + ["yes"]


def test_jade_is_gb18030_and_gives_pairs(tmp_path: Path) -> None:
    path = tmp_path / "jade" / "jade_alignment_hard_zh.csv"
    write_csv(
        path, [["ID", "问题", "违规回答", "安全有用回答"], ["1", "如何泡茶？", "[已省略]", "先烧水。"]], "gb18030"
    )
    items = read_jade(tmp_path).items
    assert [(i.completion.answer, i.labels["answer", "harmful"]) for i in items] == [
        ("[已省略]", "yes"),
        ("先烧水。", "no"),
    ]
    assert len({item.prompt.id for item in items}) == 1
    path.write_text("ID,问题,违规回答,安全有用回答\n1,茶\ufffd,b,c\n", "utf-8")
    with pytest.raises(DataError, match=r"gb18030|no column"):
        read_jade(tmp_path)


def test_the_packaged_bank_is_what_its_datasheet_says() -> None:
    found = read_zh_judge()
    assert found.label_source == "model" and len(found.items) == 240
    answers = Counter(item.labels["answer", "label"] for item in found.items)
    thoughts = Counter(item.labels["thought", "label"] for item in found.items)
    assert answers == {"harmless": 72, "responsible_refusal": 64, "harmful": 64, "refusal": 40}
    assert thoughts == {"aware": 95, "unaware": 61, "harmful": 53, "absent": 31}
    assert all(
        (item.labels["thought", "label"] == "absent") == (item.completion.thought is None) for item in found.items
    )
    sheet = zh_judge_file().with_suffix(".md").read_text("utf-8")
    for label, count in (answers + thoughts).items():
        assert f"`{label}` {count}" in sheet or label == "harmful"


def test_baselines_of_the_bank() -> None:
    """Golden: what the datasheet prints. The keyword rule that its README gives as 59% scores 144 of 240."""
    found = {row.name.split(" (")[0].split()[0]: row for row in zh_baselines(read_zh_judge())}
    assert found["keywords"].accuracy == pytest.approx(144 / 240)
    assert found["answer"].accuracy == pytest.approx(93 / 104) and found["answer"].num_items == 104
    assert found["words"].accuracy == pytest.approx(163 / 209)
    assert found["always"].accuracy == pytest.approx(72 / 240)


def test_what_a_label_says_to_each_question() -> None:
    assert answers_of("answer", "responsible_refusal") == {
        ("answer", "label"): "responsible_refusal",
        ("answer", "harmful"): "no",
        ("answer", "refused"): "yes",
    }
    assert answers_of("thought", "harmful")["thought", "aware"] == "no"
    assert ("thought", "refused") not in answers_of("thought", "aware")


def test_string_match_reads_openings_only() -> None:
    assert (
        string_match("  I'm sorry, but …") and string_match("As an AI language model, I …") and string_match("No, that")
    )
    assert not string_match("Nothing. I'm sorry") and not string_match("Of course")


def test_an_unknown_source_is_named() -> None:
    with pytest.raises(UsageError, match="Did you mean 'xstest'"):
        open_sources(["xtest"], None)


@needs_data
def test_reference_points_on_the_two_models_present() -> None:
    """Golden. On all five published models people agree at 96.4% (kappa 0.937), the string match scores 88.4% (0.770):

    both were reproduced with this code on 2026-11-21 from upstream commit d7bb5bd (2169/2250 and 1990/2250).
    """
    found = read_xstest()
    if {item.completion.model for item in found.items} != {"gpt4", "llama2orig"}:
        pytest.skip("golden numbers are of the models gpt4 and llama2orig")
    people, strings = xstest_baselines(found)
    assert (people.num_items, strings.num_items) == (900, 900)
    assert people.accuracy == pytest.approx(877 / 900) and people.kappa == pytest.approx(0.9530771846310778, abs=1e-12)
    assert strings.accuracy == pytest.approx(823 / 900) and strings.kappa == pytest.approx(
        0.8191091713999331, abs=1e-12
    )


@needs_data
def test_the_real_sets_have_the_documented_sizes() -> None:
    dna, jade = read_do_not_answer(), read_jade()
    assert len(dna.items) == 1878 and sum(i.labels["answer", "harmful"] == "yes" for i in dna.items) == 66
    assert Counter(i.labels.get(("answer", "refused")) for i in dna.items) == {"yes": 470, "no": 395, None: 1013}
    assert Counter(i.labels["answer", "harmful"] for i in jade.items) == {"yes": 150, "no": 150}
