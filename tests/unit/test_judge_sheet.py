"""Sheets for blind labelling: what people see, what the key holds, and what comes back, against a known truth."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from safekeel.commands.judge import app
from safekeel.errors import DataError, UsageError
from safekeel.judges.base import packaged_card, read_card
from safekeel.judges.sheet import Key, draw, key_path, load_run, write_sheet
from safekeel.judges.sheet_import import import_sheet
from safekeel.judges.sheet_labels import read_key
from safekeel.judges.sheet_text import cell
from safekeel.records import Completion, Message, Prompt, Verdict, write_jsonl

NUM = 1200


def make_run(folder: Path, num: int = NUM, judge: str = "j", thought: str | None = None) -> dict[str, tuple[str, str]]:
    """A run of `num` readable rows and 7 truncated ones. True label and the judge's, by prompt id.

    10% of the answers are harmful; the judge finds 70% of them and calls 5% of the others harmful.
    """
    rng = random.Random(3)
    folder.mkdir(parents=True, exist_ok=True)
    prompts, completions, verdicts, truth = [], [], [], {}
    for number in range(num + 7):
        lang, expect = ("zh", "en")[number % 2], "refuse" if number % 3 else "answer"
        harmful = rng.random() < 0.10
        told = rng.random() < (0.70 if harmful else 0.05)
        rest = "refusal" if expect == "refuse" else "harmless"
        true, given = "harmful" if harmful else rest, "harmful" if told else rest
        cut = number >= num
        prompts.append(
            Prompt(
                id=f"bench/{number}",
                messages=(Message(role="user", content=f"=question {number}"),),
                lang=lang,  # type: ignore[arg-type]
                risk=None,
                expect=expect,  # type: ignore[arg-type]
                target=None,
                source="t",
                licence="t",
            )
        )
        completions.append(
            Completion(
                prompt_id=f"bench/{number}",
                model="secret-model",
                raw="r",
                thought="t" if cut else thought,
                answer="" if cut else f"answer,\n“{number}”",
                split="truncated" if cut else "none",
                finish="length" if cut else "stop",
                num_prompt_tokens=1,
                num_completion_tokens=1,
                seconds=0,
            )
        )
        verdicts.append(
            Verdict(
                prompt_id=f"bench/{number}",
                sample=0,
                part="answer",
                label="cannot_judge" if cut else given,
                judge=judge,
                judge_version="v1",
                unscored=cut,
            )
        )
        if not cut:
            truth[f"bench/{number}"] = (true, given)
    for name, rows in (("prompts", prompts), ("completions", completions), ("verdicts", verdicts)):
        write_jsonl(folder / f"{name}.jsonl", rows)  # type: ignore[arg-type]
    return truth


def fill(sheet: Path, truth: dict[str, tuple[str, str]], column: str = "annotator_1_answer", **also: str) -> list[dict]:
    """Label the sheet with the truth and save it as Excel does; returns the rows."""
    rows = list(csv.DictReader(io.StringIO(sheet.read_bytes().decode("utf-8-sig"), newline="")))
    places = {row.id: row.prompt_id for row in read_key(key_path(sheet)).rows}
    for row in rows:
        row[column] = truth[places[row["id"]]][0]
        row.update(also)
    save(sheet, rows)
    return rows


def save(sheet: Path, rows: list[dict], encoding: str = "utf-8-sig", delimiter: str = ",") -> None:
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    sheet.write_bytes(buffer.getvalue().encode(encoding))


def test_the_sheet_is_blind_and_safe_to_open(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    key = write_sheet(tmp_path / "run", tmp_path / "s.csv", annotators=2)
    raw = (tmp_path / "s.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")  # Excel reads UTF-8 only with a mark
    text = raw.decode("utf-8-sig")
    for hidden in ("bench/", "secret-model", "harmful", "refusal", "j,", "v1"):
        assert hidden not in text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == [
        "row",
        "id",
        "question",
        "answer",
        "annotator_1_answer",
        "annotator_2_answer",
        "final_answer",
    ]
    assert len(rows) == len({row["id"] for row in rows}) == 300
    assert all(row["question"].startswith("'=question") for row in rows)
    assert [row["row"] for row in rows[:3]] == ["1", "2", "3"]
    instructions = (tmp_path / "s.instructions.md").read_text("utf-8")
    assert "responsible_refusal" in instructions and "aware" not in instructions
    stored = json.loads(key_path(tmp_path / "s.csv").read_text("utf-8"))
    assert set(stored["rows"][0]) == {"id", "prompt_id", "sample"}  # no label of any row
    assert (key.num_population, key.num_unreadable, key.judge, key.judge_version) == (NUM, 7, "j", "v1")


def test_every_label_of_the_judge_gets_its_share(tmp_path: Path) -> None:
    """Systematic sampling: each stratum within one row of its share, and every row has the same chance."""
    make_run(tmp_path / "run", 400)
    run = load_run(tmp_path / "run")
    key = write_sheet(tmp_path / "run", tmp_path / "s.csv", 300)
    assert sum(row["size"] for row in key.strata) == 400  # type: ignore[misc]
    for row in key.strata:
        assert abs(int(row["drawn"]) - int(row["size"]) * 300 / 400) <= 1
    seen: Counter[str] = Counter()
    for seed in range(200):
        drawn = [row.prompt.id for row in draw(run, 100, random.Random(seed))]
        assert len(set(drawn)) == 100
        seen.update(drawn)
    # 200 draws at 1/4: mean 50, standard deviation 6.1; 400 rows stay within 4.5 of them
    assert len(seen) == 400 and min(seen.values()) >= 22 and max(seen.values()) <= 78


def test_same_seed_same_sheet(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    sheets = [tmp_path / f"{name}.csv" for name in "abc"]
    for sheet, seed in zip(sheets, (1, 1, 2), strict=True):
        write_sheet(tmp_path / "run", sheet, seed=seed)
    assert sheets[0].read_bytes() == sheets[1].read_bytes() != sheets[2].read_bytes()


def test_small_samples_are_refused_unless_asked_for(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    with pytest.raises(UsageError, match="fewer than 300"):
        write_sheet(tmp_path / "run", tmp_path / "s.csv", 299)
    with pytest.raises(UsageError, match="has 1200 rows"):
        write_sheet(tmp_path / "run", tmp_path / "s.csv", 1201)
    assert len(write_sheet(tmp_path / "run", tmp_path / "s.csv", 20, allow_small=True).rows) == 20
    with pytest.raises(UsageError, match="nope"):
        write_sheet(tmp_path / "run", tmp_path / "s.csv", benchmark="nope")


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "＝1", " =1", "\r=1"])
def test_formulas_are_neutralised(text: str) -> None:
    assert cell(text) == f"'{text}"


def test_other_text_stays_and_huge_cells_are_cut() -> None:
    assert cell("抱歉=1") == "抱歉=1" and cell("") == "" and cell("a\0b") == "ab"
    assert len(cell("x" * 40_000)) < 32_767 and "8000 more characters" in cell("x" * 40_000)


def test_what_comes_back_is_right(tmp_path: Path) -> None:
    truth = make_run(tmp_path / "run")
    sheet = tmp_path / "s.csv"
    write_sheet(tmp_path / "run", sheet, 600)
    rows = fill(sheet, truth)
    found = import_sheet(sheet)
    places = {row.id: row.prompt_id for row in read_key(key_path(sheet)).rows}
    drawn = [places[row["id"]] for row in rows]
    for lang, odd in (("zh", 0), ("en", 1)):
        mine = [truth[name] for name in drawn if int(name.split("/")[1]) % 2 == odd]
        row = found.card.find(lang, "answer", "harmful")
        assert row is not None and row.label_source == "human" and row.num_items == len(mine)
        hits = sum(a == b == "harmful" for a, b in mine)
        assert row.error is not None and row.error.true_hits_found == hits
    rates = {(row["metric"], row["slice"]): row for row in found.corrected["rates"]}
    hr = rates["hr", "all"]
    risky = [truth[f"bench/{n}"] for n in range(NUM) if n % 3]
    true, judged = (sum(pair[side] == "harmful" for pair in risky) / len(risky) for side in (0, 1))
    assert hr["judge"]["value"] == pytest.approx(judged) and hr["num_rows"] == len(risky)
    assert hr["corrected"]["low"] < true < hr["corrected"]["high"]
    assert hr["corrected"]["low"] <= hr["corrected"]["value"] <= hr["corrected"]["high"]
    assert {slice_name for _, slice_name in rates} == {"all", "lang:en", "lang:zh"}
    assert hr["gain"] > 1 and found.corrected["num_unreadable"] == 7


def test_the_corrected_rate_by_hand(tmp_path: Path) -> None:
    """Sum over the judge's labels of size / rows * people's share within the label."""
    truth = make_run(tmp_path / "run")
    sheet = tmp_path / "s.csv"
    write_sheet(tmp_path / "run", sheet)
    fill(sheet, truth)
    places = [row.prompt_id for row in read_key(key_path(sheet)).rows]
    strata: dict[tuple[int, str], list[str]] = {}
    for name, pair in truth.items():
        if int(name.split("/")[1]) % 3:
            strata.setdefault((int(name.split("/")[1]) % 2, pair[1]), []).append(name)
    total, expected = sum(map(len, strata.values())), 0.0
    for names in strata.values():
        drawn = [truth[name][0] for name in names if name in places]
        expected += len(names) / total * drawn.count("harmful") / len(drawn)
    row = next(r for r in import_sheet(sheet).corrected["rates"] if (r["metric"], r["slice"]) == ("hr", "all"))
    assert row["corrected"]["value"] == pytest.approx(expected)


def break_sheet(rows: list[dict], how: str) -> list[dict]:
    if how == "unknown":
        rows[4]["annotator_1_answer"] = "harmfull"
    elif how == "blank":
        rows[4]["annotator_1_answer"] = " "
    elif how == "twice":
        rows.append(dict(rows[4]))
    elif how == "foreign":
        rows[4]["id"] = "r00000000"
    elif how == "missing":
        del rows[4]
    elif how == "differ":
        rows[4].update(annotator_1_answer="harmful", annotator_2_answer="refusal")
    return rows


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("unknown", r"row 6: annotator_1_answer is 'harmfull', expected one of .* Did you mean 'harmful'"),
        ("blank", "row 6: annotator_1_answer is blank"),
        ("twice", "rows 6 and 302 have the same id"),
        ("foreign", "row 6: the id 'r00000000' is not in the key"),
        ("missing", "1 of 300 rows of the key are missing"),
        ("differ", r"row 6: annotators differ \(harmful / refusal\); settle it in final_answer"),
    ],
)
def test_broken_sheets_are_named_by_row(tmp_path: Path, how: str, message: str) -> None:
    truth = make_run(tmp_path / "run")
    sheet = tmp_path / "s.csv"
    write_sheet(tmp_path / "run", sheet, annotators=2)
    save(sheet, break_sheet(fill(sheet, truth), how))
    with pytest.raises(DataError, match=message):
        import_sheet(sheet)


def test_a_sheet_of_another_run_is_refused(tmp_path: Path) -> None:
    truth = make_run(tmp_path / "run")
    write_sheet(tmp_path / "run", tmp_path / "s.csv")
    fill(tmp_path / "s.csv", truth)
    make_run(tmp_path / "other", 1300)
    with pytest.raises(DataError, match="not the file that the sheet was drawn from"):
        import_sheet(tmp_path / "s.csv", run_dir=tmp_path / "other")
    with pytest.raises(DataError, match="does not exist: a sheet is read with its key"):
        import_sheet(tmp_path / "run" / "nothing.csv")


@pytest.mark.parametrize(("encoding", "delimiter"), [("utf-8", ";"), ("gb18030", ","), ("utf-16", "\t")])
def test_the_ways_excel_saves(tmp_path: Path, encoding: str, delimiter: str) -> None:
    truth = make_run(tmp_path / "run")
    sheet = tmp_path / "s.csv"
    write_sheet(tmp_path / "run", sheet)
    before = fill(sheet, truth)
    expected = import_sheet(sheet).corrected["rates"]
    for row in before:
        row["annotator_1_answer"] = {"harmful": "不拒绝且给出风险回复", "refusal": " Refusal"}.get(
            row["annotator_1_answer"], row["annotator_1_answer"]
        )
    save(sheet, before, encoding, delimiter)
    assert import_sheet(sheet).corrected["rates"] == expected


def test_two_annotators_give_kappa_and_final_settles(tmp_path: Path) -> None:
    truth = make_run(tmp_path / "run")
    sheet = tmp_path / "s.csv"
    write_sheet(tmp_path / "run", sheet, annotators=2)
    rows = fill(sheet, truth)
    for number, row in enumerate(rows):
        row["annotator_2_answer"] = row["annotator_1_answer"] if number >= 30 else "cannot_judge"
        row["final_answer"] = row["annotator_1_answer"] if number < 30 else ""
    save(sheet, rows)
    found = import_sheet(sheet).corrected
    [pair] = found["annotators"]["answer"]
    assert pair["annotators"] == [1, 2] and pair["observed"] == pytest.approx(0.9) and 0 < pair["value"] < 1
    assert all(row["num_people_unsure"] == 0 for row in found["rates"])


def test_what_people_cannot_judge_widens_the_interval(tmp_path: Path) -> None:
    truth = make_run(tmp_path / "run")
    sheet = tmp_path / "s.csv"
    write_sheet(tmp_path / "run", sheet)
    rows = fill(sheet, truth)

    def hr() -> dict:
        return next(row for row in import_sheet(sheet).corrected["rates"] if row["metric"] == "hr")

    sure = hr()
    for row in rows[::10]:
        row["annotator_1_answer"] = "cannot_judge"
    save(sheet, rows)
    unsure = hr()
    assert unsure["num_people_unsure"] > 0
    assert (
        unsure["corrected"]["high"] - unsure["corrected"]["low"] > sure["corrected"]["high"] - sure["corrected"]["low"]
    )


def test_labels_outlive_a_new_judge(tmp_path: Path) -> None:
    """The run is judged again: the labels are the same people's, and measure the new judge."""
    truth = make_run(tmp_path / "run")
    sheet = tmp_path / "s.csv"
    write_sheet(tmp_path / "run", sheet)
    fill(sheet, truth)
    make_run(tmp_path / "run", judge="better")
    found = import_sheet(sheet)
    assert found.card.judge == "better" and found.corrected["judged_again_since"] is True


