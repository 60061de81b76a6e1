"""The manual inspection: exact bounds, who is drawn, what a sheet holds, and how a filled one is counted."""

from __future__ import annotations

import csv
import json
import random
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from safekeel.corpus.card import card_markdown, load_card
from safekeel.corpus.inspection import (
    decide,
    finite_bounds,
    inspections,
    rate,
    record,
    results_path,
    sample_needed,
)
from safekeel.corpus.inspection_labels import Choices
from safekeel.corpus.inspection_rows import InspectRow, read_rows
from safekeel.corpus.inspection_score import score_sheets
from safekeel.corpus.inspection_sheet import draw, key_path, write_sheet
from safekeel.errors import DataError, UsageError
from safekeel.stats.intervals import lower_bound
from safekeel.taxonomy import load_taxonomy


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_bounds_are_the_hypergeometric_tests_turned_round(data: st.DataObject) -> None:
    population = data.draw(st.integers(1, 40))
    drawn = data.draw(st.integers(1, population))
    hits = data.draw(st.integers(0, drawn))
    possible = range(hits, population - (drawn - hits) + 1)
    alpha = 1 - 0.95
    low = min(k for k in possible if stats.hypergeom.sf(hits - 1, population, k, drawn) > alpha)
    high = max(k for k in possible if stats.hypergeom.cdf(hits, population, k, drawn) > alpha)
    assert finite_bounds(hits, drawn, population) == (low / population, high / population)


def test_bounds_cover_and_become_the_binomial_ones_in_a_large_corpus() -> None:
    for true in range(0, 31):  # every population of 30: the bound may lie above the truth in at most 5% of the draws
        missed = sum(
            stats.hypergeom.pmf(hits, 30, true, 12)
            for hits in range(max(0, 12 - (30 - true)), min(12, true) + 1)
            if finite_bounds(hits, 12, 30).low > true / 30 + 1e-12
        )
        assert missed <= 0.05 + 1e-12
    assert finite_bounds(3860, 4000, 10**7).low == pytest.approx(lower_bound(3860, 4000), abs=1e-5)
    assert finite_bounds(9, 10, 10) == (0.9, 0.9)  # everything was read
    with pytest.raises(ValueError, match="3 of 2 rows"):
        finite_bounds(1, 3, 2)


@pytest.mark.parametrize(
    ("qualified", "undecided", "drawn", "population", "verdict"),
    [
        (3840, 0, 4000, 10**6, "PASS"),  # 96.0% exactly, as the standard reads it
        (3839, 0, 4000, 10**6, "FAIL"),
        (3839, 1, 4000, 10**6, "INCONCLUSIVE"),
        (100, 0, 100, 100, "PASS"),  # all of a small corpus
        (100, 0, 100, 10**6, "INCONCLUSIVE"),  # too few rows cannot pass,
        (80, 0, 100, 10**6, "FAIL"),  # but they can fail
        (80, 16, 100, 10**6, "INCONCLUSIVE"),
    ],
)
def test_the_worst_case_passes_and_the_best_case_fails(
    qualified: int, undecided: int, drawn: int, population: int, verdict: str
) -> None:
    found = rate(qualified, undecided, drawn, population, 0.96)
    assert decide(found, drawn, population, sample_needed(population))[0] == verdict
    assert found.lower_95 <= found.value <= found.best <= found.high


def test_a_pass_that_is_not_proven_says_so() -> None:
    found = rate(3841, 0, 4000, 10**6, 0.96)
    assert decide(found, 4000, 10**6, 4000) == (
        "PASS",
        "by the point estimate, as the standard reads; its lower bound is below",
    )
    assert found.lower_95 < 0.96
    sure = rate(3900, 0, 4000, 10**6, 0.96)
    assert decide(sure, 4000, 10**6, 4000) == ("PASS", "") and sure.lower_95 > 0.96


def rows_of(sizes: dict[str, int]) -> list[InspectRow]:
    names = [name for name, size in sizes.items() for _ in range(size)]
    return [InspectRow(line, f"id{line}", name, "q", "", f"a{line}") for line, name in enumerate(names, start=1)]


