"""One row as a file has it: values by column name, and its place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from safekeel.corpus.sample import Rejected
from safekeel.corpus.sources.base import STEP


@dataclass(frozen=True)
class RawRow:
    """Values by column; `where` is `file:line`."""

    values: dict[str, Any]
    where: str


def rejected_row(where: str, reason: str, evidence: str) -> Rejected:
    """A row that could not be read."""
    return Rejected(where=where, step=STEP, reason=reason, evidence=evidence)


def flattened(values: dict[str, Any]) -> dict[str, Any]:
    """The values, and those of objects inside them under dotted names: `ext.category`. An object may also be written
    as JSON inside a string, as S-Eval's `ext` is; the string itself stays, for a prompt may be about JSON."""
    found = dict(values)
    for name, value in values.items():
        inner = _json_in_string(value) if isinstance(value, str) else value
        if isinstance(inner, dict):
            found |= {f"{name}.{key}": item for key, item in inner.items() if f"{name}.{key}" not in values}
    return found


def _json_in_string(text: str) -> Any:
    text = text.strip()
    if not (text.startswith("{") and text.endswith("}")):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
