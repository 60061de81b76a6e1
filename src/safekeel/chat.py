"""The one border between text and tokens: chat templates, thinking modes, and the split of thought and answer.

A reasoning model's prompt ends in one of three ways, and every function here handles all of them:

    <｜Assistant｜>                     absent   the model opens its thought itself     R1-Distill, January 2025
    <｜Assistant｜><think>\\n           open     the completion starts inside it        R1-Distill since, R1-0528, QwQ
    <｜Assistant｜><think>…</think>     closed   the completion can only be an answer   thinking switched off

Training and generation share `render_prompt`: R1's template deletes everything up to `</think>` from assistant turns,
so a training sample rendered as a conversation would lose its reasoning. A sample is `training_text`: the generation
prompt, then what the model shall write after it (`train/text.py` has its tokens).

A conversation that ends with the assistant is a prefill: the model goes on from there (`generation_prompt`).

Other modules take `split_completion` (of `think_split`) and `load_tokenizer` (of `tokenizer_loading`) from here too;
only the latter imports transformers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from safekeel.errors import DataError, shown
from safekeel.records import Message
from safekeel.think_split import CLOSE, OPEN
from safekeel.think_split import Split as Split
from safekeel.think_split import split_completion as split_completion
from safekeel.tokenizer_loading import NEXT_TURN as NEXT_TURN
from safekeel.tokenizer_loading import Tokenizer as Tokenizer
from safekeel.tokenizer_loading import check_round_trip as check_round_trip
from safekeel.tokenizer_loading import give_plain_template as give_plain_template
from safekeel.tokenizer_loading import load_tokenizer as load_tokenizer

ThinkMode = Literal["default", "none", "forced"]
ThinkState = Literal["absent", "open", "closed"]

EMPTY_THOUGHT = f"{OPEN}\n\n{CLOSE}\n\n"
_CLOSED_THOUGHT = re.compile(r"(?:<think>\s*)?</think>\s*\Z")
_EMPTY_PREFILL = re.compile(r"\s*<think>\s*</think>\s*")


class GenerationPrompt(NamedTuple):
    """What a model is given, and what its completion is split by: `split_completion(said + completion, finish,
    state == "open", answer_only=state == "closed")`."""

    text: str
    """All of it, `said` included."""
    state: ThinkState
    """How the prompt ends before `said`."""
    said: str = ""
    """A prefill: the beginning of the model's own turn, which counts as part of what it said."""


def generation_prompt(
    tokenizer: Tokenizer, messages: Sequence[Message], think: ThinkMode = "default"
) -> GenerationPrompt:
    """The generation prompt by the tokenizer's own template, continued by the prefill if the last message is the
    assistant's (vLLM's `continue_final_message`; its template would delete R1's thought, so none renders it here).

    Raises:
        DataError: the tokenizer has no chat template, the template rejects the messages, or there is no user or system
            message at the end (before the prefill).
    """
    content = prefill(messages)
    if content is None or reads_conversations(tokenizer):
        ending = _with_thought(_rendered(tokenizer, messages), think)
        return GenerationPrompt(ending, think_state(ending))
    return continued(_rendered(tokenizer, messages[:-1]), think, content)


def render_prompt(
    tokenizer: Tokenizer, messages: Sequence[Message], think: ThinkMode = "default", prefix: str = ""
) -> str:
    """The text of `generation_prompt`.

    Args:
        think: `default` leaves the template's ending, `none` ends with a closed empty thought, `forced` with an open
            one. A prefill that has a tag of its own decides for itself.
        prefix: text the assistant turn is made to start with (a prefilling attack); split it with the completion.

    Raises:
        DataError: as `generation_prompt`.
    """
    return generation_prompt(tokenizer, messages, think).text + prefix


def prefill(messages: Sequence[Message]) -> str | None:
    """The beginning of the model's own turn, where the conversation ends with one."""
    return messages[-1].content if messages and messages[-1].role == "assistant" else None


def continued(ending: str, think: ThinkMode, content: str) -> GenerationPrompt:
    """A rendered prompt with a prefill behind it.

    A prefill that begins with a thought, open or empty, replaces the template's ending, so that no tag stands twice and
    an empty thought has the form the template's model knows. Any other text goes where the ending leaves it: into a
    thought that is open.
    """
    if empty := _EMPTY_PREFILL.match(content):
        ending, content = _with_thought(ending, "none"), content[empty.end() :]
    elif content.lstrip().startswith(OPEN):
        ending, content = _with_thought(ending, "forced"), content.lstrip().removeprefix(OPEN).lstrip("\n")
    else:
        ending = _with_thought(ending, think)
    return GenerationPrompt(ending + content, think_state(ending), content)


