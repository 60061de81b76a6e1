"""What a model's answer says: the letter it chose, or the number it found. lm-eval applies these as filters.

Both read the answer part only (the thought is never seen here), and the last statement wins, since a model may correct
itself. lm-eval's `exact_match` then decides; numbers are compared as exact fractions, so `1,234.00` is `1234`, `3/6` is
`1/2` and `12%` is `0.12`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

NO_MATCH = "[invalid]"
"""lm-eval's own word for an answer that holds nothing to grade; it is then wrong."""

# An option letter that is not one of several ("A or B" chooses nothing) and not the start of a word.
_LETTER = r"(?P<{name}>[A-J])(?![A-Za-z])(?!\s*(?:or|and|和|或|、|,|，|/|&)\s*\(?[A-J](?![A-Za-z]))"
_BOXED_LETTER = r"\\boxed\{\s*(?:\\(?:text|textbf|mathrm|mathbf)\{)?\s*\(?(?P<boxed>[A-Ja-j])\)?[.。]?\s*\}"
_SAID = (
    r"(?:[Aa]nswer|ANSWER|[Cc]hoice|[Oo]ption|答案|正确选项|应选|故选|选择|选)\s*(?:is|are|应该是|应为|是|为)?\s*(?:[Oo]ption\s*|选项\s*)?"
    r"[:：]?[\s*_]*[（(]?\s*"
)
_SAID_LETTER = _SAID + _LETTER.format(name="said")
_LOWER_CASE_LETTER = r"[Aa]nswer\s*[:：][\s*_]*[（(]?(?P<lower>[a-j])[)）]?[.\s*_]*$"
_STATED = re.compile(f"{_BOXED_LETTER}|{_SAID_LETTER}|{_LOWER_CASE_LETTER}", re.MULTILINE)
_LETTER_FIRST = re.compile(r"[\s*_]*[（(]?(?P<letter>[A-J])(?:[)）.．、:：*_]|\s*$)")

_NUMBER = (
    r"(?P<sign>(?<![\d)）])[-−])?\$?\s*(?:(?P<whole>\d+)\s*(?:又\s*|(?=\\[dt]?frac)))?"
    r"(?:\\[dt]?frac\{(?P<top>\d+)\}\{(?P<bottom>\d+)\}|(?P<digits>(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
    r"(?:\s*/\s*(?P<over>\d+(?:\.\d+)?))?)\s*(?P<percent>\\?%)?"
)
_NUMBERS = re.compile(_NUMBER)
_SAID_NUMBER = re.compile(
    r"####\s*|(?:[Aa]nswer|ANSWER|答案|答)\s*(?:is|是|为)?\s*[:：]?[\s*_$]*(?:\\\()?\s*(?=[-−$]?\s*[\d.\\])"
)
_SUPERSCRIPT = re.compile(r"\^\s*(?:\{[^{}]*\}|-?\d+|\\circ)")
_FULL_WIDTH = str.maketrans("０１２３４５６７８９．，％－／", "0123456789.,%-/")


def option_letter(text: str) -> str:
    """The letter chosen, in upper case: boxed, named as the answer (the last one), or standing alone; or `NO_MATCH`."""
    letter = None
    for match in _STATED.finditer(text):
        letter = match["boxed"] or match["said"] or match["lower"]
    if letter is None and (first := _LETTER_FIRST.match(_last_line(text))):
        letter = first["letter"]
    return letter.upper() if letter else NO_MATCH


def final_number(text: str) -> str:
    """The final number as a reduced fraction (`7`, `-1/2`): of the last box, of the last named answer, or the last one
    in the text; or `NO_MATCH`."""
    text = text.translate(_FULL_WIDTH).replace(r"\!", "").replace(r"{,}", ",").replace(r"\,", "")
    text = _SUPERSCRIPT.sub("", text)  # the 2 of cm^2 is no answer
    boxes = _boxes(text)
    if boxes:
        return _first_number(boxes[-1].rpartition("=")[2])
    said = list(_SAID_NUMBER.finditer(text))
    if said:
        return _first_number(text[said[-1].end() :])
    found = [_value(match) for match in _NUMBERS.finditer(text)]
    return next((value for value in reversed(found) if value is not None), NO_MATCH)


def normal_number(text: str) -> str:
    """A gold number in the form of `final_number`.

    Raises:
        ValueError: it is none.
    """
    match = _NUMBERS.fullmatch(text.strip())
    value = _value(match) if match else None
    if value is None:
        raise ValueError(f"got {text!r}, expected a number such as 1,234 or 3/4 or 12%")
    return value


def filter_letters(responses: Iterable[Sequence[str]], docs: Sequence[Any]) -> list[list[str]]:
    """lm-eval `custom` filter: responses of each document -> the letters chosen."""
    return [[option_letter(text) for text in group] for group in responses]


def filter_numbers(responses: Iterable[Sequence[str]], docs: Sequence[Any]) -> list[list[str]]:
    """lm-eval `custom` filter: responses of each document -> the final numbers."""
    return [[final_number(text) for text in group] for group in responses]


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def _boxes(text: str) -> list[str]:
    r"""The contents of every `\boxed{…}`, braces inside them balanced."""
    found = []
    for start in re.finditer(r"\\boxed\s*\{", text):
        depth, position = 1, start.end()
        while position < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[position], 0)
            position += 1
        if not depth:
            found.append(text[start.end() : position - 1])
    return found


def _first_number(text: str) -> str:
    match = _NUMBERS.search(text)
    return (_value(match) if match else None) or NO_MATCH


def _value(match: re.Match[str]) -> str | None:
    try:
        if match["top"]:
            value = Fraction(int(match["top"]), int(match["bottom"]))
        else:
            value = Fraction(Decimal(match["digits"].replace(",", "")))
            if match["over"]:
                value /= Fraction(Decimal(match["over"]))
    except (ZeroDivisionError, InvalidOperation):
        return None
    value += int(match["whole"] or 0)
    if match["percent"]:
        value /= 100
    return str(-value if match["sign"] else value)
