"""Step `scrub`: personal data and secrets become typed placeholders; a private key takes its row with it.

    张三的手机是13812345678  ->  张三的手机是[手机号]        checks["scrub"] = {"mobile": 1}

Every message of the prompt, the thought and the answer are searched; what was found is counted by kind and never
quoted. The kinds and their sources: `scrub_kinds` (secrets), `scrub_personal`. Names and postal addresses are not
looked for: telling them from other words takes a model. `Prompt.target` stays as it is, since it is compared with what
a model says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from safekeel.config import StageConfig
from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.steps.scrub_kinds import CONTEXT, SECRET_KINDS, Kind
from safekeel.corpus.steps.scrub_personal import PERSONAL_KINDS, require_libraries
from safekeel.records import Lang

MAX_CHARACTERS = 1_000_000
"""Of a row; beyond it no pattern is run. No honest row comes near (`quality` allows 48,000)."""
PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----")
"""RFC 7468 (PKCS #1, #8, SEC 1), OpenSSH, and RFC 9580 (OpenPGP)."""
# A text without any of this holds nothing to replace; nearly all texts are done with after this one look.
_WORTH_A_LOOK = re.compile(
    r"(?:\d[ ().-]{0,2}){9}|\d\.\d{1,3}\.\d{1,3}\.\d|@|\b[sr]k[-_]|\bgh[pousr]_|github_pat_|glpat-|\bhf_|\bxox|\bxapp-"
    r"|AIza|LTAI|\bA[KSBC][IC][AD]|\beyJ|护照|[Pp]assport|QQ|扣扣|微信|[Ww]e[Cc]hat|[A-HJ-NP-Z][·• ]?[A-HJ-NP-Z0-9]{5}"
    r"|[23][0-9A-Fa-f]{3}:[0-9A-Fa-f]{0,4}:",
    re.ASCII,
)
_TO_ASCII = str.maketrans("０１２３４５６７８９＠．－＋（）　", "0123456789@.-+() ")


class ScrubConfig(StageConfig):
    """Which of the two groups are looked for."""

    personal: bool = True
    secrets: bool = True


class ScrubStep:
    """Replaces personal data and secrets; drops rows that hold a private key (`private_key`) or are `too_long`."""

    name = "scrub"

    def __init__(self, config: ScrubConfig | None = None) -> None:
        """
        Raises:
            UsageError: a library of the extra `corpus` is not installed.
        """
        config = config or ScrubConfig()
        self.secrets = config.secrets
        if config.personal:
            require_libraries()
        self.kinds = (*(SECRET_KINDS if config.secrets else ()), *(PERSONAL_KINDS if config.personal else ()))

    def __call__(self, batch: Sequence[Sample]) -> list[Sample | Drop]:
        """See `Step`."""
        return [self._outcome(sample) for sample in batch]

    def _outcome(self, sample: Sample) -> Sample | Drop:
        messages = sample.prompt.messages
        texts = [*(message.content for message in messages), sample.thought, sample.answer]
        if (size := sum(map(len, texts))) > MAX_CHARACTERS:
            return Drop("too_long", f"{size} characters, at most {MAX_CHARACTERS} are searched")
        if self.secrets:
            for place, text in enumerate(texts):
                if PRIVATE_KEY.search(text):
                    return Drop("private_key", f"in the {self._part(place, len(messages))}")
        found: Counter[str] = Counter()
        clean = [scrub(text, sample.prompt.lang, self.kinds, found) for text in texts]
        if not found:
            return sample
        *contents, thought, answer = clean
        turns = tuple(
            message if message.content == content else message.model_copy(update={"content": content})
            for message, content in zip(messages, contents, strict=True)
        )
        return sample.model_copy(
            update={
                "prompt": sample.prompt.model_copy(update={"messages": turns}),
                "thought": thought,
                "answer": answer,
                "checks": sample.checks | {self.name: dict(sorted(found.items()))},
            }
        )

    def _part(self, place: int, num_messages: int) -> str:
        return "prompt" if place < num_messages else ("thought", "answer")[place - num_messages]


def scrub(text: str, lang: Lang, kinds: Sequence[Kind], found: Counter[str] | None = None) -> str:
    """The text with placeholders in that language; the same object where there is nothing to replace.

    Args:
        found: gets the number of replacements by kind.
    """
    plain = text.translate(_TO_ASCII)  # character for character, so places in it are places in the text
    if not _WORTH_A_LOOK.search(plain):
        return text
    for kind in kinds:
        spans = [
            match.span("value" if "value" in kind.pattern.groupindex else 0) for match in kind.pattern.finditer(plain)
        ]
        for start, end in reversed(spans):
            before, after = plain[max(0, start - CONTEXT) : start], plain[end : end + CONTEXT]
            if kind.accept(plain[start:end], before, after):
                placeholder = f"[{kind.zh if lang == 'zh' else kind.en}]"
                text = text[:start] + placeholder + text[end:]
                plain = plain[:start] + placeholder + plain[end:]
                if found is not None:
                    found[kind.name] += 1
    return text