def _rendered(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    if not messages or (messages[-1].role == "assistant" and not reads_conversations(tokenizer)):
        raise DataError(
            "A prompt must end with a user or system message, and a prefill is one assistant message after it."
        )
    _require_template(tokenizer)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # jinja2 has no common base for what a template may raise
        roles = ", ".join(message.role for message in messages)
        raise DataError(
            f"The chat template rejects the roles {roles} ({type(error).__name__}: {error}); change the messages."
        ) from error
    return text


def reads_conversations(tokenizer: Tokenizer) -> bool:
    """Whether a template puts a whole conversation into one task, as those of Qwen3Guard-Gen and Llama Guard 3 and 4
    do: all of them list the categories under this line."""
    return "BEGIN UNSAFE CONTENT CATEGORIES" in str(getattr(tokenizer, "chat_template", None))


def think_state(rendered: str) -> ThinkState:
    """How a rendered prompt without prefill ends. Tags in the messages do not count: the assistant marker follows."""
    if rendered.rstrip().endswith(OPEN):
        return "open"
    return "closed" if _CLOSED_THOUGHT.search(rendered) else "absent"


def _with_thought(text: str, think: ThinkMode) -> str:
    state = think_state(text)
    if think == "none" and state != "closed":  # a template's own closed form is what its model was trained on
        text = (text.rstrip().removesuffix(OPEN) if state == "open" else text) + EMPTY_THOUGHT
    elif think == "forced":
        text = text.rstrip().removesuffix(OPEN) if state == "open" else _CLOSED_THOUGHT.sub("", text)
        text += f"{OPEN}\n"
    return text


def _require_template(tokenizer: Tokenizer) -> None:
    if not getattr(tokenizer, "chat_template", None):
        name = shown(getattr(tokenizer, "name_or_path", ""))
        raise DataError(
            f"The tokenizer {name} has no chat template; save one with it (chat_template.jinja), such as "
            "safekeel/data/templates/deepseek_r1_distill_qwen.jinja."
        )


def can_think(tokenizer: Tokenizer) -> bool:
    """Whether the model behind a tokenizer uses think tags: they are among its added tokens or in its template."""
    _require_template(tokenizer)
    return CLOSE in tokenizer.get_added_vocab() or CLOSE in str(tokenizer.chat_template)


def prompt_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Token ids of a rendered prompt. BOS stands exactly once where the template or the tokenizer puts one."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    bos = tokenizer.bos_token_id
    if bos is None:
        return ids
    start = next((index for index, token in enumerate(ids) if token != bos), len(ids))
    adds_bos = start > 0 or tokenizer("")["input_ids"][:1] == [bos]
    return [bos, *ids[start:]] if adds_bos else ids


def completion_text(thought: str, answer: str) -> str:
    """What a model writes after an open thought, in R1's spacing."""
    return f"{thought}\n{CLOSE}\n\n{answer}"


def completion_ids(tokenizer: Tokenizer, thought: str, answer: str) -> list[int]:
    """Token ids of a training completion: thought, `</think>`, answer, EOS. Tokenized apart from the prompt, as in
    generation, where the prompt's tokens are fixed before the first new one.

    Raises:
        DataError: the tokenizer has no EOS token, so a model could never learn to stop.
    """
    if tokenizer.eos_token_id is None:
        raise DataError("The tokenizer has no EOS token; set eos_token in its tokenizer_config.json.")
    ids: list[int] = tokenizer(completion_text(thought, answer), add_special_tokens=False)["input_ids"]
    return [*ids, tokenizer.eos_token_id]


def check_question(messages: Sequence[Message]) -> None:
    """Refuse a prompt of a training sample that ends with the assistant.

    Raises:
        DataError: it does.
    """
    if prefill(messages) is not None:
        raise DataError("A training prompt must end with a user or system message: what follows it is to be learnt.")


def thinking_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    """The generation prompt under which a thought can be learnt: the template's own ending where it opens a thought or
    leaves that to the model, and thinking switched on (`forced`) where the template closes an empty thought.

    Raises:
        DataError: as `generation_prompt`, or the conversation ends with the assistant.
    """
    check_question(messages)
    text = render_prompt(tokenizer, messages)
    return render_prompt(tokenizer, messages, "forced") if think_state(text) == "closed" else text


def training_text(tokenizer: Tokenizer, messages: Sequence[Message], thought: str, answer: str) -> tuple[str, str]:
    """(prompt, completion) of a training sample as text, without EOS: what generation would be given and would write.

    Where the template does not open the thought (`absent`), the completion does, with R1's `<think>` and newline; else
    a thought would be learnt straight after `<｜Assistant｜>`, where no splitter ever finds it.

    Raises:
        DataError: as `thinking_prompt`.
    """
    prompt = thinking_prompt(tokenizer, messages)
    opening = "" if think_state(prompt) == "open" else f"{OPEN}\n"
    return prompt, opening + completion_text(thought, answer)
