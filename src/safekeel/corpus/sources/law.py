"""Law clauses of a category, in Chinese as the taxonomy has them, in English by the statutes' usual names."""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib import resources
from typing import Any

from safekeel.records import Lang
from safekeel.taxonomy import Taxonomy, load_taxonomy

_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_ARTICLE = re.compile(r"第(?P<article>[零一二三四五六七八九十百千]+)条(?:之(?P<sub>[一二三四五六七八九十]+))?")
_ITEM = re.compile(r"第(?P<item>[一二三四五六七八九十]+)(?P<kind>[款项])")


def clauses_for(category: str, lang: Lang, taxonomy: Taxonomy | None = None) -> list[str]:
    """The clauses behind a category, its own first, then its area's: `《刑法》第一百零五条`, `Criminal Law of China,
    Article 105`. A law that has no English name here (of a user's taxonomy) stays as it is written.

    Args:
        taxonomy: None = TC260.

    Raises:
        UsageError: no such category.
    """
    taxonomy = taxonomy or load_taxonomy()
    found = taxonomy.category(category)
    area = next(area for area in taxonomy.areas if area.id == found.area)
    laws = dict.fromkeys([*found.law, *area.law])
    return [_chinese(law) if lang == "zh" else _english(law) for law in laws]


@cache
def clause_texts() -> dict[str, Any]:
    """The content of `clauses.toml`."""
    return tomllib.loads((resources.files("safekeel.corpus.sources") / "clauses.toml").read_text("utf-8"))


def _chinese(law: str) -> str:
    name, _, place = law.partition(" ")
    return f"《{name}》{place}" if re.search(r"[\u4e00-\u9fff]", name) else law


def _english(law: str) -> str:
    name, _, place = law.partition(" ")
    known = clause_texts()["laws"].get(name)
    if known is None:
        return law
    article, item = _ARTICLE.search(place), _ITEM.search(place)
    parts = [f"{known} of China"]
    if article:
        sub = f"-{number_of(article['sub'])}" if article["sub"] else ""
        parts.append(f"Article {number_of(article['article'])}{sub}")
    if item:
        parts.append(f"{'item' if item['kind'] == '项' else 'paragraph'} {number_of(item['item'])}")
    return ", ".join(parts)


def number_of(chinese: str) -> int:
    """The value of a Chinese number below 10,000: 一千零三十四 = 1034."""
    total, digit = 0, 0
    for sign in chinese:
        if sign in _UNITS:
            total += (digit or 1) * _UNITS[sign]
            digit = 0
        else:
            digit = _DIGITS[sign]
    return total + digit
