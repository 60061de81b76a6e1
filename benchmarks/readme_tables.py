"""Fill the tables of README.md and README.zh.md from the committed results: no number in them is typed by hand.

    python benchmarks/readme_tables.py            (re)write both files between their markers
    python benchmarks/readme_tables.py --check    exit 1 if they are out of date (a test runs this)

Reads docs/results/nano/card.json, copied there from a run by `--from RUN`, the cards that ship with the judges, and
the other folders of docs/results.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

from methods_publish import short_table
from redteam_publish import table as redteam_table

from safekeel.judges.base import Agreement, JudgeCard, read_card

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs/results/nano"
ROWS = (
    ("nano-refuse", "dsr", "defence on plain risky requests", "直接风险请求的防御率", True),
    ("nano-refuse", "refused", "… of these refused", "其中拒答", True),
    ("nano-refuse", "aware_and_safe", "thought aware and answer safe", "思考识别风险且回答安全（知行合一）", True),
    ("jailbreak-seen", "dsr", "defence, attack families seen in training", "防御率：训练中见过的攻击族", True),
    ("jailbreak-unseen", "dsr", "defence, unseen attack families", "防御率：从未见过的攻击族", True),
    ("nano-answer", "over_refusal", "harmless requests refused", "无害请求被误拒", False),
    ("nano-riskmc", "acc", "risk multiple choice", "风险选择题", True),
    ("nano-arithmetic", "acc", "arithmetic", "算术", True),
    ("nano-knowledge", "acc", "knowledge", "知识", True),
)


def result_table(card: dict, lang: str) -> str:
    """Before and after with the 95% interval of the difference."""
    heads = {"en": "| | before | after | difference (95%) | items |", "zh": "| | 之前 | 之后 | 差（95% 区间） | 题数 |"}
    found = {(row["benchmark"], row["metric"]): row for row in card["comparisons"]}
    lines = [heads[lang], "|---|---|---|---|---|"]
    for benchmark, metric, english, chinese, higher in ROWS:
        if row := found.get((benchmark, metric)):
            arrow = "↑" if higher else "↓"
            points = f"{100 * row['difference']:+.1f} ({100 * row['low']:+.1f} … {100 * row['high']:+.1f})"
            name = english if lang == "en" else chinese
            shares = f"{100 * row['before']:.1f}% | {100 * row['after']:.1f}%"
            lines.append(f"| {name} {arrow} | {shares} | {points} | {row['num_pairs']} |")
    return "\n".join(lines)


MEASURED = {
    ("xstest", "en", "answer", "refused"): ("English answer refuses? XSTest, people", "英文回答拒绝？XSTest，人工"),
    ("do-not-answer", "en", "answer", "harmful"): (
        "… is harmful? Do-Not-Answer, people",
        "……有害？Do-Not-Answer，人工",
    ),
    ("zh-judge", "zh", "answer", "refused"): ("Chinese answer refuses? ours, models", "中文回答拒绝？自有，模型"),
    ("zh-judge", "zh", "answer", "harmful"): ("… is harmful? ours, models", "……有害？自有，模型"),
    ("jade", "zh", "answer", "harmful"): ("… is harmful? JADE, its authors", "……有害？JADE，原作者"),
    ("zh-judge", "zh", "thought", "aware"): ("Chinese thought aware? ours, models", "中文思考意识到风险？自有，模型"),
}
"""Labelled set, language, part and question -> the row's title: question, set, who labelled it."""


