"""Which option of a multiple-choice question an answer chooses, in Chinese and English text.

The last statement counts ("答案是B", "选 A", "The answer is (C)", `\\boxed{B}`, a last line that is only a letter), so
options may be discussed before it. A statement that is negated, asked, conditional or put in another's mouth is none,
and one that names several letters chooses no single option. Without a statement, in this order: lines or an opening
that are only a letter or an option's text, then remarks such as "B项正确", each where all agree. Letters inside words
("A股", "Vitamin B", "as A matter") are no letters. The cues are data: `choice_cues.toml`.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import NamedTuple

OWN = "\ue000"  # stands for an option's own text behind its letter, so that nothing in that text is read
LETTERS = "ABCDEFGH"
"""Letters that are read as options even where a question has fewer: choosing a missing one is choosing none."""
WINDOW = (
    100  # characters before a cue that may take it back: longer clauses are rare, and whole texts make it quadratic
)
_MARKUP = re.compile(rf"[*`$#~_{OWN}]+|^\s*>+", re.MULTILINE)
_NAME = re.compile(r"^(?:选项|(?i:option|choice)\s+)|(?:选项|项)$")
_TEXT_ENDS = re.compile(r"的?(?:[^\w\s]|\s|$)")
_LATEX_TEXT = re.compile(r"\\(?:text|textbf|textrm|mathrm|mathbf|mathsf|rm|bf)\s*\{([^{}]*)\}")
_CLAUSE_START = re.compile(r"[。.!?;,:\n]")
_SENTENCE_END = re.compile(r"[。.!?;\n]")
_EDGES = " \t\n.。,;:!、\"'“”‘’「」『』()[]{}【】<>-–—"


class Choice(NamedTuple):
    """The chosen letter and the words that chose it; or None and why no single option is chosen."""

    letter: str | None
    why: str


@dataclass(frozen=True)
class _Found:
    """Letters named together at one place; `text` is what was read there."""

    position: int
    letters: frozenset[str]
    text: str


def cue_table() -> dict[str, dict[str, str]]:
    """The cues as they stand in the file."""
    text = (resources.files("safekeel.judges") / "choice_cues.toml").read_text("utf-8")
    table: dict[str, dict[str, str]] = tomllib.loads(text)
    return table


@cache
def _cues(letters: str) -> dict[str, dict[str, re.Pattern[str]]]:
    """The cues compiled for these option letters."""
    return {
        group: {
            name: re.compile(cue.replace("{L}", f"[{letters}]").replace("OWN", OWN), re.MULTILINE * (group == "remark"))
            for name, cue in cues.items()
        }
        for group, cues in cue_table().items()
    }


def plain(text: str) -> str:
    """NFKC without emphasis marks, LaTeX text commands, and white space beyond one space."""
    text = _MARKUP.sub("", unicodedata.normalize("NFKC", text))
    text = _LATEX_TEXT.sub(r"\1", text)
    return "\n".join(" ".join(line.split()) for line in text.splitlines()).strip()


def _inline(text: str) -> str:
    """An option's text as it reads behind its letter: there a ">" in front means "greater", not a quotation."""
    return plain(f"A{text}")[1:].strip()


def read_choice(answer: str, options: Mapping[str, str]) -> Choice:
    """The option that an answer chooses.

    Args:
        options: letter (one upper-case ASCII letter) -> text.
    """
    return _Reader(options).read(answer)


