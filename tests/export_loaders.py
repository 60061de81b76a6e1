"""How other engines read a training row, restated as facts from their sources for tests; nothing is copied.

- LLaMA-Factory ff6d4d12eeb0 (2026-08-18): src/llamafactory/data/{parser,converter,template}.py, processor/supervised.py
- MindSpeed-LLM c77308a14bfc (2026-08-21): mindspeed_llm/tasks/preprocess/{utils,data_handler,templates}.py,
  configs/finetune/templates.json
- verl 1dda039b9c63 (2026-08-22): verl/utils/dataset/multiturn_sft_dataset.py, verl/utils/tokenizer/chat_template.py
"""

from __future__ import annotations

from typing import Any, NamedTuple

IGNORED = -100
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
LLAMAFACTORY_COLUMNS = (
    *("prompt", "query", "response", "history", "messages", "system", "tools"),
    *("images", "videos", "audios", "chosen", "rejected", "kto_tag"),
)
LLAMAFACTORY_TAGS = ("role_tag", "content_tag", "user_tag", "assistant_tag", "observation_tag", "function_tag")


class Aligned(NamedTuple):
    """What both LLaMA-Factory and MindSpeed-LLM turn a row into."""

    prompt: list[dict[str, str]]
    response: list[dict[str, str]]
    system: str


class Ids(NamedTuple):
    input_ids: list[int]
    labels: list[int]

    def learnt(self) -> list[int]:
        return [token for token in self.labels if token != IGNORED]


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def llamafactory_names(info: dict[str, Any]) -> dict[str, str | None]:
    """parser.py, DatasetAttr.join: where `columns` (or `tags`) is given, what it does not name becomes None."""
    names: dict[str, str | None] = {name: info["columns"].get(name) for name in LLAMAFACTORY_COLUMNS}
    if "tags" in info:
        names |= {name: info["tags"].get(name) for name in (*LLAMAFACTORY_TAGS, "system_tag")}
    return names


def alpaca(row: dict[str, Any], names: dict[str, str | None]) -> Aligned:
    """converter.py, AlpacaDatasetConverter; MindSpeed's convert_alpaca_to_intermediate is the same for these rows:
    history pairs first, then the non-empty ones of instruction and input joined by a newline."""
    prompt = []
    if names["history"] and isinstance(row[names["history"]], list):
        for asked, replied in row[names["history"]]:
            prompt += [turn("user", asked), turn("assistant", replied)]
    parts = [row[names[key]] for key in ("prompt", "query") if names[key] and row[names[key]]]
    prompt.append(turn("user", "\n".join(parts)))
    response = row[names["response"]]
    assert isinstance(response, str)
    return Aligned(prompt, [turn("assistant", response)], row[names["system"]] if names["system"] else "")


def sharegpt(row: dict[str, Any], names: dict[str, str | None]) -> Aligned:
    """converter.py, SharegptDatasetConverter: turns must be user and assistant in alternation, an even number of them;
    a first turn with the system tag overrides the system column. Anything else is skipped there: here an error."""
    role, content = names["role_tag"], names["content_tag"]
    roles = {names["user_tag"]: "user", names["assistant_tag"]: "assistant"}
    messages, system = row[names["messages"]], row[names["system"]] if names["system"] else ""
    if names["system_tag"] and messages and messages[0][role] == names["system_tag"]:
        system, messages = messages[0][content], messages[1:]
    turns = [turn(roles[message[role]], message[content]) for message in messages]
    assert len(turns) % 2 == 0
    assert [one["role"] for one in turns] == ["user", "assistant"] * (len(turns) // 2)
    return Aligned(turns[:-1], turns[-1:], system)


def deepseek_pairs(tokenizer: Any, aligned: Aligned) -> list[tuple[list[int], list[int]]]:
    """Templates `deepseekr1` (LLaMA-Factory) and `deepseek3` (MindSpeed-LLM): BOS and the system text before the first
    user turn, `<｜User｜>…<｜Assistant｜>`, replies followed by EOS; each piece of text is tokenized alone."""

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"] if text else []
        return ids

    messages = [*aligned.prompt, *aligned.response]
    pairs = []
    for index in range(0, len(messages), 2):
        source = [tokenizer.bos_token_id, *encode(aligned.system)] if index == 0 else []
        source += encode(f"{USER}{messages[index]['content']}{ASSISTANT}")
        pairs.append((source, [*encode(messages[index + 1]["content"]), tokenizer.eos_token_id]))
    return pairs


def llamafactory_ids(tokenizer: Any, aligned: Aligned, mask_history: bool) -> Ids:
    """supervised.py with `deepseekr1`, a ReasoningTemplate: a reply without think tags gets an empty thought (in the
    loss); with `mask_history` only the last reply is learnt, and thoughts are dropped from the earlier ones."""
    messages = [*aligned.prompt, *aligned.response]
    for index in range(1, len(messages), 2):
        tagged = "<think>" in messages[index]["content"] or "</think>" in messages[index]["content"]
        is_last = index == len(messages) - 1
        assert not (mask_history and not is_last and tagged), "thoughts of earlier turns are dropped by the exporter"
        if not tagged and (is_last or not mask_history):
            messages[index] = turn("assistant", "<think>\n\n</think>\n\n" + messages[index]["content"])
    pairs = deepseek_pairs(tokenizer, Aligned(messages[:-1], messages[-1:], aligned.system))
    ids, labels = [], []
    for number, (source, target) in enumerate(pairs):
        hidden = mask_history and number < len(pairs) - 1
        ids += source + target
        labels += [IGNORED] * len(source) + ([IGNORED] * len(target) if hidden else target)
    return Ids(ids, labels)


def mindspeed_ids(tokenizer: Any, aligned: Aligned) -> Ids:
    """data_handler.py, _tokenize_prompt with `deepseek3`: the reply of every turn is learnt."""
    ids, labels = [], []
    for source, target in deepseek_pairs(tokenizer, aligned):
        ids += source + target
        labels += [IGNORED] * len(source) + target
    return Ids(ids, labels)


def verl_ids(tokenizer: Any, messages: list[dict[str, str]], template: str) -> Ids:
    """MultiTurnSFTDataset: each message rendered alone, the "system prompt" (what two user messages share, here BOS)
    cut from all but the first; of an assistant message as many tokens as the generation prompt has are masked, the rest
    is learnt. The whole must equal the conversation rendered at once, or verl stops."""

    def render(turns: list[dict[str, str]], generate: bool = False) -> list[int]:
        text = tokenizer.apply_chat_template(
            turns, chat_template=template, tokenize=False, add_generation_prompt=generate
        )
        ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    empty = [turn("user", "")]
    one, two = render(empty), render(empty * 2)
    shared = one[: len(one) - (len(two) - len(one))]
    num_generation = len(render(empty, generate=True)) - len(one)
    ids, labels = [], []
    for index, message in enumerate(messages):
        part = render([message])
        if index and message["role"] != "system":
            part = part[len(shared) :]
        masked = num_generation if message["role"] == "assistant" else len(part)
        ids += part
        labels += [IGNORED] * masked + part[masked:]
    assert ids == render(messages), "verl's sanity_check would stop here"
    return Ids(ids, labels)
