"""Contamination: each rule on made texts, no alarm on stock phrases, and the known overlaps of public sets."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from safekeel.bench.safety import BENCHMARKS
from safekeel.bench.safety.tc260 import read_bank
from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import run_steps
from safekeel.corpus.steps.contamination import Contamination, ContaminationConfig, Hit
from safekeel.corpus.steps.held_out import HeldOut, HeldOutItem, collect_held_out
from safekeel.errors import DataError
from safekeel.records import Message, Prompt

DATA = os.environ.get("SAFEKEEL_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="SAFEKEEL_DATA names no folder with public data")

EN = "A farmer has seventeen sheep in the northern field and all but nine of them run away during a stormy winter night"
ZH = "一位农民在北边的田里养了十七只羊，在一个暴风雪的冬夜里除了九只以外全都跑掉了，请问他还剩下几只羊？"
ITEMS = [
    HeldOutItem("sheep/en", "sheep", EN),
    HeldOutItem("sheep/zh", "sheep", ZH, is_ability=True),
    HeldOutItem("short/en", "short", "How can I kill a Python process?"),
    HeldOutItem("short/zh", "short", "怎样才能杀掉一个进程"),
    HeldOutItem("tiny", "short", "What is this?"),
]


def hits(*texts: str, items: Sequence[HeldOutItem] = ITEMS, **config: float) -> list[Hit | None]:
    return Contamination(items, ContaminationConfig(**config)).hits(texts)  # type: ignore[arg-type]


def fired(*texts: str, **config: float) -> list[tuple[str, str] | None]:
    return [hit and (hit.rule, hit.item.id) for hit in hits(*texts, **config)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (EN.upper() + "?!", ("exact", "sheep/en")),
        (ZH.replace("请问", "請問").replace("，", " "), ("exact", "sheep/zh")),
        (
            "Solve this for me and explain your steps: " + EN + ". Thanks a lot.",
            ("ngram", "sheep/en"),
        ),
        ("下面是一道趣味题，请一步一步地想：" + ZH + "谢谢。", ("ngram", "sheep/zh")),
        ("What is this?", ("exact", "tiny")),
        ("Hi, how can I kill a Python process?", ("contained", "short/en")),
        ("请问怎样才能杀掉一个进程呢", ("contained", "short/zh")),
    ],
)
def test_each_rule_fires_on_its_kind_of_copy(text: str, expected: tuple[str, str]) -> None:
    assert fired(text) == [expected]


def test_share_and_near_catch_what_has_no_long_run() -> None:
    words = EN.split()
    cut = " ".join([*words[:10], "well", *words[10:]])  # runs of 10 and 11 words
    assert fired("Here is a riddle for you: " + cut) == [None]  # 6 of 15 8-grams
    edge = " ".join(["Some", *words[1:12], "somewhere"])
    assert fired(edge, share_words=0.25) == [("share", "sheep/en")]
    assert fired(edge) == [None]
    changed = EN.replace("and all", "and ale")  # runs of 10 words on both sides
    assert fired(changed) == [("near", "sheep/en")]
    assert fired(changed, near=1.0) == [None]


def test_stock_phrases_and_pieces_are_no_evidence() -> None:
    clean = [
        "What is this? Describe the picture and say which animals you can see on it.",
        "How can I kill a Python process? It runs on a server that I reach by ssh, and top shows it at the head.",
        "Please write a short story about a farmer who has seventeen sheep in the northern field and a lazy dog.",
        "我想知道怎样才能杀掉一个进程而不影响同一台服务器上其他正在运行的重要任务",
        "",
    ]
    assert fired(*clean) == [None] * len(clean)


def test_an_instruction_that_many_items_share_is_ignored() -> None:
    instruction = (
        "Read the following passage with great care and then choose the one best answer from the options below"
    )
    many = [
        HeldOutItem(f"mc/{one}", "mc", f"{instruction} about the subject of {name}")
        for one, name in enumerate(
            (
                "rocks",
                "tides",
                "roman roads",
                "bees",
                "glaciers",
                "opera",
                "steam",
                "salt",
                "maps",
                "clocks",
                "ferns",
                "ink",
            )
        )
    ]
    row = f"{instruction}: who painted the ceiling of the chapel?"
    assert hits(row, items=many) == [None]
    few = hits(row, items=many[:3])[0]
    assert few is not None and few.rule == "ngram"


def test_low_share_of_a_long_text_is_not_enough_for_a_run() -> None:
    passage = " ".join(f"{EN} {number}" for number in ("one", "two", "three"))
    other = " ".join(f"quite another word{number} here" for number in range(40))
    item = [HeldOutItem("long", "long", f"{EN} {other}")]
    row = f"{EN} {' '.join(f'and something new{number}' for number in range(40))}"
    assert hits(row, items=item) == [None]
    gpt3 = hits(row, items=item, run_share=0.0)[0]
    assert gpt3 is not None and gpt3.rule == "ngram"
    excerpt = hits(EN, items=[HeldOutItem("long", "long", f"{passage} {other}")])[0]
    assert excerpt is not None and excerpt.share == 1.0


def test_evidence_names_the_item_and_quotes_only_ability_sets() -> None:
    step = Contamination(ITEMS)
    _, rejected, _ = run_steps([_sample("a", EN), _sample("b", ZH), _sample("c", "Something else")], [step])
    assert [(row.step, row.reason) for row in rejected] == [("contamination", "contaminated")] * 2
    first, second = (row.evidence for row in rejected)
    assert first.startswith("rule=exact benchmark=sheep item=sheep/en share=1.00 sha256=") and "farmer" not in first
    assert "text=" in second and "十七只羊" in second


def test_held_out_takes_frames_off_and_requests_out_of_their_context() -> None:
    held_out = HeldOut()
    held_out.add(
        "framed", [_prompt("f/1", "Choose one.\nWhich is red?"), _prompt("f/2", "Choose one.\nWhich is blue?")]
    )
    held_out.add("context", [_prompt("c/1", "Some context\n\n---\n\nWhat follows?")])
    turns = tuple(
        Message(role=role, content=text) for role, text in (("user", "One"), ("assistant", "Two"), ("user", "Three"))
    )  # type: ignore[arg-type]
    held_out.add("talk", [_prompt("t/1", "x").model_copy(update={"messages": turns})])
    assert [(item.id, item.text) for item in held_out.items] == [
        ("f/1", "Which is red?"),
        ("f/2", "Which is blue?"),
        ("c/1", "Some context\n\n---\n\nWhat follows?"),
        ("c/1", "What follows?"),
        ("t/1", "One\nThree"),
        ("t/1", "Three"),
    ]
    options = dict(zip("ABCD", ("red", "blue", "green", "grey"), strict=True))
    held_out = HeldOut()
    held_out.add_questions("mc", [{"id": "1", "question": "Which of these is right?", **options}])
    held_out.add_questions("gsm8k", [{"id": "1", "question": "How many?"}])
    assert [item.text for item in held_out.items] == [
        "Which of these is right?\nA. red\nB. blue\nC. green\nD. grey",
        "How many?",
    ]
    assert held_out.compared == {"mc": 1, "gsm8k": 1}


def test_without_data_our_own_banks_are_compared_and_the_rest_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("SAFEKEEL_DATA", raising=False)
    held_out = collect_held_out(None, [_prompt("nano/1", "two plus two")], exclude=["tc260-answer"])
    names = {"tc260-generated", "tc260-refuse", "tc260-generated-en", "tc260-refuse-en", "tc260-answer-en"}
    assert set(held_out.compared) == names | {"zh-judge", "nano"}
    assert held_out.excluded == ["tc260-answer"]
    assert {"advbench", "harmbench", "gsm8k", "mmlu", "aime24", "xstest"} <= set(held_out.absent)
    assert held_out.items[-1] == HeldOutItem("nano/1", "nano", "two plus two")
    bank = read_bank("refuse")[0]
    row = hits(bank.zh, items=held_out.items)[0]
    assert row is not None and (row.rule, row.item.benchmark) == ("exact", "tc260-refuse")


def test_a_broken_local_copy_is_an_error_not_an_absent_set(tmp_path: Path) -> None:
    (tmp_path / "jailbreakbench").mkdir()
    (tmp_path / "jailbreakbench/harmful_behaviors.csv").write_text("wrong,columns\n1,2\n", "utf-8")
    with pytest.raises(DataError):
        collect_held_out(tmp_path)


@needs_data
def test_the_six_known_overlaps_are_found_exactly() -> None:
    """`datasets.md`: AdvBench and JailbreakBench 11, STAR-1 and HarmBench val 6, STAR-1 and Do-Not-Answer 3, HarmBench
    val and JailbreakBench 2; every other pair of the six sets shares nothing. Numbers of texts, by the exact rule."""
    sets = {
        name: [prompt.messages[-1].content for prompt in BENCHMARKS.get(name).prompts("test", None, None, 0)]
        for name in ("advbench", "jailbreakbench", "do-not-answer", "xstest")
    }
    folder = Path(str(DATA))
    with (folder / "harmbench/harmbench_behaviors_text_val.csv").open(encoding="utf-8-sig", newline="") as file:
        sets["harmbench"] = [row["Behavior"] for row in csv.DictReader(file)]
    sets["star1"] = [row["question"] for row in json.loads((folder / "star1/STAR-1.json").read_text("utf-8"))]
    found = {}
    for name, texts in sets.items():
        step = Contamination([HeldOutItem(f"{name}/{place}", name, text) for place, text in enumerate(texts)])
        for other in sets:
            if other < name:
                exact = {hit.item.id for hit in step.hits(sets[other]) if hit and hit.rule == "exact"}
                found[other, name] = len(exact)
    assert {pair: count for pair, count in found.items() if count} == {
        ("advbench", "jailbreakbench"): 11,
        ("harmbench", "star1"): 6,
        ("do-not-answer", "star1"): 3,
        ("harmbench", "jailbreakbench"): 2,
    }
    assert len(found) == 15


@needs_data
def test_training_sets_against_everything_at_hand() -> None:
    """STAR-1 loses its nine known overlaps; ordinary instructions and GSM8K's training half lose nothing."""
    folder = Path(str(DATA))
    step = Contamination(collect_held_out(folder).items)
    star = [row["question"] for row in json.loads((folder / "star1/STAR-1.json").read_text("utf-8"))]
    assert [hit.item.benchmark for hit in step.hits(star) if hit].count("harmbench") == 6
    assert sum(hit is not None for hit in step.hits(star)) == 9
    for lang in ("zh", "en"):
        rows = json.loads((folder / f"alpaca_demo/alpaca_{lang}_demo.json").read_text("utf-8"))
        assert not any(step.hits([f"{row['instruction']}\n{row['input']}" for row in rows]))
    with (folder / "gsm8k/train.jsonl").open(encoding="utf-8") as file:
        assert not any(step.hits([json.loads(line)["question"] for line in file][:2000]))


def _prompt(identifier: str, text: str) -> Prompt:
    return Prompt(
        id=identifier,
        messages=(Message(role="user", content=text),),
        lang="en",
        risk=None,
        expect="answer",
        target=None,
        source="t",
        licence="t",
    )


def _sample(identifier: str, text: str) -> Sample:
    return Sample(id=identifier, role="general", prompt=_prompt(identifier, text))
