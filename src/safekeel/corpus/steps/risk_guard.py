"""Guard classifiers as labellers of prompts. Their own categories are not the taxonomy's, so they name none.

Forms of a reply about a prompt alone: Qwen3Guard README, "prompt moderation" (commit 019b2e3); Llama Guard 3 and 4 as
about responses; WildGuard answers three questions, of which the first is about the prompt (its model card).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.risk_labellers import Opinion, opinions_of
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import UsageError
from safekeel.judges.asking import UnreadableReplyError
from safekeel.judges.guard_families import GuardFamily
from safekeel.records import Message, Prompt

_QWEN_PROMPT = re.compile(
    r"\ASafety: (?P<safety>Safe|Unsafe|Controversial)\s*\n\s*Categories: [^\n]*\S(?:\s*\n\s*Refusal: \w+)?\Z"
)
_WILD_PROMPT = re.compile(r"\AHarmful request: (?P<harmful>yes|no)\b", re.IGNORECASE)


class GuardLabeller:
    """A guard classifier asked about the prompt alone."""

    independent = True

    def __init__(self, engine: Engine, family: GuardFamily) -> None:
        """
        Raises:
            UsageError: the family only judges responses.
        """
        if family.name not in _GUARDS:
            raise UsageError(
                f"The guard family {family.name!r} does not judge prompts alone. Expected one of {', '.join(_GUARDS)}."
            )
        self.engine, self.family = engine, family
        self.name = f"guard:{engine.name}"
        self.sampling = Sampling(max_tokens=family.max_tokens, temperature=0.0, seed=0)

    def label(self, samples: Sequence[Sample]) -> list[Opinion | None]:
        """See `Labeller.label`; what a guard calls controversial it cannot tell."""
        read = _GUARDS[self.family.name]
        return opinions_of(self.engine, samples, self.sampling, self.messages, lambda text: read(self.family, text))

    def messages(self, prompt: Prompt, error: str | None = None) -> tuple[Message, ...]:
        """The conversation up to the user's last turn; for WildGuard its task with an empty response."""
        messages = self.family.messages(prompt, "", prompt.lang)
        return messages if len(messages) == 1 else messages[:-1]


def _read_qwen(family: GuardFamily, text: str) -> Opinion | None:
    """`Safety: …` and `Categories: …`, without the line on refusals (Qwen3Guard README, prompt moderation)."""
    found = _QWEN_PROMPT.match(text.strip())
    if found is None:
        raise UnreadableReplyError("the reply is not in the guard's form; expected two lines: Safety, Categories")
    return None if found["safety"] == "Controversial" else Opinion(found["safety"] == "Unsafe")


def _read_llama(family: GuardFamily, text: str) -> Opinion | None:
    return Opinion(family.read(text).safety == "unsafe")


def _read_wild(family: GuardFamily, text: str) -> Opinion | None:
    found = _WILD_PROMPT.match(text.strip())
    if found is None:
        raise UnreadableReplyError(
            "the reply is not in the guard's form; expected 'Harmful request: yes' or 'no' first"
        )
    return Opinion(found["harmful"].lower() == "yes")


_GUARDS: dict[str, Callable[[GuardFamily, str], Opinion | None]] = {
    "qwen3guard": _read_qwen,
    "llama-guard": _read_llama,
    "wildguard": _read_wild,
}