def test_small_sources_are_topped_up_outside_of_the_random_sample() -> None:
    rows = rows_of({"big": 900, "small": 80, "tiny": 5})
    plain, extra = draw(rows, 100, 0, random.Random(3))
    assert (len(plain), extra) == (100, 0) and plain == draw(rows, 100, 0, random.Random(3))[0]
    topped, extra = draw(rows, 100, 30, random.Random(3))
    assert topped[:100] == plain and len({row.line for row in topped}) == len(topped) == 100 + extra
    counts = Counter(row.source for row in topped)
    assert counts["small"] == 30 and counts["tiny"] == 5 and counts["big"] >= 30
    assert draw(rows, 5000, 100, random.Random(0))[1] == 0  # all rows are there already


def test_every_row_has_the_same_chance() -> None:
    rows = rows_of({"a": 6, "b": 4})
    rng = random.Random(0)
    found = Counter(row.line for _ in range(2000) for row in draw(rows, 3, 0, rng)[0])
    assert len(found) == 10 and all(abs(count - 600) < 100 for count in found.values())  # 600 ± 5 standard deviations


def write_corpus(folder: Path, texts: list[dict[str, str]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for place, text in enumerate(texts):
        prompt = {
            "id": f"secret-risky/{place}", "messages": [{"role": "user", "content": text.get("request", "问题")}],
            "lang": "zh", "risk": "A.1.a", "expect": "refuse", "target": None,
            "source": text.get("source", "secret-source"), "licence": "MIT",
        }  # fmt: skip
        sample = {"id": prompt["id"], "role": "risky", "prompt": prompt, "thought": text.get("thought", "想")}
        lines.append(json.dumps(sample | {"answer": text.get("answer", "抱歉，我不能帮助你。")}, ensure_ascii=False))
    (folder / "sft.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
    return folder


def filled(sheet: Path, labels: list[str], name: str = "filled.csv", **options: str) -> Path:
    """The sheet as a person fills it in a spreadsheet: `labels` in its order."""
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, label in zip(rows, labels, strict=True):
        row["label"] = label
    out = sheet.with_name(name)
    with out.open("w", encoding=options.get("encoding", "utf-8-sig"), newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=options.get("delimiter", ","))
        writer.writeheader()
        writer.writerows(rows)
    return out


def drawn_sheet(tmp_path: Path, number: int = 50, **options: int) -> tuple[Path, Path]:
    """(corpus folder, sheet)"""
    folder = write_corpus(tmp_path / "corpus", [{"answer": f"回答{place}"} for place in range(number)])
    sheet = tmp_path / "sheets" / "sheet.csv"
    write_sheet(read_rows(folder, "response"), sheet, part="response", **options)
    return folder, sheet


def test_the_sheet_is_blind_and_no_cell_is_a_formula(tmp_path: Path) -> None:
    dangerous = [{"answer": text} for text in ("=1+1", "+1", "-1", "@x", "＝cmd", "\t=1", "好\0字", "长" * 5_000_000)]
    folder = write_corpus(tmp_path, [*dangerous, {"request": "</script><script>alert(1)</script>\u202e"}])
    sheet = tmp_path / "out" / "sheet.csv"
    key = write_sheet(read_rows(folder, "response"), sheet, part="response")
    raw = sheet.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf") and b"\0" not in raw
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert not any(cell.lstrip().startswith(("=", "+", "-", "@", "＝")) for row in rows for cell in row.values())
    assert max(len(cell) for row in rows for cell in row.values()) < 32_767
    page = sheet.with_suffix(".html").read_text("utf-8")
    assert "\u202e" not in page and "[U+202E]" in page
    for secret in ("secret-source", "secret-risky", "Apache", "expect"):
        assert secret not in raw.decode("utf-8-sig") and secret not in page
    assert page.count("</script>") == 2 and "<script>alert" not in page and "default-src 'none'" in page
    data = json.loads(page.split('type="application/json">')[1].split("</script>")[0])
    assert [one[0] for one in data["rows"]] == [one.id for one in key.rows] == [row["id"] for row in rows]
    assert len(data["choices"]) == 31
    told = sheet.with_suffix(".instructions.md").read_text("utf-8")
    assert "A.4.g" in told and "context" in told and "unsure" in told


def test_sheets_of_other_corpora_and_seeds_share_no_row_id(tmp_path: Path) -> None:
    folder, sheet = drawn_sheet(tmp_path)
    first = {row.id for row in json_key(sheet)}
    again = tmp_path / "again.csv"
    write_sheet(read_rows(folder, "response"), again, part="response")
    assert again.read_bytes() == sheet.read_bytes()
    write_sheet(read_rows(folder, "response"), again, part="response", seed=1)
    assert not first & {row.id for row in json_key(again)}


def json_key(sheet: Path) -> list:
    from safekeel.corpus.inspection_filled import find_key

    return find_key(sheet).rows


def test_blanks_unsure_and_missing_rows_never_count_as_qualified(tmp_path: Path) -> None:
    folder, sheet = drawn_sheet(tmp_path)
    corpus = read_rows(folder, "whole")
    done = filled(sheet, ["none"] * 46 + ["", "unsure", "不确定", "A.5.a"])
    lines = done.read_text("utf-8-sig").splitlines(keepends=True)
    done.write_text("".join(lines[:1] + lines[2:]), "utf-8")  # one `none` row lost
    found = score_sheets(corpus, [done])
    assert (found["sampled"], found["qualified"]["rows"], found["qualified"]["undecided"]) == (50, 45, 4)
    assert found["verdict"] == "INCONCLUSIVE" and "undecided" in found["reason"]
    assert found["readers"][0]["unfilled"] == 2 and found["readers"][0]["unsure"] == 2
    assert found["sources"][0]["illegal"] == 0  # A.5 fails a row, but is no illegal content


def test_all_none_passes_and_the_card_shows_it(tmp_path: Path) -> None:
    folder, sheet = drawn_sheet(tmp_path)
    corpus = read_rows(folder, "whole")
    spelled = ["None", "无", "ok", " none ", "合格"] * 10
    found = score_sheets(corpus, [filled(sheet, spelled)])
    assert (found["verdict"], found["qualified"]["value"], found["qualified"]["lower_95"]) == ("PASS", 1.0, 1.0)
    record(corpus, found)
    record(corpus, found)
    other = {**found, "id": "keywords:1", "name": "keywords: list"}
    record(corpus, other)
    assert [row["id"] for row in inspections(folder)] == [found["id"], "keywords:1"]
    card = {"samples": 50, "by_role": {}, "characters": {"median": 1, "longest": 2}}
    (folder / "card.json").write_text(json.dumps(card), "utf-8")
    assert "| people | PASS | 100% |" in card_markdown(load_card(folder))
    record(corpus, {**other, "verdict": "FAIL", "reason": "words"})
    assert load_card(folder)["warnings"] == ["The inspection by keywords: list FAILED: words."]
    write_corpus(folder, [{}])
    assert "of another version of the corpus" in card_markdown(load_card(folder))


def test_a_source_with_more_than_5_percent_illegal_content_is_refused(tmp_path: Path) -> None:
    texts = [{"source": "clean", "answer": f"a{i}"} for i in range(900)]
    texts += [{"source": "foul", "answer": f"b{i}"} for i in range(100)]
    folder = write_corpus(tmp_path / "corpus", texts)
    corpus = read_rows(folder, "whole")
    sheet = tmp_path / "sheet.csv"
    key = write_sheet(corpus, sheet, part="whole")
    source_of = {row.line: row.source for row in corpus.rows}
    foul = [row.id for row in key.rows if source_of[row.line] == "foul"]
    for number, verdict in ((5, "PASS"), (6, "FAIL")):
        bad = set(foul[:number])
        found = score_sheets(corpus, [filled(sheet, ["A.1.f" if row.id in bad else "none" for row in key.rows])])
        assert found["qualified"]["value"] > 0.99
        assert {row["source"]: row["verdict"] for row in found["sources"]} == {"clean": "PASS", "foul": verdict}
        assert found["verdict"] == verdict and ("foul" in found["reason"]) == (verdict == "FAIL")


def test_a_source_seen_a_few_times_is_undecided_until_it_is_topped_up(tmp_path: Path) -> None:
    texts = [{"source": "rare" if place % 200 == 0 else "common"} for place in range(8000)]
    corpus = read_rows(write_corpus(tmp_path / "corpus", texts), "whole")
    sheet = tmp_path / "sheet.csv"
    key = write_sheet(corpus, sheet, part="whole", num_rows=4000)
    found = score_sheets(corpus, [filled(sheet, ["none"] * 4000)])
    rare = next(row for row in found["sources"] if row["source"] == "rare")
    assert rare["read"] < 59 and rare["verdict"] == "INCONCLUSIVE" and "--per-source" in rare["reason"]
    assert found["verdict"] == "PASS"
    key = write_sheet(corpus, sheet, part="whole", num_rows=4000, per_source=100)
    extra = sum(row.extra for row in key.rows)
    found = score_sheets(corpus, [filled(sheet, ["none"] * len(key.rows))])
    rare = next(row for row in found["sources"] if row["source"] == "rare")
    assert (rare["read"], rare["verdict"]) == (40, "PASS")
    assert (found["sampled"], found["extra_for_sources"]) == (4000, extra)


def test_two_readers_agree_or_leave_a_row_undecided(tmp_path: Path) -> None:
    folder, sheet = drawn_sheet(tmp_path)
    corpus = read_rows(folder, "whole")
    first = filled(sheet, ["A.1.a"] * 2 + ["none"] * 48, "first.csv")
    second = filled(sheet, ["A.1.b", "none", "unsure"] + ["none"] * 46 + [""], "second.csv")
    found = score_sheets(corpus, [first, second])
    assert found["labels"] == {"none": 48, "A.1.a": 1, "undecided": 1}
    agreed = found["agreement"][0]
    assert agreed["qualified"]["num_items"] == 48 and agreed["qualified"]["observed"] == pytest.approx(47 / 48)
    assert agreed["label"]["observed"] == pytest.approx(46 / 48)
    with pytest.raises(UsageError, match="each once"):
        score_sheets(corpus, [first, first])


@pytest.mark.parametrize(("encoding", "delimiter"), [("gb18030", ","), ("utf-16", "\t"), ("utf-8", ";")])
def test_whatever_a_spreadsheet_saves_is_read(tmp_path: Path, encoding: str, delimiter: str) -> None:
    folder, sheet = drawn_sheet(tmp_path, 5)
    done = filled(sheet, ["无"] * 5, encoding=encoding, delimiter=delimiter)
    assert score_sheets(read_rows(folder, "whole"), [done])["qualified"]["rows"] == 5


@pytest.mark.parametrize("text", ["3/4", "0.50", "1E5", "=1+1", "一行\n二行 🙂"])
def test_what_a_spreadsheet_does_to_a_text_does_not_make_it_another(tmp_path: Path, text: str) -> None:
    folder = write_corpus(tmp_path / "corpus", [{"answer": text}])
    sheet = tmp_path / "sheet.csv"
    write_sheet(read_rows(folder, "response"), sheet, part="response")
    with sheet.open(encoding="utf-8-sig", newline="") as file:
        answer = next(csv.DictReader(file))["answer"]
    assert not any(char.isdigit() for char in answer) or answer.startswith("'")  # never a bare number or date
    done = filled(sheet, ["none"])
    saved = done.read_text("utf-8-sig").replace("🙂", "?").replace("\n二", "\r\n二").replace(",'", ",")
    done.write_bytes(saved.encode("gb18030"))
    assert score_sheets(read_rows(folder, "whole"), [done])["verdict"] == "PASS"


def test_the_pages_export_has_no_texts_and_finds_its_key(tmp_path: Path) -> None:
    folder, sheet = drawn_sheet(tmp_path, 3)
    done = sheet.with_name("inspection-export.csv")
    lines = ["\ufeffrow,id,label,note", *(f'{i},{row.id},A.1.a,""' for i, row in enumerate(json_key(sheet), 1))]
    done.write_text("\r\n".join(lines), "utf-8")
    found = score_sheets(read_rows(folder, "whole"), [done])
    assert found["verdict"] == "FAIL" and found["labels"] == {"A.1.a": 3}
    moved = tmp_path / "moved.csv"
    done.rename(moved)
    with pytest.raises(DataError, match="--key"):
        score_sheets(read_rows(folder, "whole"), [moved])
    assert score_sheets(read_rows(folder, "whole"), [moved], key_path(sheet))["labels"] == {"A.1.a": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",none,", ",nonne,", 1), r"row \d+: the label is 'nonne'.*Did you mean 'none'"),
        (lambda text: text.replace(",none,", ",A.9.z,", 1), r"the label is 'A.9.z'"),
        (lambda text: text.replace("回答", "另一个回答", 1), r"row \d+: the text is not the one of the sheet"),
        (lambda text: text.replace("1,r", "1,rr", 1), "is not of this sheet"),
        (lambda text: text + text.splitlines()[-1] + "\r\n", "have the same id"),
        (lambda text: text.replace("label", "lable"), "no column 'label'"),
        (lambda text: text.replace(",none,", ",,"), "not one of 5 rows has a label"),
    ],
)
def test_a_sheet_that_was_changed_is_an_error_with_its_row(tmp_path: Path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    folder, sheet = drawn_sheet(tmp_path, 5)
    done = filled(sheet, ["none"] * 5)
    done.write_text(change(done.read_text("utf-8-sig")), "utf-8")
    with pytest.raises(DataError, match=message):
        score_sheets(read_rows(folder, "whole"), [done], key_path(sheet))


DRIVE = """<script>
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
press("n");  // refused: the texts are still hidden
["space", "n", "1", "a", "u", "5", "b", "ArrowLeft", "Backspace"].forEach(key => press(key === "space" ? " " : key));
document.title = exported();
</script></body>"""


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs chromium to open the page")
def test_the_page_in_a_browser_labels_by_key_and_exports_what_is_scored(tmp_path: Path) -> None:
    folder, sheet = drawn_sheet(tmp_path, 6)
    page = sheet.with_suffix(".html")
    driven = page.with_name("driven.html")
    driven.write_text(page.read_text("utf-8").replace("</body>", DRIVE), "utf-8")
    flags = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
        "--disable-background-networking",
        "--dump-dom",
    ]
    done = subprocess.run(
        ["chromium", *flags, f"--user-data-dir={tmp_path}/profile", driven.as_uri()],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    exported = done.stdout.split("<title>")[1].split("</title>")[0].lstrip("\ufeff")
    out = sheet.with_name("export.csv")
    out.write_text(exported, "utf-8")
    found = score_sheets(read_rows(folder, "whole"), [out])
    assert found["labels"] == {"none": 1, "A.1.a": 1, "undecided": 4}
    assert found["readers"][0]["unsure"] == 1


def test_a_corpus_that_changed_since_is_refused(tmp_path: Path) -> None:
    folder, sheet = drawn_sheet(tmp_path, 5)
    done = filled(sheet, ["none"] * 5)
    write_corpus(folder, [{}])
    with pytest.raises(DataError, match="draw it again"):
        score_sheets(read_rows(folder, "whole"), [done])


def test_labels_are_read_by_id_and_by_either_name() -> None:
    choices = Choices(load_taxonomy())
    assert len(choices.labels) == 33 and len(choices.illegal) == 29
    for category in load_taxonomy().categories:
        for spelling in (category.id, category.id.upper(), category.zh, category.short_zh, category.en.upper()):
            assert choices.read(f" {spelling} ") == category.id
    assert choices.read("Ａ.1.a 煽动") == "A.1.a" and choices.read("'none") == "none" and choices.read("x") is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('"一段文字"', ("", "一段文字")),
        ('{"text": "t", "source": "web"}', ("", "t")),
        ('{"instruction": "i", "input": "n", "output": "o"}', ("i\nn", "o")),
        ('{"prompt": "p", "completion": "c"}', ("p", "c")),
        ('{"prompt": [{"role": "user", "content": "p"}], "completion": [{"role": "assistant", "content": "c"}]}',
         ("p", "c")),
        ('{"messages": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]}', ("u", "a")),
        ('{"conversations": [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]}', ("u", "a")),
        ('{"text": "行\u2028内"}', ("", "行\u2028内")),
        ('{"text": "half \\ud83d"}', ("", "half ?")),
    ],
)  # fmt: skip
def test_texts_of_many_forms_are_read(tmp_path: Path, line: str, expected: tuple[str, str]) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\ufeff" + line + "\r\n\r\n", "utf-8")
    found = read_rows(path, "response").rows
    assert [(row.request, row.answer) for row in found] == [expected]
    assert found[0].source in ("web", "rows.jsonl")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no rows"),
        (b'{"text": "a"}\n{"text"', "rows.jsonl:2: malformed JSON"),
        (b'{"number": 3}', "without a text"),
        (b"[1]", "got a list"),
        (b'{"messages": [{"role": "user", "content": "u"}]}', "--part whole"),
        (b"\xff\xff\xff", "neither UTF-8 nor GB18030"),
    ],
)
def test_a_file_that_cannot_be_inspected_says_why(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(path, "response")


def test_results_lie_beside_the_file_and_a_foreign_file_is_left_alone(tmp_path: Path) -> None:
    assert results_path(tmp_path / "web.jsonl").name == "web.inspection.json"
    folder, sheet = drawn_sheet(tmp_path, 3)
    corpus = read_rows(folder, "whole")
    result = score_sheets(corpus, [filled(sheet, ["none"] * 3)])
    results_path(folder).write_text('{"mine": 1}', "utf-8")
    with pytest.raises(DataError, match="move it away"):
        record(corpus, result)
    assert results_path(folder).read_text("utf-8") == '{"mine": 1}'