class _Reader:
    """Reads answers to one question."""

    def __init__(self, options: Mapping[str, str]) -> None:
        self.texts = {letter: _inline(text).rstrip(_EDGES) or _inline(text) for letter, text in options.items()}
        self.letters = "".join(sorted({*options, *LETTERS}))
        self.cues = _cues(self.letters)
        self.letter = re.compile(rf"[{self.letters}]+|[{self.letters.lower()}](?![a-z])")
        around = {name: cue.pattern for name, cue in self.cues["around"].items()}
        self.next_letter = re.compile(
            rf"{OWN}?{around['close']}(?:{around['connector']}|(?:\s*(?=.{OWN})))"
            rf"(?:选项|(?i:option)\s+)?[(\"“「【]?([{self.letters}])(?![A-Za-z0-9])"
        )
        cased = self.letters + self.letters.lower()
        self.lead = re.compile(rf"^[(\[【]?([{cased}])[)\]】]?\s*(?:[.、:,。]|{OWN})", re.MULTILINE)
        own = {letter: re.escape(text) for letter, text in self.texts.items() if text}
        between = r"[)\]】」\"']?\s*[.、:,–—-]?\s*[\"“「(]?"
        behind = r"(?:的?(?=\W|$))"
        self.lettered = re.compile(  # "B. 间谍罪", "B（间谍罪）", "间谍罪（B）"
            "|".join(
                rf"(?<![A-Za-z0-9])(?P<before_{letter}>{letter}){between}{text}{behind}"
                rf"|{text}\s*\((?P<behind_{letter}>{letter})\)"
                for letter, text in own.items()
            )
        )

    def read(self, answer: str) -> Choice:
        text = self.lettered.sub(lambda match: f"{match[match.lastgroup or 0]}{OWN}", plain(answer))
        for found in (self._statement(text), self._lines(text), self._ends(text), self._remarks(text)):
            if found is not None:
                return self._choice(found)
        return Choice(None, "no option is chosen")

    def _choice(self, found: _Found) -> Choice:
        if len(found.letters) != 1:
            return Choice(None, f"several options: {', '.join(sorted(found.letters))}")
        (letter,) = found.letters
        if letter not in self.texts:
            return Choice(None, f"chooses {letter}, which is no option")
        return Choice(letter, " ".join(found.text.replace(OWN, "").split()))

    # --- statements ---------------------------------------------------------------------------------------------------

    def _statement(self, text: str) -> _Found | None:
        """The last statement that is not taken back. A last line that is only letters is one too."""
        found = [*self._statements(text, "statement"), *self._statements(text, "conclusion")]
        lines = [line for line in text.split("\n") if line.strip(_EDGES)]
        last = self._line(lines[-1]) if lines else None
        if last and (OWN not in lines[-1] or len(lines) == 1 or not self._line(lines[-2])):
            found.append(_Found(len(text), last, lines[-1]))
        return max(found, key=lambda each: each.position, default=None)

    def _statements(self, text: str, group: str) -> Iterator[_Found]:
        for cue in self.cues[group].values():
            for match in cue.finditer(text):
                opened = self.cues["around"]["open"].match(text, match.end())
                start = opened.end() if opened else match.end()
                letters, end = self._letters(text, match.start() + 1, start, group == "conclusion")
                if letters and not self._retracted(text, match.start(), end):
                    yield _Found(start, letters, text[match.start() : end])

    def _letters(self, text: str, cue: int, start: int, ends_sentence: bool) -> tuple[frozenset[str], int]:
        """The letters named at a position and where they end; or the option whose text stands there or ends the cue
        (in "答案：是" the cue has taken the option with it)."""
        letters, end = self._letter_list(text, start)
        if letters and self._free(text, start, end, ends_sentence):
            return letters, end
        named = (self._by_text(text, position) for position in range(cue, start + 1))
        return next((found for found in named if found[0]), (frozenset(), start))

    def _letter_list(self, text: str, start: int) -> tuple[frozenset[str], int]:
        match = self.letter.match(text, start)
        if match is None or len(set(match[0])) < len(match[0]):  # "AAAA" is noise
            return frozenset(), start
        letters, end = set(match[0].upper()), match.end()
        while (following := self.next_letter.match(text, end)) and not self.cues["retracted"]["list_ends"].match(
            text, following.end()
        ):
            letters.add(following[1])
            end = following.end()
        return frozenset(letters), end

    def _free(self, text: str, start: int, end: int, ends_sentence: bool) -> bool:
        """Whether what stands behind the letters lets them be letters."""
        behind = self.cues["behind"]
        if ends_sentence:
            return behind["end"].match(text, end) is not None
        if behind["mark"].match(text, end):
            return True
        return text[start].isupper() and any(behind[lang].match(text, end) for lang in ("zh", "en"))

    def _by_text(self, text: str, start: int) -> tuple[frozenset[str], int]:
        for letter, own in sorted(self.texts.items(), key=lambda pair: -len(pair[1])):
            end = start + len(own)
            if own and text[start:end].lower() == own.lower() and _TEXT_ENDS.match(text, end):
                same = frozenset(other for other, its in self.texts.items() if its == own)
                return same or frozenset(letter), end
        return frozenset(), start

    def _retracted(self, text: str, start: int, end: int) -> bool:
        retracted = self.cues["retracted"]
        clause = _CLAUSE_START.split(text[max(0, start - WINDOW) : start])[-1]
        before = any(retracted[name].search(clause) for name in ("before", "wrong", "en_before", "clause"))
        return before or retracted["behind"].match(text, end) is not None

    # --- lines, opening, remarks --------------------------------------------------------------------------------------

    def _line(self, line: str) -> frozenset[str]:
        """The letters of a line that holds nothing else besides their own texts, or the option that is the line."""
        core = _NAME.sub("", line.strip(_EDGES).replace(OWN, "")).strip(_EDGES)
        letters, end = self._letter_list(core, 0)
        if letters and end == len(core) and (core[0].isupper() or len(core) == 1):
            return letters
        for whole in (line.strip(), core):  # "-1" may be an option, and "- 1" a list item
            letters, end = self._by_text(whole, 0)
            if letters and len(whole) - end <= 1:
                return letters
        return frozenset()

    def _lines(self, text: str) -> _Found | None:
        """All lines that are only letters or an option."""
        found = {letters: line for line in text.split("\n") if (letters := self._line(line))}
        return _Found(0, frozenset().union(*found), next(iter(found.values()))) if found else None

    def _ends(self, text: str) -> _Found | None:
        """The first clause or the last sentence, where no line opens with another letter (as options discussed one by
        one do)."""
        leads = {
            lead[1] for lead in re.finditer(rf"^[(\[【]?([{self.letters}])[)\]】]?\s*(?:[.、:,。]|{OWN})", text, re.M)
        }
        if len(leads) > 1:
            return None
        last = [sentence for sentence in _SENTENCE_END.split(text) if sentence.strip(_EDGES)][-1:]
        found = {letters: end for end in (_CLAUSE_START.split(text)[0], *last) if (letters := self._line(end))}
        return _Found(0, frozenset().union(*found), next(iter(found.values()))) if found else None

    def _remarks(self, text: str) -> _Found | None:
        """Remarks such as "B项正确" that are not taken back."""
        found: dict[str, str] = {}
        for cue in self.cues["remark"].values():
            for match in cue.finditer(text):
                listed = re.search(
                    rf"[{self.letters}]{self.cues['around']['connector'].pattern}$", text[: match.start(1)]
                )
                letters = {match[1], listed[0][0]} if listed else {match[1]}
                if not self._retracted(text, match.start(1), match.end(1)):
                    found |= dict.fromkeys(letters, match[0])
        return _Found(0, frozenset(found), next(iter(found.values()))) if found else None
