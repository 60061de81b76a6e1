"""The card as tables of plain cells, shared by `card_markdown` and `card_html`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from safekeel.corpus.card_counts import PARTS, QUANTILES
from safekeel.corpus.card_table import Cell, Table
from safekeel.report.labels import percent
from safekeel.taxonomy import load_taxonomy

_SIMPLE = (
    ("Role", "角色", "by_role"),
    ("Language", "语言", "by_language"),
    ("Attack", "攻击手法", "by_attack"),
    ("Source", "来源", "by_source"),
    ("Author of thought and answer", "回答作者", "by_author"),
    ("Form of the thought", "思维链形式", "by_style"),
)
_ALLOWS = {True: "yes", False: "NO", None: "not stated by a source"}
_PAIRS = {
    "complete": "risky samples with their harmless twin",
    "risky_alone": "risky samples whose twin is gone",
    "counter_alone": "twins whose risky sample is gone",
    "not_recorded": "risky or twin, no pair recorded",
}


def tables(card: Mapping[str, Any]) -> list[Table]:
    """All tables that the card has rows for, in the order of the page. Cards of earlier versions have fewer."""
    return [table for table in _all(card) if table.rows]


def _all(card: Mapping[str, Any]) -> Iterator[Table]:
    yield _inspection(card.get("inspection") or [])
    for title, zh, key in _SIMPLE:
        rows = [(name or "(unnamed)", number) for name, number in (card.get(key) or {}).items()]
        if key not in ("by_author", "by_style") or [name for name, _ in rows] != ["not recorded"]:
            yield Table(title, zh, (title, "samples"), rows, bar=1)
    yield _cross(card.get("by_role_language") or {})
    yield _categories(card)
    yield _licences(card.get("licences"), card.get("by_licence") or {})
    yield _sources(card.get("sources") or [])
    yield _lengths(card.get("lengths"))
    yield _repetition(card)
    yield from _contamination(card.get("contamination") or {}, card.get("duplicates") or {})
    yield from _synthesis(card.get("synthesis") or {})
    yield _mixture(card)
    yield _rejected(card)
    yield _steps(card.get("steps") or [])
    rl = card.get("rl_prompts") or {}
    yield Table("RL prompts", "强化学习提示", ("expected", "prompts"), list((rl.get("by_expect") or {}).items()), bar=1)


def _inspection(found: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            str(row["name"]),
            str(row["verdict"]) + ("" if row.get("current", True) else " (of another version of the corpus)"),
            percent(row["qualified"]["value"]),
            f"≥ {percent(row['qualified']['lower_95'], 2)}",
            f"≥ {percent(row['qualified']['threshold'])}",
            f"{row['sampled']:,} of {row['population']:,}",
        )
        for row in found
    ]
    note = (
        "The standard's own inspection is made by people; SafeKeel only samples and counts. Checks by keywords or by a "
        "judge are the second, automatic check that the standard asks for, and are no better than their list or judge."
    )
    columns = ("check", "verdict", "qualified", "proven (one-sided 95%)", "required", "rows")
    return Table("Inspection (TC260-003)", "语料安全抽检", columns, rows, note)


def _cross(found: Mapping[str, Mapping[str, int]]) -> Table:
    rows = [(role, row.get("zh", 0), row.get("en", 0), sum(row.values())) for role, row in found.items()]
    return Table("Role by language", "角色 × 语言", ("role", "zh", "en", "all"), rows)


def _categories(card: Mapping[str, Any]) -> Table:
    if "by_category" not in card:
        old = list((card.get("risky_by_category") or {}).items())
        return Table("Risky samples by category", "风险类别", ("category", "risky"), old, bar=1)
    known = load_taxonomy().names("en")
    rows = [
        (f"{name} {known.get(name, '')}".strip(), row["risky"], row["zh"], row["en"], row["counter"])
        for name, row in card["by_category"].items()
    ]
    note = "Zeros are shown. A harmless twin counts for the category of its risky sample."
    columns = ("category", "risky", "zh", "en", "twins")
    return Table("Risky samples by category", "风险类别", columns, rows, note, bar=1)


def _licences(found: Mapping[str, Mapping[str, Any]] | None, old: Mapping[str, int]) -> Table:
    if found is None:
        return Table("Licence", "许可", ("licence", "samples"), list(old.items()), bar=1)
    rows = [
        (name, row["samples"], "NO, allowed by hand" if row["by_hand"] else _ALLOWS[row["training_allowed"]])
        for name, row in found.items()
    ]
    return Table("Licence", "许可", ("licence", "samples", "allows training"), rows, bar=1)


def _sources(found: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            str(row["name"]),
            str(row.get("licence", "")),
            "NO, allowed by hand" if row.get("by_hand") else _ALLOWS[row.get("training_allowed")],
            row.get("rows", "n/a"),
            "; ".join(map(str, row.get("notes") or [])),
        )
        for row in found
    ]
    columns = ("source", "licence", "allows training", "rows read", "notes")
    return Table("Sources read", "已读来源", columns, rows)


def _lengths(found: Mapping[str, Any] | None) -> Table:
    if not found:
        return Table("Lengths", "长度", (), [])
    by = f"tokens of {found['tokenizer']}" if found["tokenizer"] else "characters, because no tokenizer was given"
    rows = [(part, *(found[part][name] for name in [*QUANTILES, "total"])) for part in PARTS]
    return Table("Lengths", "长度", ("part", *QUANTILES, "total"), rows, f"In {by}.")


def _repetition(card: Mapping[str, Any]) -> Table:
    rows: list[Sequence[Cell]] = [
        (part.replace("_", " "), row["rows"], row["distinct"], row["most_frequent"], percent(row["share"]))
        for part, row in (card.get("repetition") or {}).items()
    ]
    if not rows and "distinct_refusals" in card:
        rows = [("risky answers", card["by_role"].get("risky", 0), card["distinct_refusals"], "not counted", "n/a")]
    pairs = card.get("pairs") or {}
    told = "; ".join(f"{pairs[key]} {name}" for key, name in _PAIRS.items() if pairs.get(key))
    columns = ("text", "rows", "distinct", "most frequent one", "its share")
    return Table("Repetition and pairs", "重复与配对", columns, rows, f"Pairs: {told}." if told else "")


def _contamination(found: Mapping[str, Any], duplicates: Mapping[str, int]) -> Iterator[Table]:
    yield Table("Duplicates found", "重复样本", ("kind", "rows"), list(duplicates.items()), bar=1)
    if not found:
        return
    names = sorted({*found["checked"], *found["by_benchmark"]})
    rows: list[Sequence[Cell]] = []
    for name in names:
        hit = found["by_benchmark"].get(name, {"rows": 0, "by_source": {}})
        told = ", ".join(f"{source}: {number}" for source, number in hit["by_source"].items())
        rows.append((name, found["checked"].get(name, "n/a"), hit["rows"], told))
    rows += [(name, "NOT CHECKED", "n/a", str(why)) for name, why in sorted(found["not_checked"].items())]
    note = f"{found['rows']} rows left because they are, or nearly are, a held-out item."
    columns = ("benchmark", "items compared", "rows removed", "of which source")
    yield Table("Contamination by benchmark", "评测集污染", columns, rows, note)
    shares = [
        (name, row["rows"], row["contaminated"], percent(row["share"]))
        for name, row in found["by_source"].items()
        if row["contaminated"]
    ]
    columns = ("source", "rows", "contaminated", "share")
    yield Table("Contamination by source", "来源污染率", columns, shares)


def _synthesis(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Table]:
    rows: list[Sequence[Cell]] = [
        (
            role,
            row.get("prompts", 0),
            row.get("accepted", 0),
            _accepted(row),
            row.get("candidates", 0),
            _share(row.get("good_candidates"), row.get("candidates")),
            ", ".join(f"{reason}: {number:,}" for reason, number in (row.get("by_reason") or {}).items()),
        )
        for role, row in found.items()
    ]
    columns = ["role", "prompts", "accepted", "share", "candidates", "good", "why candidates were not good"]
    note = "A prompt is accepted when the judges find one of its candidates good."
    yield Table("Synthesis: judge pass rates", "合成与评判", tuple(columns), rows, note)
    for key, title, zh in (("by_language", "language", "语言"), ("by_category", "category", "类别")):
        rows = [
            (
                role,
                name,
                group.get("prompts", "n/a"),
                group.get("candidates", 0),
                group.get("accepted", 0),
                _accepted(group),
            )
            for role, row in found.items()
            for name, group in (row.get(key) or {}).items()
        ]
        columns = ["role", title, "prompts", "candidates", "accepted", "share"]
        yield Table(f"Judge pass rates by {title}", f"评判通过率（{zh}）", tuple(columns), rows)


def _accepted(row: Mapping[str, Any]) -> str:
    """Of the prompts, or of the candidates where prompts were not counted."""
    return _share(row.get("accepted"), row.get("prompts") or row.get("candidates"))


def _share(part: int | None, whole: int | None) -> str:
    return percent(part / whole) if part is not None and whole else "n/a"


def _mixture(card: Mapping[str, Any]) -> Table:
    found = card.get("mixture") or {}
    total = card["samples"] or 1
    rows = [
        (name, percent(share), percent((card.get(key) or {}).get(name, 0) / total))
        for stated, key in (("stated", "by_role"), ("languages", "by_language"))
        for name, share in (found.get(stated) or {}).items()
    ]
    named = [name for name in ("tokens", "budget", "left_out") if found.get(name)]
    told = [f"{name.replace('_', ' ')}: {found[name]:,}" for name in named]
    return Table("Mixture", "配比", ("kind", "stated", "share of samples"), rows, "; ".join(told))


def _rejected(card: Mapping[str, Any]) -> Table:
    found = card.get("rejected_by_step")
    if found is None:
        return Table("Rejected", "剔除", ("reason", "rows"), list((card.get("rejected") or {}).items()), bar=1)
    rows = [(step, reason, number) for step, reasons in found.items() for reason, number in reasons.items()]
    return Table("Rejected rows", "剔除原因", ("step", "reason", "rows"), rows, "Each is in rejected.jsonl.", bar=2)


def _steps(found: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        (
            row["step"],
            row["rows_in"],
            row["rows_kept"],
            row["changed"],
            f"{row['seconds']:.1f}",
            row["rows_per_second"] if row["rows_per_second"] is not None else "n/a",
        )
        for row in found
    ]
    return Table("Steps", "处理步骤", ("step", "rows in", "kept", "changed", "seconds", "rows/s"), rows)
