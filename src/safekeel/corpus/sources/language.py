"""Chinese or English? For rows that do not say it; the corpus step `language` checks every row with more care."""

from __future__ import annotations

import re

from safekeel.records import Lang

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ffff]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")
NAMES: dict[str, Lang] = {
    "zh": "zh",
    "zh-cn": "zh",
    "zh-hans": "zh",
    "cn": "zh",
    "chinese": "zh",
    "中文": "zh",
    "汉语": "zh",
    "en": "en",
    "en-us": "en",
    "en-gb": "en",
    "english": "en",
    "英文": "en",
    "英语": "en",
}
"""What files call the two languages."""


def guess_lang(text: str) -> Lang:
    """`zh` where a text has at least as many Han characters as Latin words, else `en`."""
    han = len(_HAN.findall(text))
    return "zh" if han and han >= len(_LATIN_WORD.findall(text)) else "en"


def named_lang(name: str) -> Lang | None:
    """The language that a cell names, or None."""
    return NAMES.get(name.strip().lower().replace("_", "-"))
