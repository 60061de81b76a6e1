"""Step `language`: Chinese and English rows go on, others leave; thought and answer must speak the prompt's language.

Scripts are counted first: that alone tells Chinese from Japanese, Korean, Russian … and from anything in Latin letters.
Only Latin text is then asked of a model (py3langid, a naive Bayes on bytes that comes with its 2-MB model), and only to
tell English from French, German, Malay and so on. What has no words (numbers, formulas, code) has no language; such a
row keeps the one its source declares. Text in both scripts is what its source says as long as the text bears it out,
for "translate into English: 今天…" is English and "用 Python 写一个 quicksort" Chinese whatever is counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import Drop
from safekeel.errors import UsageError
from safekeel.records import Lang

Language = Literal["zh", "en", "other"]

MAX_CHARACTERS = 4000
"""Of a text, from its start, that are looked at: the language of a 5-MB row is told from its first page as well."""
MODEL_CHARACTERS = 400  # py3langid takes 50 us for as many and is as sure as with more (measured on alpaca and STAR-1)
LATIN_LANGUAGES = (
    *("en", "fr", "de", "es", "it", "pt", "nl", "id", "ms", "vi", "tr", "pl"),
    *("sv", "da", "no", "fi", "ro", "cs", "hu", "tl", "la", "sw", "ca"),
)
"""What Latin text may be. All 140 of the model would make short English prompts Tok Pisin or Scots."""

_SCRIPTS = re.compile(
    "(?P<han>[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f])"
    "|(?P<kana>[\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\uff66-\uff9d])"
    "|(?P<hangul>[\u1100-\u11ff\u3131-\u318e\uac00-\ud7a3])"
    "|(?P<latin>[A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff]{2,})"  # one letter is a variable
    "|(?P<other>[\u0400-\u10ff\u1200-\u18af]{1,6}|[\u0370-\u03ff\u1f00-\u1fff]{3,})"  # Greek letters alone are maths
)
# Not prose: fenced and inline code, LaTeX, addresses, escapes such as \frac, names_with_marks and dotted.names, and
# lines of code that nobody fenced (alpaca's answers).
_NOT_PROSE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]*\$|\\\[.*?\\\]|\\\(.*?\\\)"
    r"|^[ \t]*(?:def|class|import|return|print|public|private|function|const|let|var|#include)\b[^\n]*$"
    r"|^[ \t]*(?:if|for|while|else|elif|try|except)\b[^\n]*[:{]$|(?:#|//)[ \t][^\n]*$"
    r"|https?://\S+|www\.\S+|\S+@\S+|\\[A-Za-z]+|<[^<>\n]{1,200}>|\w*[_=(){}]\w*|\b\w+\.\w+\b",
    re.DOTALL | re.ASCII | re.MULTILINE,
)
_QUOTED = re.compile(
    '“[^”]{1,1000}”|"[^"\n]{1,1000}"|‘[^’\n]{1,200}’|「[^」]{1,1000}」|『[^』]{1,1000}』|《[^》]{1,200}》'
)
_ASKS_FOR_ANOTHER = re.compile(
    "翻译|译[成为文]|[英法德日韩俄中]语|[英中法德日]文|西班牙|葡萄牙|意大利|拉丁|单词|词汇|缩写|拼音"
    r"|translat|\b(?:language|english|chinese|mandarin|cantonese|japanese|korean|french|german|spanish|italian|russian"
    r"|portuguese|arabic|hindi|latin|dutch|turkish|vietnamese|thai|indonesian|greek|hebrew)\b"
    # A word of another language in quotation marks: "a sentence with …" is asked for in that language.
    "|[“‘\"'「『][A-Za-z][A-Za-z ,-]*[”’\"'」』]|[“‘\"'「『][\u4e00-\u9fff]+[”’\"'」』]",
    re.IGNORECASE,
)


class LanguageConfig(StageConfig):
    """Thresholds, each with what they rest on (measured on the sets named; see docs/log.md)."""

    min_share: float = Field(0.2, gt=0, le=0.5)
    """Of the words of a mixed prompt: where both languages have more, the declared one stands."""
    min_latin_words: int = Field(4, ge=1)
    """Fewer Latin words are English: on three words py3langid guesses (alpaca-en, XSTest)."""
    max_english: float = Field(0.05, gt=0, lt=1)
    """Probability of English below which Latin text is another language: 8,397 of 8,400 French, Spanish and German
    prompts of XSafety are found so, none of 13,222 English prompts of six sets is taken for one."""
    min_response_words: int = Field(10, ge=1)
    """Words of prose from which on a thought or answer has a language at all; "Paris" answers a Chinese question."""
    min_response_share: float = Field(0.3, gt=0, le=1)
    """Of these that must be in the prompt's language. DeepSeek-R1 rewards the same share (arXiv 2501.12948, 2.3.2)."""


class Words(NamedTuple):
    """Words of a text by script; a Han, kana or hangul character counts as one word."""

    han: int = 0
    kana: int = 0
    hangul: int = 0
    latin: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        return sum(self)

    def share(self, lang: Lang) -> float:
        """Of all words, those that may be in that language by their script."""
        return (self.han if lang == "zh" else self.latin) / self.total if self.total else 0.0