def judge_table(lang: str) -> str:
    """What the embedded judges are worth, from the cards that ship with them."""
    cards = {name: read_card(ROOT / f"src/safekeel/judges/cards/{name}.json") for name in ("linear", "rules")}
    heads = {
        "en": "| question, labels | items | `linear` right | … of judged | κ | `rules` right | … of judged |",
        "zh": "| 问题、标注来源 | 条数 | `linear` 正确 | 已判定中 | κ | `rules` 正确 | 已判定中 |",
    }
    lines = [heads[lang], "|---|---|---|---|---|---|---|"]
    for place, (english, chinese) in MEASURED.items():
        found = [_measured(card, *place) for card in cards.values()]
        linear, kappa = found[0], "n/a" if found[0].kappa is None else f"{found[0].kappa:.2f}"
        cells = [f"{row.accuracy:.1%} | {_or_none(row.accuracy_when_scored)}" for row in found]
        name = english if lang == "en" else chinese
        lines.append(f"| {name} | {linear.num_items} | {cells[0]} | {kappa} | {cells[1]} |")
    return "\n".join(lines)


def _or_none(share: float | None) -> str:
    return "n/a" if share is None else f"{share:.1%}"


def _measured(card: JudgeCard, dataset: str, lang: str, part: str, question: str) -> Agreement:
    return next(
        row
        for row in card.agreement
        if (row.dataset.removesuffix(" (out of fold)"), row.lang, row.part, row.question)
        == (dataset, lang, part, question)
    )


CORPORA = {"first loop": "第一版配比", "factory": "语料工厂"}
GROUPS = {
    "plain": "直接请求被拒",
    "harmless answered": "无害得到回答",
    "seen attacks": "见过的攻击被拒",
    "unseen attacks": "未见的攻击被拒",
    "capability": "算术与知识",
}


def corpus_table(rows: list[dict], lang: str) -> str:
    """Mean and range over the seeds, per budget of tokens and corpus, from `benchmarks/corpus_ablation.py`."""
    first = ["tokens", "corpus", "seeds"] if lang == "en" else ["词元", "语料", "种子数"]
    titles = [name if lang == "en" else GROUPS[name] for name in rows[0]["shares"]]
    lines = [f"| {' | '.join([*first, *titles])} |", "|---" * (len(titles) + 3) + "|"]
    for budget in sorted({row["budget"] for row in rows}):
        for name in dict.fromkeys(row["variant"] for row in rows):
            mine = [row for row in rows if (row["variant"], row["budget"]) == (name, budget)]
            cells = []
            for group in rows[0]["shares"]:
                values = [100 * row["shares"][group] for row in mine]
                cells.append(f"{sum(values) / len(values):.1f}% ({min(values):.1f}-{max(values):.1f})")
            shown = name if lang == "en" else CORPORA[name]
            lines.append(f"| {budget:,} | {shown} | {len(mine)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def filled(text: str, marker: str, content: str) -> str:
    pattern = re.compile(rf"(<!-- {marker}:begin -->\n).*?(<!-- {marker}:end -->)", re.DOTALL)
    if not pattern.search(text):
        sys.exit(f"no markers '<!-- {marker}:begin -->' … in the README")
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--from", type=Path, dest="run", help="run folder whose 90-report is copied first")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if arguments.run:
        for source in [arguments.run / "90-report/card.json", *sorted((arguments.run / "90-report").glob("*.svg"))]:
            shutil.copy(source, RESULTS / source.name)
    card = json.loads((RESULTS / "card.json").read_text("utf-8"))
    corpora = json.loads((ROOT / "docs/results/corpus/ablation.json").read_text("utf-8"))
    stale = []
    for name, lang in (("README.md", "en"), ("README.zh.md", "zh")):
        text = (ROOT / name).read_text("utf-8")
        new = filled(filled(text, "results", result_table(card, lang)), "methods", short_table(lang))
        new = filled(filled(new, "judges", judge_table(lang)), "corpus", corpus_table(corpora, lang))
        new = filled(new, "redteam", redteam_table(lang))
        if new != text:
            stale.append(name)
            if not arguments.check:
                (ROOT / name).write_text(new, "utf-8")
    print("out of date: " + ", ".join(stale) if stale else "up to date")
    sys.exit(1 if stale and arguments.check else 0)


if __name__ == "__main__":
    main()
