"""Cutting a request into parts that a snippet of code puts together again; shared by the families of mode code."""

from __future__ import annotations

import json
import re

PARTS = 6
"""At most: enough that no part of a short request means anything, few enough that a reader can follow."""
_STRING = r'"(?:[^"\\]|\\.)*"'
_NAMED = re.compile(rf"(\w+)\s*[=:]\s*({_STRING})", re.DOTALL)


def chunks(text: str) -> list[str]:
    """1 to `PARTS` parts of nearly equal length that joined give the text; words are cut through."""
    size = max(1, -(-len(text) // PARTS))
    return [text[start : start + size] for start in range(0, len(text), size)] or [""]


def quoted(part: str) -> str:
    """A string literal that is right in Python, JavaScript and JSON alike."""
    return json.dumps(part, ensure_ascii=False)


def joined(code: str, marker: str) -> str:
    """The text that the code puts together: parts written `NAME = "…"` or `NAME: "…"`, and after `marker` the names in
    their order.

    Raises:
        ValueError: no such marker, or a name without its part.
    """
    parts, found, order = code.rpartition(marker)
    if not found:
        raise ValueError(f"expected code with {marker!r}.")
    named = {name: json.loads(literal) for name, literal in _NAMED.findall(parts)}
    try:
        return "".join(named[name] for name in re.findall(r"\w+", order))
    except KeyError as error:
        raise ValueError(f"the code has no part named {error}.") from error
