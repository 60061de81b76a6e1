"""Which column is what: the names that public data and exports of platforms use, in Chinese and English."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from safekeel.errors import UsageError, nearest

_NAMES = """
messages  messages conversations conversation dialogue dialog 对话
prompt    prompt instruction question query goal behavior behaviour request user_input forbidden_prompt problem
prompt    instructions questions prompts 问题 提示词 指令 提问 题目 用户输入 input text content
input     input inputs context contextstring
system    system system_prompt 系统提示
history   history
thought   thought reasoning reasoning_content thinking cot 思考 思考过程 思维链 推理过程
answer    response output answer completion reply outputs chosen 回答 答案 回复 content
target    target gold ground_truth gold_answer final_answer 标准答案 参考答案
category  category risk risk_type risk_category label 类别 风险类别 风险类型 标签
role      role
lang      lang language 语言 语种
id        id uid uuid prompt_id behaviorid traceid 编号
pair      pair pair_id twin
licence   licence license 许可证
"""


def _aliases() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for field, *names in (line.split() for line in _NAMES.split("\n") if line):
        found[field] = (*found.get(field, ()), *names)
    return found


ALIASES = _aliases()
"""Field -> column names, best first. Columns are given out in the order of the fields, each once: `content` is the
prompt of a file that has no other, and the answer beside `reasoning_content`."""
FIELDS = tuple(ALIASES)
RISKY_NAMES = ("goal", "behavior", "behaviour", "forbidden_prompt")
"""Prompt columns whose rows are requests to decline, as in AdvBench, JailbreakBench, HarmBench and StrongREJECT."""
_SEPARATORS = re.compile(r"[\s_\-]+")


@dataclass(frozen=True)
class Columns:
    """The column of each field that has one, and the columns that have no field."""

    of: dict[str, str]
    unused: tuple[str, ...]

    def described(self) -> str:
        """One line for the terminal and the card."""
        taken = ", ".join(f"{field} = column {name!r}" for field, name in self.of.items())
        left = f"; not used: {', '.join(self.unused)}" if self.unused else ""
        return f"{taken}{left}"


def plain(name: str) -> str:
    """A column name without case, width, blanks, `_` and `-`: `Behavior ID`, `behavior_id` and `BehaviorID` are one."""
    return _SEPARATORS.sub("", unicodedata.normalize("NFKC", name).strip().lower())


_TEXT = {plain(name) for field in ("messages", "prompt") for name in ALIASES[field]}


def knows(names: Iterable[object]) -> bool:
    """Whether one of the names is that of a prompt or conversation: these names are a header, or the keys of a row."""
    return any(isinstance(name, str) and plain(name) in _TEXT for name in names)


def find_columns(names: Iterable[str], given: Mapping[str, str], where: str) -> Columns:
    """Match the columns of a file with the fields.

    Args:
        names: the columns there are.
        given: field -> column, as the user said it; an empty column = no column for that field.

    Raises:
        UsageError: a given column does not exist, or no column is a prompt.
    """
    names = list(names)
    by_plain: dict[str, str] = {}
    for name in names:
        by_plain.setdefault(plain(name), name)
    found: dict[str, str] = {}
    for field, name in given.items():
        if not name:
            continue
        if plain(name) not in by_plain:
            raise UsageError(f"{where}: no column {name!r} for {field}.{nearest(name, names)} {_listed(names)}")
        found[field] = by_plain[plain(name)]
    for field, aliases in ALIASES.items():
        if field in given:
            continue
        taken = set(found.values())
        alias = next((by_plain[plain(a)] for a in aliases if by_plain.get(plain(a)) not in (None, *taken)), None)
        if alias is not None and not (field == "prompt" and "messages" in found):
            found[field] = alias
    if "prompt" not in found and "messages" not in found:
        if names == ["1"]:  # a table of one column without a header
            found["prompt"] = "1"
        else:
            raise UsageError(f"{where}: no column is known to be the prompt. {_listed(names)} Say it: ?prompt=NAME.")
    inner = tuple(f"{name}." for name in found.values())
    unused = tuple(name for name in names if name not in found.values() and not name.startswith(inner))
    return Columns({field: found[field] for field in FIELDS if field in found}, unused)


def _listed(names: list[str]) -> str:
    return f"Columns: {', '.join(names[:30])}." if names else "There are no columns."
