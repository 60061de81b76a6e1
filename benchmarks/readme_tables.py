"""Fill the tables of README.md and README.zh.md from the committed results: no number in them is typed by hand.

    python benchmarks/readme_tables.py            (re)write both files between their markers
    python benchmarks/readme_tables.py --check    exit 1 if they are out of date (a test runs this)

Reads docs/results/nano/card.json and ablation.json, copied there from a run by `--from RUN [--ablation FILE]`, the
cards that ship with the judges, and docs/results/endpoint/endpoint.json.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path

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


def ablation_table(rows: dict, lang: str) -> str:
    """One line per variant of `benchmarks/ablation.py`."""
    chinese = {
        "base": "基础模型",
        "SFT on safety data alone": "仅安全数据 SFT",
        "+ replay and counter-pairs": "＋回放与反例对",
        "+ selection": "＋检查点选择",
        "+ balanced RL": "＋平衡 RL",
    }
    columns = {
        "defence, plain": "防御率：直接",
        "defence, seen attacks": "防御率：见过的攻击",
        "defence, unseen attacks": "防御率：未见的攻击",
        "aware and safe": "知行合一",
        "harmless refused": "无害被拒",
        "harmless answered": "无害得到回答",
        "arithmetic and knowledge": "算术与知识",
    }
    titles = [title if lang == "en" else columns[title] for title in next(iter(rows.values()))]
    lines = ["| | " + " | ".join(titles) + " |", "|---|" + "---|" * len(titles)]
    for name, row in rows.items():
        cells = ["n/a" if value is None else f"{100 * value:.1f}%" for value in row.values()]
        lines.append(f"| {name if lang == 'en' else chinese[name]} | " + " | ".join(cells) + " |")
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


def endpoint_table(rows: list[dict], lang: str) -> str:
    """Span against the ideal, CPU and memory of the clients, from `benchmarks/endpoint.py`."""
    heads = {
        "en": "| client | in flight, latency | requests | span / ideal | CPU per request | memory |",
        "zh": "| 客户端 | 并发、延迟 | 请求数 | 用时 / 理想 | 每请求 CPU | 内存 |",
    }
    lines = [heads[lang], "|---|---|---|---|---|---|"]
    for row in rows:
        place = f"{row['concurrency']:,}, {row['latency']:g} s"
        cost = f"{row['cpu_ms']:.2f} ms | {row['rss_mb']:.0f} MB"
        lines.append(f"| {row['client']} | {place} | {row['requests']:,} | {row['ratio']:.2f} | {cost} |")
    return "\n".join(lines)


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


def corpus_speed_table(speed: dict, lang: str) -> str:
    """Throughput per step, and datatrove on the same rows, from `benchmarks/corpus_speed.py`."""
    head = "| | rows | seconds | rows/s |" if lang == "en" else "| | 行数 | 秒 | 行/秒 |"
    whole = "all three, with reading and writing" if lang == "en" else "三步合计（含读写）"
    lines = [head, "|---|---|---|---|"]
    for report in speed["ours"]["reports"]:
        rate = report["rows_in"] / report["seconds"]
        lines.append(f"| {report['step']} | {report['rows_in']:,} | {report['seconds']:.0f} | {rate:,.0f} |")
    wall, peak = speed["ours"]["wall"], speed["ours"]["peak_gib"]
    lines.append(f"| {whole} ({peak:.1f} GiB) | {speed['rows']:,} | {wall:.0f} | {speed['rows'] / wall:,.0f} |")
    for run in speed["datatrove"]:
        bands, rows = run["bands"], speed["rows"]
        name = f"datatrove MinHash, {bands[0]} x {bands[1]}"
        lines.append(f"| {name} | {rows:,} | {run['total']:.0f} | {rows / run['total']:,.0f} |")
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
    parser.add_argument("--ablation", type=Path, help="ablation.json to copy first")
    arguments = parser.parse_args()
    RESULTS.mkdir(parents=True, exist_ok=True)
    if arguments.run:
        for source in [arguments.run / "90-report/card.json", *sorted((arguments.run / "90-report").glob("*.svg"))]:
            shutil.copy(source, RESULTS / source.name)
    if arguments.ablation:
        shutil.copy(arguments.ablation, RESULTS / "ablation.json")
    card = json.loads((RESULTS / "card.json").read_text("utf-8"))
    ablation = json.loads((RESULTS / "ablation.json").read_text("utf-8"))["rows"]
    endpoint = json.loads((ROOT / "docs/results/endpoint/endpoint.json").read_text("utf-8"))["speed"]
    corpora = json.loads((ROOT / "docs/results/corpus/ablation.json").read_text("utf-8"))
    speed = json.loads((ROOT / "docs/results/corpus/speed.json").read_text("utf-8"))
    stale = []
    for name, lang in (("README.md", "en"), ("README.zh.md", "zh")):
        text = (ROOT / name).read_text("utf-8")
        new = filled(filled(text, "results", result_table(card, lang)), "ablation", ablation_table(ablation, lang))
        new = filled(filled(new, "judges", judge_table(lang)), "endpoint", endpoint_table(endpoint, lang))
        new = filled(filled(new, "corpus", corpus_table(corpora, lang)), "steps", corpus_speed_table(speed, lang))
        if new != text:
            stale.append(name)
            if not arguments.check:
                (ROOT / name).write_text(new, "utf-8")
    print("out of date: " + ", ".join(stale) if stale else "up to date")
    sys.exit(1 if stale and arguments.check else 0)


if __name__ == "__main__":
    main()
