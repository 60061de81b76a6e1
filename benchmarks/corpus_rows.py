"""Made prompts for `corpus_speed.py`: Chinese and English in turn, 20 to 200 characters, with what a corpus must lose.

Words are drawn from made vocabularies by Zipf's law behind common openers, so texts share what real prompts share.
Planted, each with the id of what it copies:

    copy       3% of the rows   the same text
    disguised  1%               the same text in capitals, full width or traditional characters, with zero-width ones
    near       3%               a word or two changed; Jaccard of character 5-grams at least 0.8
    held-*     0.2%             a held-out text as it is, with other punctuation, within a longer prompt, nearly
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from safekeel.corpus.steps.normalise import comparison_key
from safekeel.corpus.steps.similar import jaccard, shingle_set

SHARES = {"copy": 0.03, "disguised": 0.01, "near": 0.03}
HELD_SHARES = {"held-exact": 0.0005, "held-marks": 0.0005, "held-within": 0.0005, "held-near": 0.0005}
NUM_HELD_OUT = 5000
NEAR = 0.8
NUM_WORDS = 20_000
MANDELBROT = 2.7  # Zipf's law with Mandelbrot's offset: the most frequent word is 3% of the text, as in real language
OPENERS = {
    "zh": ("请告诉我", "如何", "请解释一下", "帮我写一段关于", "为什么", "我想了解", "请列出", "有哪些方法可以"),
    "en": ("How do I ", "Please explain ", "Write a short text about ", "Why does ", "List some ", "Tell me about "),
}
MIN_WORDS = 6  # after the opener: with fewer, two prompts drawn at random are often nearly the same
ZERO_WIDTH = "\u200b"


@dataclass(frozen=True)
class Row:
    """One line of the file; `of` is the row or held-out item it was made from."""

    id: str
    lang: str
    text: str
    kind: str = "base"
    of: str = ""


class Words:
    """Words of one made vocabulary, drawn by Zipf's law, ten thousand at a time."""

    def __init__(self, lang: str, rng: np.random.Generator) -> None:
        self.lang, self.rng = lang, rng
        if lang == "zh":
            level_1 = bytes(byte for row in range(0xB0, 0xD7) for cell in range(0xA1, 0xFF) for byte in (row, cell))
            letters, lengths = list(level_1.decode("gb2312")), (1, 2, 2, 3)  # the 3,666 most common characters
        else:
            letters, lengths = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"], (1, 2, 3, 4)
        drawn = rng.integers(len(letters), size=(NUM_WORDS, max(lengths))).tolist()
        sizes = rng.choice(lengths, NUM_WORDS).tolist()
        self.words = [
            "".join(letters[place] for place in places[:size]) for places, size in zip(drawn, sizes, strict=True)
        ]
        weights = 1 / (np.arange(1, NUM_WORDS + 1) + MANDELBROT)
        self.weights = weights / weights.sum()
        self._drawn: list[int] = []

    def draw(self) -> str:
        if not self._drawn:
            self._drawn = self.rng.choice(NUM_WORDS, 10_000, p=self.weights).tolist()
        return self.words[self._drawn.pop()]

    def text(self, picker: random.Random) -> str:
        length, joiner = picker.randint(20, 200), "" if self.lang == "zh" else " "
        parts = [picker.choice(OPENERS[self.lang])]
        size = len(parts[0])
        while size < length or len(parts) <= MIN_WORDS:
            parts.append(word := self.draw())
            size += len(word) + len(joiner)
        body = parts[0] + joiner.join(parts[1:])
        return body + ("？" if self.lang == "zh" else "?")


def make_rows(number: int, seed: int) -> tuple[Iterator[Row], list[Row]]:
    """Rows in the order of the file, and the held-out texts.

    A copy always comes after its original: originals are of the first half, copies go into the second.
    """
    rng, picker = np.random.default_rng(seed), random.Random(seed)
    vocabularies = {lang: Words(lang, rng) for lang in OPENERS}
    langs = list(OPENERS)

    def fresh(name: str, place: int, kind: str = "base") -> Row:
        lang = langs[place % len(langs)]
        return Row(f"{name}/{place}", lang, vocabularies[lang].text(picker), kind)

    held_out = [fresh("held", place, "held-out") for place in range(NUM_HELD_OUT)]
    num_base = number - sum(int(share * number) for share in (*SHARES.values(), *HELD_SHARES.values()))
    first_half = [fresh("row", place) for place in range(num_base // 2)]
    planted = [
        _copy(f"{kind}/{place}", kind, picker.choice(first_half), vocabularies, picker)
        for kind, share in SHARES.items()
        for place in range(int(share * number))
    ]
    kinds = [kind for kind, share in HELD_SHARES.items() for _ in range(int(share * number))]
    # Each held-out text once: a second copy would already go as a duplicate of the first.
    planted += [
        _copy(f"{kind}/{place}", kind, of, vocabularies, picker)
        for place, (kind, of) in enumerate(zip(kinds, picker.sample(held_out, len(kinds)), strict=True))
    ]
    picker.shuffle(planted)

    def rows() -> Iterator[Row]:
        yield from first_half
        every = max(1, (num_base - len(first_half)) // len(planted))
        for place in range(len(first_half), num_base):
            yield fresh("row", place)
            if place % every == 0 and planted:
                yield planted.pop()
        yield from planted

    return rows(), held_out


def _copy(name: str, kind: str, of: Row, vocabularies: dict[str, Words], picker: random.Random) -> Row:
    words = vocabularies[of.lang]
    text = of.text
    if kind == "disguised":
        text = _disguised(text, of.lang, picker)
    elif kind == "held-marks":
        text = f"“{text.rstrip('?？')}”。"
    elif kind == "held-within":
        text = f"{words.text(picker)} {text} {words.text(picker)}"
    elif kind in ("near", "held-near"):
        text = _near(text, words, picker)
    return Row(name, of.lang, text, kind, of.id)


def _disguised(text: str, lang: str, picker: random.Random) -> str:
    if picker.random() < 0.5:
        places = sorted(picker.sample(range(1, len(text)), 3), reverse=True)
        for place in places:
            text = text[:place] + ZERO_WIDTH + text[place:]
        return text
    if lang == "en":
        return "".join(chr(ord(letter) + 0xFEE0) if "!" <= letter <= "~" else letter for letter in text.upper())
    from opencc import OpenCC

    return str(OpenCC("s2t").convert(text))


def _near(text: str, words: Words, picker: random.Random) -> str:
    """One word put in at a random place; tried again until it is as similar as asked, at last one letter at the end."""
    original = shingle_set(comparison_key(text))
    for _ in range(20):
        place = picker.randint(1, len(text) - 1)
        changed = f"{text[:place]}{words.draw()}{text[place + picker.randint(0, 2) :]}"
        if (
            comparison_key(changed) != comparison_key(text)
            and jaccard(original, shingle_set(comparison_key(changed))) >= NEAR
        ):
            return changed
    return text[:-1] + ("吗" if words.lang == "zh" else "s") + text[-1]


def write(folder: Path, number: int, seed: int) -> tuple[Path, Path]:
    """`rows.jsonl` and `held_out.jsonl`; rows are `{"id", "text", "lang", "kind", "of"}`."""
    rows, held_out = make_rows(number, seed)
    paths = folder / "rows.jsonl", folder / "held_out.jsonl"
    for path, content in zip(paths, (rows, held_out), strict=True):
        with path.open("w", encoding="utf-8") as file:
            for row in content:
                file.write(json.dumps(vars(row), ensure_ascii=False) + "\n")
    return paths
