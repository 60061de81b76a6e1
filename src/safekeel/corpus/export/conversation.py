"""A sample as the engines see it: system message, earlier turns, the last user turn, and the text to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safekeel.chat import CLOSE, OPEN, Tokenizer, completion_text, render_prompt, think_state
from safekeel.corpus.export.base import CannotHold
from safekeel.corpus.sample import Sample
from safekeel.errors import DataError
from safekeel.records import Message

_PROBE = "SAFEKEEL-TURN"


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt that alternates: an optional system message, then user and assistant in turn, the user last."""

    system: str
    history: tuple[tuple[str, str], ...]
    """(user, assistant) of the earlier turns."""
    user: str


def engine_messages(sample: Sample) -> list[Message]:
    """The messages of a prompt as every engine can take them, without thoughts in earlier replies.

    R1's template deletes everything up to `</think>` from earlier assistant turns; the same is done here, because the
    engines' own templates do not all do so.

    Raises:
        CannotHold: no answer to learn, a system message that is not the first, or a last turn that is not the user's.
    """
    if not sample.answer.strip():
        raise CannotHold("no_answer", "the answer is empty; a model trained on it would learn to say nothing")
    messages = [
        message.model_copy(update={"content": message.content.split(CLOSE)[-1]})
        if message.role == "assistant"
        else message
        for message in sample.prompt.messages
    ]
    if any(message.role == "system" for message in messages[1:]):
        raise CannotHold("system_not_first", _roles(messages))
    if messages[-1].role != "user":
        raise CannotHold("last_turn_not_user", _roles(messages))
    return messages


def conversation(sample: Sample) -> Conversation:
    """The prompt of a sample for formats that are pairs of turns.

    Raises:
        CannotHold: as `engine_messages`, or the turns do not alternate.
    """
    messages = engine_messages(sample)
    system = messages[0].content if messages[0].role == "system" else ""
    turns = [message for message in messages if message.role != "system"]
    if any(message.role != ("user", "assistant")[index % 2] for index, message in enumerate(turns)):
        raise CannotHold("turns_do_not_alternate", _roles(messages))
    texts = [message.content for message in turns]
    return Conversation(system, tuple(zip(texts[:-1:2], texts[1::2], strict=True)), texts[-1])


def response(sample: Sample) -> str:
    """The whole assistant turn with its opening tag, in R1's spacing: what engines with their own template learn."""
    return f"{OPEN}\n{completion_text(sample.thought, sample.answer)}"


def rendered(tokenizer: Tokenizer, sample: Sample) -> tuple[str, str]:
    """(prompt, completion) as text: exactly what generation would be given and would write, EOS included.

    BOS is left to the tokenizer where it adds one itself, so that it stands once. Where the template does not open the
    thought (R1-Distill of January 2025), the completion does; where it closes an empty one, thinking is switched on.

    Raises:
        CannotHold: as `engine_messages`, or the chat template rejects the messages.
    """
    messages = engine_messages(sample)
    try:
        prompt = render_prompt(tokenizer, messages)
        if think_state(prompt) == "closed":
            prompt = render_prompt(tokenizer, messages, think="forced")
    except DataError as error:
        raise CannotHold("template_rejects", str(error)) from error
    text = completion_text(sample.thought, sample.answer) if think_state(prompt) == "open" else response(sample)
    if tokenizer.bos_token and tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id]:
        prompt = prompt.removeprefix(tokenizer.bos_token)
    return prompt, text + tokenizer.eos_token


def as_one_turn(tokenizer: Tokenizer, messages: Sequence[Message]) -> str | None:
    """Text of one user message that renders exactly like the whole conversation; None where the template allows none.

    Engines without a switch for it learn the assistant's earlier turns too, which in an attack over several turns are
    just what must not be learnt. Written into the user's turn, with the template's own marks, they are context.
    """
    system = [message for message in messages if message.role == "system"][:1]
    try:
        probe = render_prompt(tokenizer, [*system, Message(role="user", content=_PROBE)])
        whole = render_prompt(tokenizer, messages)
    except DataError:
        return None
    start, found, end = probe.rpartition(_PROBE)
    if not found or not (whole.startswith(start) and whole.endswith(end)):
        return None
    text = whole[len(start) : len(whole) - len(end)]
    again = render_prompt(tokenizer, [*system, Message(role="user", content=text)])
    return text if again == whole else None


def _roles(messages: Sequence[Message]) -> str:
    return "the roles are " + ", ".join(message.role for message in messages)
