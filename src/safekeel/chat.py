"""The one border between text and tokens: chat templates, thinking modes, and the split of thought and answer.

A reasoning model's prompt ends in one of three ways, and every function here handles all of them:

    <｜Assistant｜>                     absent   the model opens its thought itself     R1-Distill, January 2025
    <｜Assistant｜><think>\\n           open     the completion starts inside it        R1-Distill since, R1-0528, QwQ
    <｜Assistant｜><think>…</think>     closed   the completion can only be an answer   thinking switched off

Training and generation share `render_prompt`: R1's template deletes everything up to `</think>` from assistant turns,
so a training sample rendered as a conversation would lose its reasoning. A sample is `training_text`: the generation
prompt, then what the model shall write after it (`train/text.py` has its tokens).

Only `load_tokenizer` imports transformers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, NamedTuple

from safekeel.errors import DataError, EngineError, shown
from safekeel.records import Message, SplitStatus

ThinkMode = Literal["default", "none", "forced"]
ThinkState = Literal["absent", "open", "closed"]
Tokenizer = Any
"""A transformers tokenizer."""

OPEN, CLOSE = "<think>", "</think>"
EMPTY_THOUGHT = f"{OPEN}\n\n{CLOSE}\n\n"
_CLOSED_THOUGHT = re.compile(r"(?:<think>\s*)?</think>\s*\Z")
_ROUND_TRIP_SAMPLE = "He said: 3 + 4 = 7,  x_1.\n\n安全是第一位的，不能 ignore 123 4567。\n</think>\n\n答案是 B"

# A quoted tag is a mention. Quotation marks without a tag are consumed in pairs, so that the closing mark of one
# quotation is never taken for the opening mark of the next.
_TAG = (
    r'`[^`\n]*`|"[^"<\n]*"|"<think>[^"\n]*</think>"|"</?think>"|\'</?think>\'|“</?think>”|‘</?think>’|「</?think>」'
    r"|『</?think>』|(?P<open><think>)|(?P<close></think>)"
)
_IN_THOUGHT = re.compile(_TAG)
_IN_ANSWER = re.compile(rf"```.*?```|{_TAG}", re.DOTALL)  # answers hold code blocks; thoughts leave theirs unfinished


class Split(NamedTuple):
    """Thought, answer and how they were told apart (`records.Completion`); both are stripped of outer whitespace."""

    thought: str | None
    """None = no think tag at all."""
    answer: str
    """All the text outside think blocks, that is everything a user would be shown; empty when truncated."""
    status: SplitStatus


def render_prompt(
    tokenizer: Tokenizer, messages: Sequence[Message], think: ThinkMode = "default", prefix: str = ""
) -> str:
    """The generation prompt as text, by the tokenizer's own template.

    Args:
        think: `default` leaves the template's ending, `none` ends with a closed empty thought, `forced` with an open
            one.
        prefix: text the assistant turn is made to start with (a prefilling attack); split it with the completion.

    Raises:
        DataError: the tokenizer has no chat template, the template rejects the messages, or the last one is the
            assistant's (a guard's template reads such a conversation as data, so there it is right).
    """
    if not messages or (messages[-1].role == "assistant" and not reads_conversations(tokenizer)):
        raise DataError("A prompt must end with a user or system message; put text to continue in `prefix`.")
    _require_template(tokenizer)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text: str = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # jinja2 has no common base for what a template may raise
        roles = ", ".join(message.role for message in messages)
        raise DataError(
            f"The chat template rejects the roles {roles} ({type(error).__name__}: {error}); change the messages."
        ) from error
    return _with_thought(text, think) + prefix


def reads_conversations(tokenizer: Tokenizer) -> bool:
    """Whether a template puts a whole conversation into one task, as those of Qwen3Guard-Gen and Llama Guard 3 and 4
    do: all of them list the categories under this line."""
    return "BEGIN UNSAFE CONTENT CATEGORIES" in str(getattr(tokenizer, "chat_template", None))


def think_state(rendered: str) -> ThinkState:
    """How a rendered prompt without prefix ends. Tags in the messages do not count: the assistant marker follows."""
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


def thinking_prompt(tokenizer: Tokenizer, messages: Sequence[Message]) -> str:
    """The generation prompt under which a thought can be learnt: the template's own ending where it opens a thought or
    leaves that to the model, and thinking switched on (`forced`) where the template closes an empty thought.

    Raises:
        DataError: as `render_prompt`.
    """
    text = render_prompt(tokenizer, messages)
    return render_prompt(tokenizer, messages, "forced") if think_state(text) == "closed" else text


def training_text(tokenizer: Tokenizer, messages: Sequence[Message], thought: str, answer: str) -> tuple[str, str]:
    """(prompt, completion) of a training sample as text, without EOS: what generation would be given and would write.

    Where the template does not open the thought (`absent`), the completion does, with R1's `<think>` and newline; else
    a thought would be learnt straight after `<｜Assistant｜>`, where no splitter ever finds it.

    Raises:
        DataError: as `render_prompt`.
    """
    prompt = thinking_prompt(tokenizer, messages)
    opening = "" if think_state(prompt) == "open" else f"{OPEN}\n"
    return prompt, opening + completion_text(thought, answer)


def split_completion(text: str, finish: str, prefilled_think: bool, answer_only: bool = False) -> Split:
    """Tell thought and answer apart; nothing is lost, and no unfinished thought is ever an answer.

    The first `</think>` closes a thought, since that is where a server starts to show text to the user; a later one
    without an opening tag is a mention. A quoted tag is a mention everywhere.

    Args:
        finish: `stop` when the model ended by itself; without any tag, a cut-off text may be all thought.
        prefilled_think: the prompt ended inside a thought (`think_state` is `open`).
        answer_only: the prompt closed the thought, or the model has none: text without an opening tag is answer.
    """
    if prefilled_think and text.lstrip().startswith(OPEN):  # the model repeats the tag it was given
        text = text.lstrip().removeprefix(OPEN)
    thoughts, visible, inside, opened_here = _blocks(text, prefilled_think, answer_only)
    untagged_and_cut = not thoughts and not answer_only and finish != "stop"
    if inside or untagged_and_cut:
        return Split(text.strip().removeprefix(OPEN).strip(), "", "truncated")
    thought, answer = _joined(thoughts) if thoughts else None, _joined(visible)
    if not answer:
        return Split(thought, "", "empty_answer")
    if thought is None:
        return Split(None, answer, "none")
    if len(thoughts) > 1:
        return Split(thought, answer, "multiple")
    return Split(thought, answer, "closed" if opened_here else "prefilled")


def _blocks(text: str, inside: bool, answer_only: bool) -> tuple[list[str], list[str], bool, bool]:
    """(thoughts, texts outside them, whether the last thought is open, whether an opening tag was met)."""
    thoughts: list[str] = []
    visible: list[str] = []
    opened_here, start, position = False, 0, 0
    while match := (_IN_THOUGHT if inside else _IN_ANSWER).search(text, position):
        position = match.end()
        if match["open"] and not inside:
            visible.append(text[start : match.start()])
            inside = opened_here = True
        elif match["close"] and (inside or not (thoughts or answer_only)):
            thoughts.append(text[start : match.start()])
            inside = False
        else:
            continue
        start = position
    (thoughts if inside else visible).append(text[start:])
    return thoughts, visible, inside, opened_here


def _joined(parts: list[str]) -> str:
    return "\n".join(stripped for part in parts if (stripped := part.strip()))


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer in a model folder, checked.

    transformers 5 (5.17 included) loads some byte-level tokenizers as `LlamaTokenizer`, with SentencePiece's
    pre-tokenizer: R1's and R1-Distill-Llama's lose every space, at no error (huggingface/transformers issue 45488).
    Read without its class, `tokenizer.json` is right.

    Raises:
        EngineError: no way of loading it returns its own input.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    try:
        check_round_trip(tokenizer)
    except EngineError:
        if not (folder / "tokenizer.json").is_file():
            raise
        tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
        check_round_trip(tokenizer)
    return tokenizer


NEXT_TURN = "\n\nUser:"
"""Where a base model under the plain template begins to write the user's next turn: its answer ended before."""


def give_plain_template(tokenizer: Tokenizer) -> bool:
    """Give a tokenizer without a chat template the plain dialogue of `data/templates/plain.jinja`, so that a base model
    can be asked at all. True where it had none."""
    if getattr(tokenizer, "chat_template", None):
        return False
    tokenizer.chat_template = (resources.files("safekeel.data") / "templates/plain.jinja").read_text("utf-8")
    return True


def check_round_trip(tokenizer: Tokenizer) -> None:
    """Encode and decode a bilingual sample.

    Raises:
        EngineError: the text does not come back as it was.
    """
    ids = tokenizer(_ROUND_TRIP_SAMPLE, add_special_tokens=False)["input_ids"]
    text = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    if text != _ROUND_TRIP_SAMPLE:
        raise EngineError(
            f"The tokenizer does not return its own input: expected {_ROUND_TRIP_SAMPLE!r}, got {text!r}. Every result "
            "would be wrong; load it with `safekeel.chat.load_tokenizer` or repair its tokenizer.json."
        )
