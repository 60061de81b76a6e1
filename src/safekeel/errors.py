"""Every error a user can meet, and the wording helpers they share.

    SafeKeelError                   70   never raised itself
    ├── UsageError                   2   the command line or a name in it is wrong
    │   ├── ConfigError              2   a recipe, an override or a configuration value is wrong
    │   └── RunLockedError           2   another process works in the run folder
    ├── DataError                    3   a file is missing, malformed, or not what a stage wrote
    │   └── NoLocalCopyError         3   public data that is not in the data folder
    └── EngineError                  4   a model or an endpoint cannot be used

The number is the exit code of the command. `gate` also ends with 1 (NO-GO) and 5 (INCONCLUSIVE), and an interrupted
command with 130; these are results, not exceptions. A message says what came, what was expected, and what to do next.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

from pydantic import ValidationError

MAX_SHOWN = 80  # characters of a received value in a message; model text may be long and hazardous
MAX_ROW_PROBLEMS = 3
"""Of one row: a file of another kind has a problem with every name, and the first ones say so."""
_WORD = re.compile(r"[A-Za-z0-9_.:/-]{1,24}")
"""What may be shown of a row: a name, a label, a code; never a sentence."""

_EXPECTED = {
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "a string",
    "string_too_short": "at least {min_length} character(s)",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a table of names and values",
    "model_type": "a table of names and values",
    "path_type": "a path",
    "too_short": "at least {min_length} item(s)",
    "too_long": "at most {max_length} item(s)",
    "literal_error": "one of {expected}",
    "enum": "one of {expected}",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number less than {lt}",
    "less_than_equal": "a number of at most {le}",
}


class SafeKeelError(Exception):
    """Base of all errors shown to a user as a sentence; `exit_code` is what the command then returns."""

    exit_code: ClassVar[int] = 70


class UsageError(SafeKeelError):
    """A wrong option, name or combination on the command line."""

    exit_code = 2


class ConfigError(UsageError):
    """A wrong recipe, override or configuration value."""


class RunLockedError(UsageError):
    """Another process works in the run folder."""


class DataError(SafeKeelError):
    """A file that is missing, malformed, or not what its manifest says."""

    exit_code = 3


class NoLocalCopyError(DataError):
    """Public data that is not in the data folder; says how to get it."""


class EngineError(SafeKeelError):
    """A model or an endpoint that cannot be loaded, reached or trusted."""

    exit_code = 4


def shown(value: object) -> str:
    """A received value as it may appear in a message: quoted if a string, and cut to `MAX_SHOWN` characters."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text)} characters)"


def nearest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?` with the known name closest to `name`, or an empty string when none is close."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f" Did you mean {by_lower[found[0]]!r}?" if found else ""


def described(value: object) -> str:
    """A received value as it may appear in a message about a row: numbers and single words as they are, of text only
    its kind and length. Rows hold harmful requests and what models answer to them, and messages end up in terminals,
    logs and bug reports."""
    if isinstance(value, str):
        return repr(value) if _WORD.fullmatch(value) else f"a text of {len(value)} characters"
    if isinstance(value, Mapping):
        return f"an object with {len(value)} names"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)} items"
    return shown(value)


def explain(error: ValidationError, known: Iterable[str] = (), where: str = "") -> str:
    """A pydantic error in plain words, one problem per line.

    Args:
        known: names allowed where an unknown one was found, to offer the nearest.
        where: prefix of the path, such as the section of a recipe.
    """
    known = list(known)
    return "\n".join(_problem(detail, known, where, shown) for detail in error.errors(include_url=False))


def explain_row(error: ValidationError, known: Iterable[str] = ()) -> str:
    """A pydantic error of a row of a data file, in one line: the first few problems, and none of the row's text
    (`described`)."""
    known, details = list(known), error.errors(include_url=False)
    named = [{**detail, "loc": [_name(part) for part in detail["loc"]]} for detail in details]
    # The names that are known are said once: where several are wrong, it is another kind of row.
    problems = [
        _problem(detail, [] if place else known, "", described)
        for place, detail in enumerate(sorted(named, key=lambda detail: detail["type"] != "extra_forbidden"))
    ]
    more = len(problems) - MAX_ROW_PROBLEMS
    return " ".join([*problems[:MAX_ROW_PROBLEMS], *([f"And {more} more."] if more > 0 else [])])


def _name(part: int | str) -> str:
    """A place in a row: an index, a name, or of a name that is a text (rows keyed by their prompt) its length."""
    text = str(part)
    return text if isinstance(part, int) or _WORD.fullmatch(text) else f"a name of {len(text)} characters"


def _problem(detail: Mapping[str, Any], known: list[str], where: str, show: Callable[[object], str]) -> str:
    path = ".".join([*([where] if where else []), *map(str, detail["loc"])]) or "the row"
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        hint = nearest(str(detail["loc"][-1]), known) if len(detail["loc"]) == 1 else ""
        names = f" Known here: {', '.join(known)}." if known and len(detail["loc"]) == 1 else ""
        return f"{path}: unknown name.{hint}{names}"
    if kind == "missing":
        return f"{path}: missing; a value is required."
    if kind == "value_error":  # raised by our own validators, whose text already says what was expected
        return f"{path}: {detail['msg'].removeprefix('Value error, ')}"
    expected = _EXPECTED.get(kind)
    if expected is None:
        return f"{path}: got {show(detail['input'])}: {detail['msg']}."
    return f"{path}: got {show(detail['input'])}, expected {expected.format(**context)}."
