"""Clean the text that is kept, and fold it for comparison. Two jobs, kept apart: the first must not lose meaning.

Kept text: line ends become LF, unusual blanks a blank; invisible characters go; full-width letters and digits become
ASCII. Not NFKC as a whole: that turns `x²` into `x2`, `½` into `1⁄2`, `，` into `,` and `｜` (part of DeepSeek's
special tokens) into `|`. So only NFC, plus those compatibility characters whose change is invisible to a reader.

Compared text (`fold`, `comparison_key`, `words`): NFKC, lower case, traditional -> simplified. Never stored.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from safekeel.chinese_script import converter
from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import Drop
from safekeel.records import Prompt

CACHED_TEXTS, CACHED_LENGTH = 8192, 2000
"""Folded texts that are remembered, and the longest in characters: several steps compare the same batch (2,048 rows,
few texts each)."""

_BLANKS = "\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_LINE_ENDS = "\u0085\u2028\u2029\v\f\x1c-\x1e"
# Zero-width characters, soft hyphen, byte order mark, bidi controls and isolates, invisible operators, interlinear
# marks, tag characters (a known way to hide instructions), other control characters (all but tab and LF). The joiner
# U+200D is left to _JOINER, which keeps it inside emoji.
_INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200c\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\U000e0000-\U000e007f"
)
# Letters, digits and operators of mathematics and code; not the punctuation that Chinese text itself uses.
_FULL_WIDTH = "０-９Ａ-Ｚａ-ｚ＃＄％＆＊＋／＜＝＞＠＾＿"
_RADICALS_AND_LIGATURES = "\u2e80-\u2eff\u2f00-\u2fdf\ufb00-\ufb06"
"""What PDF extraction leaves in place of ordinary characters: 一 as a Kangxi radical, fi as one letter."""

_MAPPED = re.compile(f"[{_BLANKS}{_LINE_ENDS}{_INVISIBLE}{_FULL_WIDTH}{_RADICALS_AND_LIGATURES}\\r]")
_CRLF = re.compile(r"\r\n?")
_JOINER = re.compile("(?<![\u2600-\u27bf\ufe0f\U0001f000-\U0001faff])\u200d")
_SURROGATE = re.compile("[\ud800-\udfff]")
_BEFORE_LF = re.compile(r"[ \t]+$", re.MULTILINE)
_BLANK_RUN = re.compile(r"(?<=[^\s])[ \t]{2,}")  # not at the start of a line: there it is the indentation of code
_MANY_LF = re.compile(r"\n{3,}")
_HAN_RANGES = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f"
_HAN = re.compile(f"[{_HAN_RANGES}]")
_NOT_WORD = re.compile(r"[\W_]+")
_ASCII_NOT_WORD = bytes(code for code in range(128) if not chr(code).isalnum())
_WORD = re.compile(f"[{_HAN_RANGES}]|[^\\W_{_HAN_RANGES}]+")

_LEFT_OVER_TO = dict(zip("於薹伕澂揹雠薰", "于苔夫澄背仇熏", strict=True))
_LEFT_OVER = re.compile(f"[{''.join(_LEFT_OVER_TO)}]")
"""What OpenCC's t2s leaves, because names and rare words have it, of what its s2t writes (150,000 made texts there and
back): without this one text in 3,000 would differ from its traditional form, with it one in 30,000."""


class Normalise:
    """Step: clean prompt, thought and answer; drop a row whose user says nothing.

    A prompt that an attack disguised keeps its text to the letter: invisible or full-width characters may be the
    disguise.
    """

    name = "normalise"

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        return [_outcome(sample) for sample in batch]


def _outcome(sample: Sample) -> Sample | Drop:
    before = sample.prompt.messages
    after = [clean(message.content) for message in before]
    if not any(text for text, message in zip(after, before, strict=True) if message.role == "user"):
        return Drop("empty", "no visible character in any user message")
    changes: dict[str, object] = {}
    if sample.prompt.attack is None and any(text != old.content for text, old in zip(after, before, strict=True)):
        messages = tuple(old.model_copy(update={"content": text}) for text, old in zip(after, before, strict=True))
        changes["prompt"] = sample.prompt.model_copy(update={"messages": messages})
    for name, text in (("thought", sample.thought), ("answer", sample.answer)):
        if (cleaned := clean(text)) != text:
            changes[name] = cleaned
    return sample.model_copy(update=changes) if changes else sample


def clean(text: str) -> str:
    """Text as it is kept. `clean(clean(text)) == clean(text)`; ordinary text comes back unchanged."""
    if not text.isascii():
        text = _SURROGATE.sub("\ufffd", text)
        text = _JOINER.sub("", text)
    text = _CRLF.sub("\n", text) if "\r" in text else text
    text = _MAPPED.sub(_replacement, text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    # Each pattern is tried only where it can match: a search of a whole text costs more than all these tests.
    if "\n" in text:
        text = _MANY_LF.sub("\n\n", _BEFORE_LF.sub("", text))
    if "  " in text or "\t" in text:
        text = _BLANK_RUN.sub(" ", text)
    return text.strip()


_BLANK, _LINE_END, _HIDDEN = (re.compile(f"[{chars}]") for chars in (_BLANKS, _LINE_ENDS, _INVISIBLE))


def _replacement(match: re.Match[str]) -> str:
    character = match[0]
    if _BLANK.match(character):
        return " "
    if _LINE_END.match(character):
        return "\n"
    return "" if _HIDDEN.match(character) else unicodedata.normalize("NFKC", character)


def compared_text(prompt: Prompt) -> str:
    """What two prompts are compared by: the user's turns. A system prompt that many rows share says nothing."""
    turns = [message.content for message in prompt.messages if message.role == "user"]
    return turns[0] if len(turns) == 1 else "\n".join(turns or [message.content for message in prompt.messages])


def fold(text: str) -> str:
    """NFKC, lower case, traditional -> simplified: the form in which texts are compared."""
    return _fold_once(text) if len(text) <= CACHED_LENGTH else _fold(text)


def comparison_key(text: str) -> str:
    """What two copies of a text have in common: folded, without punctuation, blanks and zero-width characters.

    A text of nothing but those (an emoji, `???`) is its own key.
    """
    return _key_once(text) if len(text) <= CACHED_LENGTH else _key(text)


def _fold(text: str) -> str:
    if text.isascii():
        return text.lower()
    text = unicodedata.normalize("NFKC", _SURROGATE.sub("\ufffd", text)).lower()
    if _HAN.search(text):
        simplified = converter("t2s", "Comparing Chinese texts", "corpus")(text)
        text = _LEFT_OVER.sub(lambda match: _LEFT_OVER_TO[match[0]], simplified)
    return text


def _key(text: str) -> str:
    if text.isascii():
        return text.lower().encode().translate(None, _ASCII_NOT_WORD).decode() or text
    return _NOT_WORD.sub("", fold(text)) or text


_fold_once, _key_once = lru_cache(CACHED_TEXTS)(_fold), lru_cache(CACHED_TEXTS)(_key)


def words(text: str) -> list[str]:
    """Tokens for n-grams: each Han character is one, every other run of letters and digits is one."""
    return _WORD.findall(fold(text))


def is_han(token: str) -> bool:
    """Whether a token of `words` is a Han character."""
    return _HAN.match(token) is not None
