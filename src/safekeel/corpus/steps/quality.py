"""Step `quality`: rows that would teach a model something broken leave, with the rule that caught them.

Rules run from the cheapest to the dearest, the length of a row first, so that a 5-MB row costs nothing. Lengths are in
characters, for no tokenizer is known here. A row that has neither thought nor answer yet is judged by its prompt alone.
Reasons: `too_long`, `empty_prompt`, `control_token`, `thought_tag`, `empty_answer`, `short_answer`, `broken_text`,
`truncated`, `leaked_instruction`, `no_text`, `repetitive`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.steps.repetition import loop_length, repeated_share, units_of
from safekeel.errors import UsageError
from safekeel.records import Lang

# What templates and tokenizers take for more than text. Any text that holds one would end a turn inside a sample.
CONTROL_TOKENS = re.compile(
    r"<[|｜][^<>|｜\n]{1,60}[|｜]>"  # <|im_start|> <｜User｜> <｜end▁of▁sentence｜>
    r"|</?s>|<(?:bos|eos|pad|unk|mask|sep|cls)>|<(?:start|end)_of_turn>|<<?/?SYS>>|\[/?(?:INST|gMASK|SYSTEM_PROMPT)\]"
    r"|<\|?(?:endoftext|im_start|im_end|eot_id)\|?>|<(?:reserved|unused)_?\d+>",
    re.IGNORECASE,
)
THOUGHT_TAG = re.compile(r"</?think(?:ing)?>", re.IGNORECASE)
# U+FFFD is what a decoder writes for bytes it cannot read; 锟斤拷 is two of them read as GBK, 烫 and 屯 are Microsoft's
# fill bytes 0xCC and 0xCD read as GBK. Then control characters and the private use area.
_BROKEN = re.compile(
    "\ufffd|锟斤拷|烫烫烫|屯屯屯|[\x00-\x08\x0e-\x1f\x7f]|[\ue000-\uf8ff].*?[\ue000-\uf8ff]", re.DOTALL
)
# UTF-8 read as GBK: ，。“是在的 become these, which hardly occur in modern Chinese; two of them are no accident.
_UTF8_AS_GBK = re.compile("[锛銆鈥鏄鍦鐨].*?[锛銆鈥鏄鍦鐨]", re.DOTALL)
_CUT_OFF = re.compile(
    r"(?:\[(?:truncated|cut off|continued|\.\.\.|…)\]|\((?:truncated|to be continued|continued)\)|未完待续"
    r"|[（(](?:未完|待续)[)）]|[,，、；：（(“‘《【])\s*\Z",
    re.IGNORECASE,
)


class PerLanguage(StageConfig):
    """Characters, by the language of the prompt."""

    zh: int = Field(ge=1)
    en: int = Field(ge=1)

    def of(self, lang: Lang) -> int:
        return self.zh if lang == "zh" else self.en


class QualityConfig(StageConfig):
    """Limits. The lengths are 2,048 tokens of prompt, 6,144 of thought and 4,096 of answer, for STAR-1 trains on 8,192
    in all (arXiv 2504.01903), at 0.67 tokens per Chinese and 0.25 per English character: R1-Distill's tokenizer needs
    0.57 on alpaca-zh and 0.19 on STAR-1."""

    max_prompt: PerLanguage = PerLanguage(zh=3_000, en=8_000)
    max_thought: PerLanguage = PerLanguage(zh=9_000, en=24_000)
    max_answer: PerLanguage = PerLanguage(zh=6_000, en=16_000)
    min_answer: int = Field(2, ge=1)
    """A single character answers nothing, except a question with a gold answer ("A", "7")."""
    min_letters: float = Field(0.1, ge=0, le=1)
    """Share of letters in a prompt of 20 characters or more (data-juicer's recipe for alpaca-cot: 0.1); ability items
    are formulas at times and are exempt."""
    max_repeated: float = Field(0.5, gt=0, le=1)
    """Share of a text inside 10-grams of words that stood there before. Gopher (arXiv 2112.11446, table A1) drops web
    pages above 0.10, data-juicer above 0.5; honest responses here reach 0.45 (a MATH-500 solution by cases)."""
    max_loop: int = Field(40, ge=8)
    """Words in one stretch that says the same four times or more in a row. Honest responses here reach 11."""
    forbidden_markers: tuple[str, ...] = ()
    """Texts of the instructions a teacher was given; in a response they are a leak. Compared without regard to case."""


class QualityStep:
    """Drops broken rows; never changes one."""

    name = "quality"

    def __init__(self, config: QualityConfig | None = None) -> None:
        """
        Raises:
            UsageError: ftfy is not installed.
        """
        self.config = config or QualityConfig()
        self._is_garbled = _latin_check()
        self._markers = tuple(marker.casefold() for marker in self.config.forbidden_markers if marker.strip())

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        """See `Step`."""
        return [self._outcome(sample) for sample in batch]

    def _outcome(self, sample: Sample) -> Sample | Drop:
        rules = (self._length, self._tokens, self._emptiness, self._encoding, self._ending, self._leak, self._content)
        return next((drop for rule in rules if (drop := rule(sample))), sample)

    def _length(self, sample: Sample) -> Drop | None:
        lang = sample.prompt.lang
        sizes = {
            "prompt": (
                sum(len(message.content) for message in sample.prompt.messages),
                self.config.max_prompt.of(lang),
            ),
            "thought": (len(sample.thought), self.config.max_thought.of(lang)),
            "answer": (len(sample.answer), self.config.max_answer.of(lang)),
        }
        for part, (size, limit) in sizes.items():
            if size > limit:
                return Drop("too_long", f"{part}: {size} characters, at most {limit} for {lang}")
        return None

    def _tokens(self, sample: Sample) -> Drop | None:
        for part, text in _parts(sample):
            if found := CONTROL_TOKENS.search(text):
                return Drop("control_token", f"{part}: {found.group()!r}")
            if found := THOUGHT_TAG.search(text):
                return Drop("thought_tag", f"{part}: {found.group()!r}")
        return None

    def _emptiness(self, sample: Sample) -> Drop | None:
        if not sample.prompt.messages[-1].content.strip():
            return Drop("empty_prompt", "the last message is empty")
        answer, thought = sample.answer.strip(), sample.thought.strip()
        if not answer:
            return Drop("empty_answer", f"a thought of {len(thought)} characters and no answer") if thought else None
        is_graded = sample.prompt.expect in ("choose", "solve")
        if len(answer) < self.config.min_answer and not is_graded:
            return Drop("short_answer", f"{len(answer)} character, expected at least {self.config.min_answer}")
        return None

    def _encoding(self, sample: Sample) -> Drop | None:
        for part, text in _parts(sample):
            if found := _BROKEN.search(text) or _UTF8_AS_GBK.search(text):
                return Drop("broken_text", f"{part}: {found.group()[:1]!a} at character {found.start()}")
            if self._is_garbled(text):
                return Drop("broken_text", f"{part}: UTF-8 that was read as Latin-1 or Windows-1252")
        return None

    def _ending(self, sample: Sample) -> Drop | None:
        if found := _CUT_OFF.search(sample.answer[-40:]):
            return Drop("truncated", f"answer ends with {found.group().strip()!r}")
        if sample.answer.count("```") % 2:
            return Drop("truncated", "answer ends inside a code block")
        return None

    def _leak(self, sample: Sample) -> Drop | None:
        if not self._markers:
            return None
        for part, text in (("thought", sample.thought), ("answer", sample.answer)):
            folded = text.casefold()
            if marker := next((marker for marker in self._markers if marker in folded), None):
                return Drop("leaked_instruction", f"{part}: {marker[:60]!r}")
        return None

    def _content(self, sample: Sample) -> Drop | None:
        text = sample.prompt.messages[-1].content
        if sample.role != "replay" and len(text) >= 20:
            letters = sum(map(str.isalpha, text)) / len(text)
            if letters < self.config.min_letters:
                return Drop("no_text", f"prompt: {letters:.0%} letters, expected {self.config.min_letters:.0%}")
        for part, text in _parts(sample):
            units = units_of(text)
            if (share := repeated_share(units)) > self.config.max_repeated:
                return Drop("repetitive", f"{part}: {share:.0%} of it stood there before (10-grams)")
            if (length := loop_length(units)) > self.config.max_loop:
                return Drop("repetitive", f"{part}: a loop of {length} words")
        return None


def _parts(sample: Sample) -> Iterator[tuple[str, str]]:
    """All texts of a row with the name of their part."""
    for message in sample.prompt.messages:
        yield "prompt", message.content
    yield "thought", sample.thought
    yield "answer", sample.answer


def _latin_check() -> Callable[[str], bool]:
    """ftfy's test for mis-decoded Latin text: sequences that occur in no language but in mojibake."""
    try:
        from ftfy.badness import is_bad
    except ModuleNotFoundError as error:
        raise UsageError(
            "The step `quality` needs ftfy, which is not installed: pip install 'safekeel[corpus]'."
        ) from error
    return lambda text: not text.isascii() and bool(is_bad(text))