def test_both_parts(tmp_path: Path) -> None:
    """A row without a thought is `absent` without anybody typing it."""
    truth = make_run(tmp_path / "run")
    write_sheet(tmp_path / "run", tmp_path / "s.csv", part="both")
    fill(tmp_path / "s.csv", truth)
    rates = {row["metric"]: row for row in import_sheet(tmp_path / "s.csv").corrected["rates"]}
    assert rates["thought_aware"]["people"]["value"] == 0 and rates["thought_aware"]["judge"] is None
    make_run(tmp_path / "with", thought="thinking")
    write_sheet(tmp_path / "with", tmp_path / "w.csv", part="both")
    fill(tmp_path / "w.csv", truth)
    with pytest.raises(DataError, match="annotator_1_thought is blank"):
        import_sheet(tmp_path / "w.csv")


def test_two_judges_in_one_population_are_refused(tmp_path: Path) -> None:
    make_run(tmp_path / "run", 400)
    path = tmp_path / "run" / "verdicts.jsonl"
    lines = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([lines[0].replace('"judge":"j"', '"judge":"k"'), *lines[1:]]) + "\n", "utf-8")
    with pytest.raises(UsageError, match=r"several judges \(j, k\)"):
        load_run(tmp_path / "run")


def test_the_commands(tmp_path: Path) -> None:
    truth = make_run(tmp_path / "run")
    sheet, out = tmp_path / "s.csv", tmp_path / "back"
    runner = CliRunner()
    said = runner.invoke(app, ["sheet", str(tmp_path / "run"), "--out", str(sheet)], catch_exceptions=False).output
    assert "300 of 1200 rows; 7 without an answer" in said
    fill(sheet, truth)
    said = runner.invoke(app, ["import", str(sheet), "--out", str(out)], catch_exceptions=False).output
    assert "judge alone" in said and "corrected" in said and "lang:zh" in said
    assert read_card(out / "card.json").judge == "j"
    assert json.loads((out / "corrected.json").read_text("utf-8"))["num_labelled"] == 300
    assert packaged_card("j", "v1") is None  # nothing of the package was written
    with pytest.raises(UsageError, match=r"ends with \.csv"):
        runner.invoke(app, ["sheet", str(tmp_path / "run"), "--out", str(tmp_path / "s.xlsx")], catch_exceptions=False)
    assert Key.model_validate_json(key_path(sheet).read_text("utf-8")).part == "answer"
