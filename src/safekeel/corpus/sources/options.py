"""How a user names a file of their own: a path, and behind a question mark what the file itself does not say.

    goals.csv?role=risky&lang=en                          values for every row
    log.jsonl?prompt=用户问题&answer=模型回复&role=general      which column is what
    rows.jsonl?category=@风险&role=@kind                    @ = the value stands in that column
    dump.zip?format=jsonl&encoding=gb18030&name=tickets    how to read it, what to call it

`role`, `lang`, `category` and `licence` take a value, or a column after `@`; all other fields (`prompt`, `answer`,
`thought`, `messages`, `target` …) a column. `category=none` ignores the column. A file whose name holds a question
mark is found as well. In a shell, quote the whole: '&' and '?' mean something there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast
from urllib.parse import unquote

from safekeel.corpus.sample import ROLES, Role
from safekeel.corpus.sources.columns import FIELDS
from safekeel.corpus.sources.streams import FORMATS, Format
from safekeel.errors import UsageError, nearest
from safekeel.records import Lang
from safekeel.taxonomy import Taxonomy

VALUES = ("role", "lang", "category", "licence")
"""Options that are a value for every row unless they begin with `@`."""
READING = ("format", "encoding", "header", "key", "name")
COLUMN, NONE = "@", "none"
OWN_LICENCE = "own data (no licence stated)"
LANGS: tuple[Lang, ...] = ("zh", "en")


@dataclass(frozen=True)
class FileSpec:
    """One file and its options, checked."""

    path: Path
    name: str
    role: Role | None = None
    lang: Lang | None = None
    category: str | None = None
    licence: str = OWN_LICENCE
    format: Format | None = None
    encoding: str | None = None
    header: bool | None = None
    key: str | None = None
    columns: dict[str, str] = field(default_factory=dict)
    """Field -> column; an empty one = the field has none."""


def parse_spec(spec: str, defaults: Mapping[str, str], taxonomy: Taxonomy) -> FileSpec:
    """The file that a string names; its own options win over `defaults`.

    Raises:
        UsageError: an unknown option (the nearest is offered) or a value that is none of its own.
    """
    path, options = _divided(spec)
    merged = {**defaults, **options}
    known = [*VALUES, *READING, *(name for name in FIELDS if name not in VALUES)]
    for name in merged:
        if name not in known:
            raise UsageError(
                f"{spec}: unknown option {name!r}.{nearest(name, known)} Known: {', '.join(known)}. "
                "Options are written ?role=risky&prompt=COLUMN."
            )
    columns = {name: merged[name] for name in FIELDS if name in merged and name not in VALUES}
    values = {}
    for name in VALUES:
        value = merged.get(name, "")
        if value.startswith(COLUMN):
            columns[name] = value.removeprefix(COLUMN)
        elif value:
            values[name] = value
            columns[name] = ""
    return FileSpec(
        path=path,
        name=merged.get("name") or f"file:{path.name}",
        role=cast("Role | None", _one_of(spec, "role", values.get("role"), ROLES)),
        lang=cast("Lang | None", _one_of(spec, "lang", values.get("lang"), LANGS)),
        category=_category(values.get("category"), taxonomy),
        licence=values.get("licence", OWN_LICENCE),
        format=cast("Format | None", _one_of(spec, "format", merged.get("format"), sorted(set(FORMATS.values())))),
        encoding=merged.get("encoding"),
        header={None: None, "yes": True, "no": False}[_one_of(spec, "header", merged.get("header"), ("yes", "no"))],
        key=merged.get("key"),
        columns=columns,
    )


def _divided(spec: str) -> tuple[Path, dict[str, str]]:
    whole = Path(spec).expanduser()
    name, mark, text = spec.partition("?")
    if not mark or whole.exists():
        return whole, {}
    options: dict[str, str] = {}
    for piece in filter(None, text.split("&")):
        key, equals, value = piece.partition("=")
        if not equals or not value:
            raise UsageError(f"{spec}: the option {piece!r} has no value; expected NAME=VALUE, such as role=risky.")
        options[unquote(key).strip()] = unquote(value).strip()
    return Path(name).expanduser(), options


def _category(value: str | None, taxonomy: Taxonomy) -> str | None:
    return None if value is None or value == NONE else taxonomy.category(value).id


def _one_of(spec: str, option: str, value: str | None, known: tuple[str, ...] | list[str]) -> str | None:
    if value is not None and value not in known:
        raise UsageError(f"{spec}: {option}={value}, expected one of {', '.join(known)}.{nearest(value, known)}")
    return value