class LanguageStep:
    """Sets `prompt.lang`, drops rows in other languages (`language`) and rows whose thought or answer is in another
    language than the prompt (`language_mismatch`). A corrected row notes the declared one in `checks["language"]`."""

    name = "language"

    def __init__(self, config: LanguageConfig | None = None) -> None:
        """
        Raises:
            UsageError: py3langid is not installed.
        """
        self.config = config or LanguageConfig()
        _identifier()  # an error here, not in the middle of the rows

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        """See `Step`."""
        return [self._outcome(sample) for sample in batch]

    def _outcome(self, sample: Sample) -> Sample | Drop:
        declared = sample.prompt.lang
        text = "\n".join(message.content for message in sample.prompt.messages if message.role == "user")
        found = identify(text, declared, self.config)
        if found == "other":
            return Drop("language", f"prompt: {_described(words_of(text))}; expected zh or en")
        lang: Lang = found or declared
        asks_for_another = _ASKS_FOR_ANOTHER.search(text[:MAX_CHARACTERS]) is not None
        for part, response in (("thought", sample.thought), ("answer", sample.answer)):
            if part == "answer" and asks_for_another:
                continue
            if response and (why := mismatch(response, lang, self.config)):
                return Drop("language_mismatch", f"{part}: {why}; the prompt is {lang}")
        if lang == declared:
            return sample
        prompt = sample.prompt.model_copy(update={"lang": lang})
        checks = sample.checks | {"language": {"declared": declared}}
        return sample.model_copy(update={"prompt": prompt, "checks": checks})


def identify(text: str, declared: Lang, config: LanguageConfig | None = None) -> Language | None:
    """The language of a prompt; None where it has no words.

    Args:
        declared: decides where both scripts have a part in the text.
    """
    config = config or LanguageConfig()
    prose = prose_of(text)
    words = words_of(prose)
    if words.total < 2:  # all of it is a quotation
        prose = _NOT_PROSE.sub(" ", text[:MAX_CHARACTERS])
        words = words_of(prose)
    if not words.total:
        return None
    if 2 * words.other >= words.total:
        return "other"
    cjk = words.han + words.kana + words.hangul
    if 2 * cjk >= words.total and _is_japanese_or_korean(words):
        return "other"
    if min(words.share("zh"), words.share("en")) > config.min_share:
        return declared
    if words.han >= words.latin:
        return "zh" if words.han else None
    return "en" if is_english(prose, words, config) else "other"


def mismatch(text: str, lang: Lang, config: LanguageConfig | None = None) -> str:
    """Why a thought or answer is not in that language; empty where it is, or has too few words to tell."""
    config = config or LanguageConfig()
    prose = prose_of(text)
    words = words_of(prose)
    if words.total < config.min_response_words:
        return ""
    if lang == "zh" and _is_japanese_or_korean(words):
        return _described(words)
    if words.share(lang) < config.min_response_share:
        return _described(words)
    if lang == "en" and words.latin >= config.min_response_words and not is_english(prose, words, config):
        return f"{words.latin} Latin words that are not English"
    return ""


def prose_of(text: str) -> str:
    """The start of a text without code, LaTeX, addresses, tags and quotations."""
    return _QUOTED.sub(" ", _NOT_PROSE.sub(" ", text[:MAX_CHARACTERS]))


def words_of(text: str) -> Words:
    """Words by script, of the first `MAX_CHARACTERS` characters."""
    counts = dict.fromkeys(Words._fields, 0)
    for found in _SCRIPTS.finditer(text, 0, MAX_CHARACTERS):
        counts[found.lastgroup or ""] += 1
    return Words(**counts)


def is_english(prose: str, words: Words, config: LanguageConfig) -> bool:
    """Whether Latin text is English, or too short to say that it is not."""
    if words.latin < config.min_latin_words:
        return True
    ranked: dict[str, float] = dict(_identifier().rank(prose[:MODEL_CHARACTERS]))
    return ranked["en"] >= config.max_english


def _is_japanese_or_korean(words: Words) -> bool:
    """Over a fifth kana or hangul: more than Chinese has that names Japanese singers, less than any of the 2,800
    Japanese prompts of XSafety. 優の良品 is a Chinese shop with one kana."""
    cjk = words.han + words.kana + words.hangul
    return (words.kana >= 2 and 5 * words.kana > cjk) or (words.hangul >= 2 and 5 * words.hangul > cjk)


def _described(words: Words) -> str:
    return ", ".join(f"{count} {name}" for name, count in words._asdict().items() if count)


@cache
def _identifier() -> Any:
    """The model, restricted to `LATIN_LANGUAGES`, with probabilities."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ModuleNotFoundError as error:
        raise UsageError(
            "The step `language` needs py3langid, which is not installed: pip install 'safekeel[corpus]'."
        ) from error
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(list(LATIN_LANGUAGES))
    return identifier
