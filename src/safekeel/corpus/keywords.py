"""Keyword lists: read, measured against the standard's sizes, and found in texts."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from safekeel.errors import DataError, nearest, shown
from safekeel.files import sha256_file
from safekeel.taxonomy import Taxonomy, load_taxonomy

MIN_KEYWORDS = 10_000
MIN_PER_CATEGORY = {"A.1": 200, "A.2": 100}
"""Of the standard's keyword library ("should"): in all, and in each category of an area."""
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_LATIN = re.compile(r"[0-9a-z\u00c0-\u024f]")


class Keyword(NamedTuple):
    """A word of a list, as it is searched for, and its category or ""."""

    word: str
    category: str


@dataclass(frozen=True)
class KeywordList:
    """A list of keywords."""

    name: str
    sha256: str
    words: tuple[Keyword, ...]
    num_repeated: int

    def sizes(self) -> dict[str, Any]:
        """Sizes beside the standard's, as information: they are about the library of a service, not about a check."""
        per = Counter(word.category for word in self.words if word.category)
        expected = {
            category.id: MIN_PER_CATEGORY[category.area]
            for category in load_taxonomy().categories
            if category.area in MIN_PER_CATEGORY
        }
        short = {name: {"words": per[name], "least": least} for name, least in expected.items() if per[name] < least}
        return {
            "words": len(self.words),
            "repeated": self.num_repeated,
            "enough_in_all": len(self.words) >= MIN_KEYWORDS,
            "with_category": sum(per.values()),
            "categories_short": short,
        }


def read_keywords(path: Path, taxonomy: Taxonomy | None = None) -> KeywordList:
    """One word per line, or `word<TAB>category`; blank lines and lines that begin with # are skipped.

    Raises:
        DataError: no such file, not UTF-8 nor GB18030, no words, or (with its line) an unknown category or a word of no
            letters.
    """
    known = {category.id for category in (taxonomy or load_taxonomy()).categories}
    found: dict[str, str] = {}
    num_repeated = 0
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        written, _, category = (cell.strip() for cell in line.partition("\t"))
        if category and category not in known:
            hint = nearest(category, known)
            raise DataError(f"{path}:{number}: the category {shown(category)} is none of the taxonomy.{hint}")
        word = folded(written).strip()
        if not word or not any(char.isalnum() for char in word):
            raise DataError(f"{path}:{number}: got {shown(written)}, expected a word with a letter or a digit.")
        num_repeated += word in found
        found.setdefault(word, category)
    if not found:
        raise DataError(f"{path} has no words; expected one per line, or word<TAB>category.")
    words = tuple(Keyword(word, category) for word, category in found.items())
    return KeywordList(path.name, sha256_file(path), words, num_repeated)


def _lines(path: Path) -> list[str]:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected a list of keywords.") from error
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return raw.decode(encoding).replace("\r\n", "\n").split("\n")
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path} is neither UTF-8 nor GB18030; convert it to UTF-8.")


def folded(text: str) -> str:
    """What a text and a keyword are compared as: NFKC, case folded, without invisible characters."""
    return _INVISIBLE.sub("", unicodedata.normalize("NFKC", text).casefold())


class Matcher:
    """Finds the words of a list in texts: one look-up per character of the text, whatever the length of the list."""

    def __init__(self, words: KeywordList) -> None:
        self._by_start: dict[str, list[Keyword]] = defaultdict(list)
        for word in words.words:
            self._by_start[word.word[:2]].append(word)

    def first(self, text: str) -> Keyword | None:
        """The first word that the text holds, or None.

        A word that begins or ends with a Latin letter or a digit is found only where no such character goes on beside
        it: `sex` is not in `Essex`.
        """
        plain = folded(text)
        for place in range(len(plain)):
            for start in (plain[place : place + 2], plain[place]):
                for word in self._by_start.get(start, ()):
                    if plain.startswith(word.word, place) and _whole(plain, place, word.word):
                        return word
        return None


def _whole(text: str, place: int, word: str) -> bool:
    end = place + len(word)
    before = place > 0 and _LATIN.match(word[0]) and _LATIN.match(text[place - 1])
    after = end < len(text) and _LATIN.match(word[-1]) and _LATIN.match(text[end])
    return not before and not after
