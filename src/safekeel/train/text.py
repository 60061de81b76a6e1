"""The exact tokens of a training sample, for SFT, preference and GRPO alike: what generation would be given and write.

    encoded = encode(tokenizer, sample.prompt, sample.thought, sample.answer)
    encoded.prompt_ids + encoded.completion_ids    # … <｜Assistant｜><think>⏎ + thought⏎</think>⏎⏎answer EOS
    labels(encoded)                                # -100 on the prompt, then the completion's own ids

A sample is never rendered as a conversation: R1's template deletes everything up to `</think>` from assistant turns,
and with it the reasoning. The three endings of a generation prompt (`safekeel.chat`):

    open     the completion starts inside the thought
    absent   the completion starts with `<think>` and a newline, because the model must open its thought itself
    closed   thinking is switched on first: the prompt becomes that of `--think forced`

The exporters of `corpus/export` follow the same rule (`conversation.rendered`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from safekeel.chat import (
    CLOSE,
    OPEN,
    Tokenizer,
    prompt_ids,
    reads_conversations,
    render_prompt,
    think_state,
    training_text,
)
from safekeel.errors import DataError, shown
from safekeel.records import Message, Prompt

IGNORED = -100
"""Label of a token that is not learnt (torch's `cross_entropy` default)."""
_PROBE = "SAFEKEEL-PROBE"


class Encoded(NamedTuple):
    """One training sample; the prompt followed by the completion is the whole text."""

    prompt_ids: list[int]
    completion_ids: list[int]
    """Ends with EOS."""


def encode(tokenizer: Tokenizer, prompt: Prompt | Sequence[Message], thought: str, answer: str) -> Encoded:
    """Token ids of a sample, prompt and completion apart as in generation; BOS stands exactly once where the template
    or the tokenizer puts one.

    Raises:
        DataError: the tokenizer has no EOS token (a model could never learn to stop) or no chat template, the template
            rejects the messages, or the answer is empty (a model would learn to say nothing).
    """
    if not answer.strip():
        raise DataError("The answer is empty: a model trained on it would learn to say nothing; drop the sample.")
    if tokenizer.eos_token_id is None:
        raise DataError("The tokenizer has no EOS token; set eos_token in its tokenizer_config.json.")
    messages = prompt.messages if isinstance(prompt, Prompt) else prompt
    given, written = training_text(tokenizer, messages, thought, answer)
    ids: list[int] = tokenizer(written, add_special_tokens=False)["input_ids"]
    return Encoded(prompt_ids(tokenizer, given), [*ids, tokenizer.eos_token_id])


def labels(encoded: Encoded) -> list[int]:
    """What is learnt: `IGNORED` on the prompt, then the completion."""
    return [IGNORED] * len(encoded.prompt_ids) + encoded.completion_ids


def check_trainable(tokenizer: Tokenizer) -> list[str]:
    """Refuse, before hours are spent, a tokenizer on which no reasoning can be trained.

    Returns:
        Notes for the manifest, empty for a template that opens the thought.

    Raises:
        DataError: no chat template; a guard's, or one that drops the user's words or marks no assistant turn (an
            unknown format); no EOS; or think tags that are not single tokens.
    """
    name = shown(getattr(tokenizer, "name_or_path", ""))
    try:
        text = render_prompt(tokenizer, (Message(role="user", content=_PROBE),))
    except DataError as error:
        if error.__cause__ is None:  # there is no template
            raise
        raise DataError(
            f"The chat template of {name} cannot render one user message ({type(error.__cause__).__name__}: "
            f"{error.__cause__}); it is damaged, or made for other roles. Put the published one back "
            "(chat_template.jinja)."
        ) from error
    turns = [{"role": "user", "content": _PROBE}]
    bare = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=False)
    if reads_conversations(tokenizer) or _PROBE not in text or text == bare:
        raise DataError(
            f"The chat template of {name} is of no known form: a user's message renders as {shown(text)}. Expected the "
            "message, then the mark of an assistant turn; is this a guard or reward model?"
        )
    if tokenizer.eos_token_id is None:
        raise DataError(f"The tokenizer {name} has no EOS token; set eos_token in its tokenizer_config.json.")
    for tag in (OPEN, CLOSE):
        pieces = tokenizer(tag, add_special_tokens=False)["input_ids"]
        if len(pieces) != 1:
            raise DataError(
                f"The tokenizer {name} lacks the token {tag} (it is {len(pieces)} pieces), so this is no reasoning "
                "model. Start from one, or add both think tokens and resize the embeddings first."
            )
    if think_state(text) == "closed":
        return ["the chat template closes the thought by default: trained, and to be evaluated, with --think forced"]
    return []
