"""The chat template beside an export: its hash, and a variant for training that keeps the reasoning.

R1's template deletes everything up to `</think>` from assistant turns (`safekeel.chat`). An engine that renders
training conversations with it learns answers without thoughts (train-peers.md, fact 2). The variant differs in that
one statement, and is for training only: a served model needs the original.
"""

from __future__ import annotations

import hashlib
import re

from safekeel.chat import OPEN, Tokenizer, render_prompt
from safekeel.records import Message

TRAINING_TEMPLATE = "chat_template.training.jinja"
_CUT = re.compile(r"\{%-?\s*if '</think>' in content\s*-?%\}.*?\{%-?\s*endif\s*-?%\}", re.DOTALL)
_QUESTION, _REPLY = "safekeel question", "<think>\nthought\n</think>\n\nanswer"


def template_hash(tokenizer: Tokenizer | None) -> str | None:
    """SHA-256 of the tokenizer's chat template; None without a tokenizer or template."""
    template = getattr(tokenizer, "chat_template", None)
    return hashlib.sha256(str(template).encode()).hexdigest() if template else None


def training_template(tokenizer: Tokenizer) -> str | None:
    """The tokenizer's template, changed where needed so that an assistant's turn is rendered whole; None where no such
    variant is known. What is returned was checked by rendering a turn with it."""
    original = str(tokenizer.chat_template)
    for template in (original, _CUT.sub("", original)):
        if _keeps_reasoning(tokenizer, template):
            return template
    return None


def _keeps_reasoning(tokenizer: Tokenizer, template: str) -> bool:
    question = [Message(role="user", content=_QUESTION)]
    prompt = render_prompt(tokenizer, question, think="forced").removesuffix(f"{OPEN}\n")
    turns = [{"role": "user", "content": _QUESTION}, {"role": "assistant", "content": _REPLY}]
    whole: str = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    expected: str = prompt + _REPLY + tokenizer.eos_token
    return whole == expected
