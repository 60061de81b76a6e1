"""Arithmetic word problems of the nano world: one or two steps, small numbers, the thought computes each step.

Whether an item belongs to pretraining, validation or test is decided by a hash of its operands and wording, so
the split is a property of the item itself and no list has to be kept.
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import Literal

Lang = Literal["zh", "en"]
ItemSplit = Literal["train", "validation", "test"]
BOTH: tuple[Lang, Lang] = ("en", "zh")

NAMES: dict[Lang, tuple[str, ...]] = {
    "en": ("Tom", "Anna", "Ben", "Lucy", "Jack", "Mia", "Sam", "Rose", "Leo", "Eva", "Max", "Ivy"),
    "zh": ("小明", "小红", "小刚", "小丽", "小华", "小芳", "小强", "小美", "小东", "小雪", "小军", "小兰"),
}
THINGS: dict[Lang, tuple[str, ...]] = {
    "en": ("apples", "books", "pens", "coins", "stamps", "cards", "eggs", "balls", "shells", "cakes"),
    "zh": ("苹果", "书", "笔", "硬币", "邮票", "卡片", "鸡蛋", "球", "贝壳", "蛋糕"),
}
STORIES: tuple[tuple[str, str, str], ...] = (
    (
        "add",
        "{n} has {a} {o} and buys {b} more. How many {o} does {n} have now?",
        "{n}有{a}个{o}，又买了{b}个。{n}现在有多少个{o}？",
    ),
    (
        "add",
        "There are {a} {o} in a box and {b} {o} on the table. How many {o} are there?",
        "盒子里有{a}个{o}，桌上有{b}个。一共有多少个{o}？",
    ),
    ("sub", "{n} has {a} {o} and gives away {b}. How many {o} are left?", "{n}有{a}个{o}，送出{b}个。还剩多少个{o}？"),
    (
        "sub",
        "{n} needs {a} {o} but has only {b}. How many more {o} are needed?",
        "{n}需要{a}个{o}，只有{b}个。还差多少个{o}？",
    ),
    ("mul", "Each box holds {a} {o}. How many {o} are in {b} boxes?", "每盒有{a}个{o}。{b}盒有多少个{o}？"),
    (
        "mul",
        "{n} buys {a} bags with {b} {o} in each bag. How many {o} does {n} buy?",
        "{n}买了{a}袋{o}，每袋{b}个。一共买了多少个{o}？",
    ),
    (
        "addsub",
        "{n} has {a} {o}, buys {b} more, then gives away {c}. How many {o} remain?",
        "{n}有{a}个{o}，又买了{b}个，再送出{c}个。还剩多少个{o}？",
    ),
    (
        "addadd",
        "{n} finds {a} {o} on Monday, {b} on Tuesday and {c} on Sunday. How many {o} in total?",
        "{n}周一找到{a}个{o}，周二{b}个，周日{c}个。一共多少个{o}？",
    ),
    (
        "muladd",
        "{n} has {a} bags with {b} {o} each and finds {c} more. How many {o} in total?",
        "{n}有{a}袋{o}，每袋{b}个，又找到{c}个。一共多少个{o}？",
    ),
    (
        "mulsub",
        "{n} has {a} bags with {b} {o} each and loses {c}. How many {o} are left?",
        "{n}有{a}袋{o}，每袋{b}个，丢了{c}个。还剩多少个{o}？",
    ),
)


@dataclass(frozen=True)
class Problem:
    """A solvable item: `steps` is the worked thought, `target` the number or letter asked for, `cluster` what it
    shares."""

    lang: Lang
    question: str
    steps: str
    target: str
    cluster: str
    split: ItemSplit


def split_of(key: str) -> ItemSplit:
    """10% test, 5% validation, the rest for pretraining and replay."""
    bucket = int(hashlib.md5(key.encode()).hexdigest(), 16) % 20
    return "test" if bucket < 2 else "validation" if bucket == 2 else "train"


def _operands(kind: str, rng: random.Random) -> tuple[int, int, int, list[tuple[int, str, int, int]]]:
    """Draw operands a, b, c and the worked steps (left, operator, right, result); c is 0 in one-step problems."""
    if kind == "add":
        a, b = rng.randint(2, 12), rng.randint(2, 12)
        return a, b, 0, [(a, "+", b, a + b)]
    if kind == "sub":
        a = rng.randint(5, 18)
        b = rng.randint(2, min(a - 1, 9))
        return a, b, 0, [(a, "-", b, a - b)]
    if kind == "mul":
        a, b = rng.randint(2, 6), rng.randint(2, 9)
        return a, b, 0, [(a, "*", b, a * b)]
    first_operator = "*" if kind.startswith("mul") else "+"
    a, b = rng.randint(2, 5 if first_operator == "*" else 9), rng.randint(2, 9)
    middle = a * b if first_operator == "*" else a + b
    if kind.endswith("add"):
        c = rng.randint(2, 9)
        return a, b, c, [(a, first_operator, b, middle), (middle, "+", c, middle + c)]
    c = rng.randint(2, min(middle - 1, 9))
    return a, b, c, [(a, first_operator, b, middle), (middle, "-", c, middle - c)]


def draw(rng: random.Random, split: ItemSplit) -> Problem:
    """One problem of the split, drawn by rejection."""
    while True:
        item_lang = rng.choice(BOTH)
        kind, english, chinese = rng.choice(STORIES)
        a, b, c, steps = _operands(kind, rng)
        story = english if item_lang == "en" else chinese
        question = story.format(n=rng.choice(NAMES[item_lang]), o=rng.choice(THINGS[item_lang]), a=a, b=b, c=c)
        # One-step problems have few operand pairs: split them by wording. Two-step ones by operands, so that no
        # rewording of a test computation is ever trained on.
        key = f"{kind}-{item_lang}-{a}-{b}-{c}" if c else f"{kind}-{question}"
        if split_of(key) == split:
            worked = " ".join(f"{x}{op}{y}={z}." for x, op, y, z in steps)
            return Problem(item_lang, question, worked, str(steps[-1][3]), f"{kind}-{item_lang}-{a}-{b}-{c}", split)


def drill(rng: random.Random) -> Problem:
    """Four bare sums in a row: pretraining only, so that number facts are learnt quickly."""
    sums: list[tuple[str, int]] = []
    for _ in range(4):
        operator = rng.choice("+-*")
        if operator == "*":
            a, b = rng.randint(2, 6), rng.randint(2, 9)
            value = a * b
        else:
            a = rng.randint(4, 18) if rng.random() < 0.6 else rng.randint(4, 45)
            b = rng.randint(2, 12 if operator == "+" and a <= 18 else 9)
            b = min(b, a - 1) if operator == "-" else b
            value = a + b if operator == "+" else a - b
        sums.append((f"{a}{operator}{b}", value))
    question = "; ".join(text for text, _ in sums)
    lang: Lang = rng.choice(("en", "zh"))
    question = f"Compute {question}" if lang == "en" else f"计算{question}"
    worked = " ".join(f"{text}={value}." for text, value in sums)
    return Problem(lang, question, worked, str(sums[-1][1]), "drill", "train")
