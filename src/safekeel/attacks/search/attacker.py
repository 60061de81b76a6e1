"""Asking an attacker model for a prompt, and what to do when it gives none.

    ask ──► read ──no proposal──► ask once more, told so ──► read ──still none──► the last good prompt, counted

An attacker may refuse, run on, answer in prose, or not answer at all. None of it stops a search; each failure costs the
call it was, and a fallback costs the target call that repeats the last good prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from safekeel.attacks.base import substitute
from safekeel.attacks.search.base import Context, Conversation, Steps, ask_attacker, assistant, user

MAX_TOKENS = 512
"""New tokens of a proposal; PAIR's attacker gets 500 (arXiv 2310.08419, appendix)."""
MAX_PROMPT = 8000
"""Characters of a proposed prompt: a longer one comes from an attacker that runs in a circle."""
_OBJECT = re.compile(r"\{")


class Proposal(NamedTuple):
    """A prompt to send to the target."""

    prompt: str
    improvement: str
    """Why the attacker thinks that it is better; empty where it did not say."""
    is_new: bool = True
    """False = the attacker gave none, and this is the last good prompt again."""


def read_object(text: str) -> dict[str, Any] | None:
    """The first JSON object in a reply, whatever stands around it; line breaks inside strings are allowed. None where
    there is none."""
    decoder = json.JSONDecoder(strict=False)
    for start in _OBJECT.finditer(text):
        try:
            found, _ = decoder.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(found, dict):
            return found
    return None


def read_proposal(text: str, must_hold: str = "") -> Proposal | None:
    """The proposal in an attacker's reply; None where there is none that could be sent.

    Args:
        must_hold: text that the prompt must hold exactly once, such as the placeholder of a template.
    """
    found = read_object(text) or {}
    prompt, improvement = found.get("prompt"), found.get("improvement")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > MAX_PROMPT:
        return None
    if must_hold and prompt.count(must_hold) != 1:
        return None
    return Proposal(prompt.strip(), improvement.strip() if isinstance(improvement, str) else "")


def propose(
    context: Context, conversations: Sequence[Conversation], last_good: Sequence[str], must_hold: str = ""
) -> Steps[list[Proposal]]:
    """One proposal per conversation, in order; all of them are asked in one batch, and the failed ones once more.

    Args:
        last_good: what to fall back on, one per conversation.
        must_hold: see `read_proposal`.
    """
    answers = yield from ask_attacker(conversations, MAX_TOKENS)
    found = [read_proposal(answer, must_hold) for answer in answers]
    if failed := [place for place, proposal in enumerate(found) if proposal is None]:
        context.counts["attacker_unreadable"] += sum(bool(answers[place].strip()) for place in failed)
        retold = [_told_again(context, conversations[place], answers[place], must_hold) for place in failed]
        again = yield from ask_attacker(retold, MAX_TOKENS)
        for place, answer in zip(failed, again, strict=True):
            found[place] = read_proposal(answer, must_hold)
            context.counts["attacker_unreadable"] += found[place] is None and bool(answer.strip())
    context.counts["attacker_fallbacks"] += found.count(None)
    return [proposal or Proposal(prompt, "", is_new=False) for proposal, prompt in zip(found, last_good, strict=True)]


def _told_again(context: Context, conversation: Conversation, answer: str, must_hold: str) -> Conversation:
    """The conversation with the unreadable answer (cut short: it may have run in a circle) and what was wrong."""
    texts = context.texts("attacker")
    complaint = texts["again"] + (f" {substitute(texts['placeholder'], {'held': must_hold})}" if must_hold else "")
    return (*conversation, assistant(answer[:MAX_TOKENS] or "…"), user(complaint))


def as_shown(text: str, limit: int = 1500) -> str:
    """A target's reply as the attacker sees it: long ones are cut, for the attacker needs their tone, not their end."""
    return text if len(text) <= limit else f"{text[:limit]} […]"
