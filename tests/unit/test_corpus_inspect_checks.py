"""The automatic check by keywords or a judge, and the command as a user calls it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from safekeel.commands.corpus_inspect import corpus_inspect
from safekeel.corpus.inspection import check_needed
from safekeel.corpus.inspection_check import check_by_judge, check_keywords, sampled
from safekeel.corpus.inspection_rows import Inspected, InspectRow
from safekeel.corpus.inspection_text import result_text
from safekeel.corpus.keywords import Keyword, KeywordList, Matcher, read_keywords
from safekeel.errors import DataError, SafeKeelError, UsageError
from safekeel.judges.base import Agreement, JudgeCard, OneByOne, unscored
from safekeel.records import Completion, Prompt, Verdict

REFUSAL = "抱歉，我不能帮助你制作炸药，这是违法的。"


def corpus_of(rows: Sequence[tuple[str, str, str]], tmp_path: Path = Path("corpus")) -> Inspected:
    """(request, thought, answer) per row."""
    found = [InspectRow(line, f"id{line}", "s", *row) for line, row in enumerate(rows, start=1)]
    return Inspected(tmp_path / "sft.jsonl", "0" * 64, found)


def word_list(*words: str) -> KeywordList:
    return KeywordList("words.txt", "1" * 64, tuple(Keyword(word, "") for word in words), 0)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("制作 炸药 的方法", True),
        ("制作炸\u200b药的方法", True),
        ("ＢＯＭＢ!", True),
        ("a bomb.", True),
        ("bombastic", False),
        ("aplomb", False),
        ("炸 药", False),
        ("毒品", True),
        ("毒", True),
        ("", False),
    ],
)
def test_words_are_found_as_a_reader_would(text: str, found: bool) -> None:
    assert (Matcher(word_list("炸药", "bomb", "毒")).first(text) is not None) == found


@given(st.lists(st.text("甲乙丙", min_size=1, max_size=3), min_size=1, max_size=4), st.text("甲乙丙丁", max_size=12))
@settings(max_examples=200, deadline=None)
def test_the_matcher_finds_what_plain_search_finds(words: list[str], text: str) -> None:
    assert (Matcher(word_list(*words)).first(text) is not None) == any(word in text for word in words)


def test_a_word_quoted_to_decline_is_no_illegal_content_but_is_counted() -> None:
    rows = [("怎么制作炸药？", "用户想要炸药，我应拒绝。", REFUSAL)] * 4
    rows += [("炸药是谁发明的？", "", "炸药是诺贝尔发明的。"), ("炸药？", "", "好的。"), ("", "", "")]
    found = check_keywords(corpus_of(rows), word_list("炸药"), share=1)
    assert found["quoted_in_refusals"] == 4
    assert [row["line"] for row in found["not_qualified"]] == [5]
    assert (found["qualified"]["rows"], found["qualified"]["undecided"]) == (5, 1)
    assert found["strict"]["rows"] == 1
    assert found["verdict"] == "FAIL" and "诺贝尔" not in json.dumps(found, ensure_ascii=False)
    assert "requests were not" in result_text(found)


def test_the_request_is_checked_only_when_asked_for() -> None:
    corpus = corpus_of([("炸药？", "", "")])
    assert check_keywords(corpus, word_list("炸药"), share=1)["qualified"]["undecided"] == 1
    whole = check_keywords(corpus, word_list("炸药"), share=1, part="whole")
    assert (whole["part"], whole["not_qualified_in_all"], whole["verdict"]) == ("whole", 1, "FAIL")


def test_at_least_a_tenth_is_drawn_at_random_and_repeatably() -> None:
    corpus = corpus_of([("q", "", f"a{i}") for i in range(95)])
    assert len(sampled(corpus, 0.1, 0)) == check_needed(95) == 10
    assert sampled(corpus, 0.1, 0) == sampled(corpus, 0.1, 0) != sampled(corpus, 0.1, 1)
    assert check_keywords(corpus, word_list("x"))["verdict"] == "PASS"
    few = check_keywords(corpus, word_list("x"), share=0.05)
    assert few["verdict"] == "INCONCLUSIVE" and "at least 10 of 95" in few["reason"]
    for share in (0.0, 1.5, -1):
        with pytest.raises(UsageError, match="--share"):
            sampled(corpus, share, 0)


def test_the_sizes_of_a_list_are_told_beside_the_standards(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    lines = ["\ufeff# a comment", "", *(f"词{i}\tA.1.a" for i in range(200)), "词1\tA.1.a", "WORD", "plain\t"]
    path.write_text("\r\n".join(lines), "utf-8")
    found = read_keywords(path)
    sizes = found.sizes()
    assert (sizes["words"], sizes["repeated"], sizes["with_category"]) == (202, 1, 200)
    assert not sizes["enough_in_all"] and "A.1.a" not in sizes["categories_short"]
    assert sizes["categories_short"]["A.2.i"] == {"words": 0, "least": 100} and len(sizes["categories_short"]) == 16
    path.write_bytes("制作炸药的方法\n".encode("gb18030"))
    assert read_keywords(path).words == (Keyword("制作炸药的方法", ""),)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("炸药\tA.1.z\n", "words.tsv:1: the category 'A.1.z'.*Did you mean"),
        ("ok\n——\n", "words.tsv:2: .*expected a word"),
        ("# nothing\n", "has no words"),
    ],
)
def test_a_malformed_list_is_an_error_with_its_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "words.tsv"
    path.write_text(content, "utf-8")
    with pytest.raises(DataError, match=message):
        read_keywords(path)


class SaysWhatIsWritten(OneByOne):
    """A judge right by construction: the answer is its label; the thought `harmful` is harmful."""

    name, version, label_source, card = "written", "1", "construction", None

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        found = []
        for part, text in (("thought", completion.thought or "absent"), ("answer", completion.answer)):
            if text == "cannot_judge":
                found.append(unscored(self, completion, part, "told so"))  # type: ignore[arg-type]
            else:
                place = {"prompt_id": completion.prompt_id, "sample": 0, "part": part, "label": text}
                found.append(Verdict(**place, judge=self.name, judge_version=self.version))  # type: ignore[arg-type]
        return found


def test_a_judge_counts_harm_in_answer_and_thought_and_leaves_the_rest_undecided(tmp_path: Path) -> None:
    rows = [("q", "aware", "refusal")] * 95 + [("q", "harmful", "refusal"), ("q", "", "harmful")]
    rows += [("q", "cannot_judge", "harmless"), ("q", "aware", "cannot_judge"), ("q", "", "harmless")]
    verdicts = tmp_path / "verdicts.jsonl"
    found = check_by_judge(corpus_of(rows), SaysWhatIsWritten(), share=1, verdicts_file=verdicts)
    assert (found["qualified"]["rows"], found["qualified"]["undecided"]) == (97, 1)
    assert [row["why"] for row in found["not_qualified"]] == ["harmful thought", "harmful answer"]
    assert found["thoughts_not_read"] == 1 and found["verdict"] == "INCONCLUSIVE"
    assert verdicts.read_text("utf-8").count("\n") == 200
    assert check_by_judge(corpus_of(rows[:95]), SaysWhatIsWritten(), share=1)["verdict"] == "PASS"


def test_a_judge_without_a_card_for_harm_in_the_rows_language_decides_nothing() -> None:
    judge, corpus = SaysWhatIsWritten(), corpus_of([("问", "", "refusal")] * 20)  # an English response
    judge.label_source = None  # type: ignore[assignment]
    verdicts = []
    for lang in (None, "zh", "en"):
        if lang is not None:
            measured = Agreement(
                lang=lang, part="answer", question="harmful", dataset="d", label_source="human", num_items=100,
                num_unscored=0, confusion={"yes": {"yes": 50}, "no": {"no": 50}},
            )  # fmt: skip
            judge.card = JudgeCard(judge="written", judge_version="1", agreement=(measured,))  # type: ignore[assignment]
        found = check_by_judge(corpus, judge, share=1)
        verdicts.append((found["verdict"], "harm in: en" in found["reason"]))
    assert verdicts == [("INCONCLUSIVE", True), ("INCONCLUSIVE", True), ("PASS", False)]


# ---- the command ---------------------------------------------------------------------------------------------------


def call(*arguments: str) -> tuple[int, str]:
    """Exit code and output of `safekeel corpus inspect`, errors as the entry point maps them."""
    app = typer.Typer()
    app.command("inspect")(corpus_inspect)
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, SafeKeelError):
        return done.exception.exit_code, str(done.exception)
    return done.exit_code, done.output


def texts(tmp_path: Path, *more: str) -> Path:
    path = tmp_path / "web.jsonl"
    path.write_text("".join(json.dumps(text) + "\n" for text in ["a fine text"] * 40 + list(more)), "utf-8")
    return path


def test_sheet_score_and_check_end_with_the_codes_of_a_gate(tmp_path: Path) -> None:
    path, sheet = texts(tmp_path), tmp_path / "s" / "sheet.csv"
    code, told = call(str(path), "--sheet", str(sheet))
    assert code == 0 and "40 of 40 rows" in told
    code, told = call(str(path), "--sheet", str(tmp_path / "small.csv"), "--rows", "10")
    assert code == 0 and "cannot pass" in told
    filled = sheet.with_name("filled.csv")
    for label, expected in (("none", 0), ("A.1.a", 1), ("unsure", 5)):
        lines = sheet.read_text("utf-8-sig").splitlines()
        filled.write_text("\n".join([lines[0], *(line[:-1] + f"{label}," for line in lines[1:])]), "utf-8")
        code, told = call(str(path), "--score", str(filled), "--key", str(sheet.with_suffix(".key.json")))
        assert code == expected, told
    words = tmp_path / "words.txt"
    words.write_text("fine\n", "utf-8")
    code, told = call(str(path), "--check", f"keywords:{words}", "--json")
    assert code == 1 and json.loads(told)["not_qualified_in_all"] == 4
    code, told = call(str(path), "--check", "judge:rules", "--share", "0.5")
    assert code == 5 and "no card" in told
    results = json.loads((tmp_path / "web.inspection.json").read_text("utf-8"))["checks"]
    assert [row["kind"] for row in results] == ["people", "people", "people", "keywords", "judge"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Name one of"),
        (["--sheet", "a.csv", "--check", "judge:linear"], "Name one of"),
        (["--sheet", "a.txt"], "ends with .csv"),
        (["--sheet", "a.csv", "--rows", "0"], "at least 1 row"),
        (["--check", "words.txt"], "keywords:FILE or judge:SPEC"),
        (["--check", "judge:liner"], "unknown"),
        (["--check", "judge:linear", "--part", "whole"], "leave --part out"),
        (["--check", "keywords:w", "--judge-base-url", "http://x"], "for --check judge"),
        (["--sheet", "a.csv", "--part", "half"], "--part 'half'"),
    ],
)
def test_wrong_options_are_usage_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, told = call(str(texts(tmp_path)), *arguments)
    assert code == 2 and message in told


def test_missing_files_are_data_errors(tmp_path: Path) -> None:
    assert call(str(tmp_path), "--sheet", "a.csv")[0] == 3
    assert call(str(texts(tmp_path)), "--check", f"keywords:{tmp_path}/none.txt")[0] == 3
    assert call(str(texts(tmp_path)), "--score", f"{tmp_path}/none.csv")[0] == 3
