"""Source: a file of the user's own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any

from safekeel.corpus.sample import ROLES, Rejected, Role, Sample
from safekeel.corpus.sources.base import Row, SourceBase
from safekeel.corpus.sources.categories import Categories, UnknownCategory
from safekeel.corpus.sources.columns import RISKY_NAMES, Columns, find_columns, plain
from safekeel.corpus.sources.conversations import BrokenConversation, read_conversation, read_history
from safekeel.corpus.sources.language import guess_lang, named_lang
from safekeel.corpus.sources.licences import check_own_file
from safekeel.corpus.sources.options import FileSpec, parse_spec
from safekeel.corpus.sources.raw import RawRow, flattened, rejected_row
from safekeel.corpus.sources.reading import Reading, read_rows
from safekeel.corpus.sources.responses import SOURCE_STYLE, UnfinishedThought, split_response
from safekeel.corpus.sources.streams import parts_of
from safekeel.errors import DataError, UsageError, nearest, shown
from safekeel.records import Expect, Message, Prompt
from safekeel.taxonomy import Taxonomy

HEAD_ROWS = 200
"""Rows whose names are looked at to find the columns; rows of JSON need not all have the same."""
MAX_BROKEN = 0.5
"""Share of broken rows from which the file is not what the user thinks it is."""
BROKEN = ("broken_line", "broken_row", "row_too_long", "nul_character", "missing_prompt", "broken_conversation")
EXPECTED: dict[Role, Expect] = {"risky": "refuse", "counter": "answer", "replay": "answer", "general": "answer"}


class _Unusable(ValueError):
    """A row that is no sample; `reason` is for `Rejected`."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(evidence)
        self.reason = reason


class FileSource(SourceBase):
    """Rows of one file as samples. What was found out about it is in `notes` after the first row."""

    def __init__(
        self,
        spec: str,
        taxonomy: Taxonomy,
        defaults: Mapping[str, str] | None = None,
        *,
        allow_licence: Sequence[str] = (),
        allow_benchmarks: Sequence[str] = (),
    ) -> None:
        """Check the name and its options, and that it is no benchmark's file; no row is read yet.

        Raises:
            UsageError: an unknown option or value, or the file of a set that was not allowed.
            DataError: no such file.
        """
        self.spec: FileSpec = parse_spec(spec, defaults or {}, taxonomy)
        super().__init__(self.spec.name, self.spec.licence, files=[self.spec.path])
        self._categories = Categories(taxonomy)
        self._risky_by_name = False
        parts_of(self.spec.path, self.spec.format)
        self.warnings += check_own_file(self.spec.path, allow_licence, allow_benchmarks)

    def rows(self) -> Iterator[Row]:
        """See `Source.rows`.

        Raises:
            UsageError: no column is the prompt, or the rows do not say their role.
            DataError: the file cannot be read, or more than half of it is broken.
        """
        spec, counts, first = self.spec, Counter[str](), ""
        named = frozenset(plain(name) for name in spec.columns.values() if name)
        reading = Reading(spec.format, spec.encoding, spec.header, named, spec.key)
        found = read_rows(spec.path, reading)
        head = list(islice(found, HEAD_ROWS))
        columns = self._columns(head)
        self.notes += [*reading.notes, *([columns.described()] if columns else [])]
        for row in chain(head, found):
            outcome = row if isinstance(row, Rejected) or columns is None else self._outcome(row, columns)
            if isinstance(outcome, Rejected):
                counts["broken" if outcome.reason in BROKEN else "other"] += 1
                first = first or f"{outcome.where}: {outcome.evidence}"
            else:
                counts["kept"] += 1
            assert not isinstance(outcome, RawRow)
            yield outcome
        if counts["broken"] > MAX_BROKEN * counts.total():
            raise DataError(
                f"{spec.path}: {counts['broken']} of {counts.total()} rows are broken, expected at most half. The "
                f"first: {first}. Correct the file, or say what it is (?format=, ?header=, ?prompt=)."
            )

    def _columns(self, head: list[RawRow | Rejected]) -> Columns | None:
        """The columns of the first rows; None where none of them could be read."""
        rows = [row for row in head if isinstance(row, RawRow)]
        if not rows:
            return None
        names = list(dict.fromkeys(name for row in rows for name in flattened(row.values)))
        columns = find_columns(names, self.spec.columns, str(self.spec.path))
        # Some names of a prompt column are only used for requests to decline; elsewhere a category means a risk.
        self._risky_by_name = plain(columns.of.get("prompt", "")) in RISKY_NAMES
        by_category = "category" in columns.of or self.spec.category is not None
        if self.spec.role is None and "role" not in columns.of and not (self._risky_by_name or by_category):
            raise UsageError(
                f"{self.spec.path}: nothing says whether its rows are to be declined or answered; add "
                "?role=risky, counter, replay or general, or a column `role` with these values."
            )
        return columns

    def _outcome(self, row: RawRow, columns: Columns) -> Row:
        values = flattened(row.values)
        cells = {field: values.get(name) for field, name in columns.of.items()}
        try:
            return self._sample(row.where, cells)
        except (_Unusable, BrokenConversation) as error:
            return rejected_row(row.where, error.reason, str(error))
        except UnknownCategory as error:
            return rejected_row(row.where, "unknown_category", f"{error} Or ignore the column: ?category=none.")
        except UnfinishedThought as error:
            return rejected_row(row.where, "unfinished_thought", str(error))

    def _sample(self, where: str, cells: dict[str, Any]) -> Sample:
        messages, reply = _messages(cells)
        category = self.spec.category or self._categories.find(cells.get("category"))
        role = self._role(cells, category)
        answer = reply or _text(cells, "answer")
        target = (_text(cells, "target") or _gold(answer)) if role == "replay" else ""
        thought, answer = split_response(answer, _text(cells, "thought"))
        number = where.removeprefix(str(self.spec.path)).lstrip(":!")
        identifier = f"{self.name}/{_text(cells, 'id') or number}"
        pair = _text(cells, "pair")
        text = messages[-1].content
        prompt = Prompt(
            id=identifier,
            messages=tuple(messages),
            lang=self.spec.lang or _lang(_text(cells, "lang"), text),
            risk=category if role == "risky" else None,
            expect="solve" if target else EXPECTED[role],
            target=target or None,
            source=self.name,
            licence=_text(cells, "licence") or self.licence,
            meta={"where": where, "cluster": identifier} | ({"category": category} if category else {}),
        )
        return Sample(
            id=identifier,
            role=role,
            prompt=prompt,
            thought=thought,
            answer=answer,
            pair=f"{self.name}/{pair}" if pair else None,
            made_by=self.name if answer else "",
            style=SOURCE_STYLE if answer else "",
        )

    def _role(self, cells: dict[str, Any], category: str | None) -> Role:
        if self.spec.role is not None:
            return self.spec.role
        if "role" not in cells:
            if category is None and not self._risky_by_name:
                raise _Unusable("unknown_role", "neither a role nor a category; say ?role=… for rows without one")
            return "risky"
        value = _text(cells, "role").lower()
        for role in ROLES:
            if role == value:
                return role
        evidence = f"the role is {shown(value)}, expected one of {', '.join(ROLES)}.{nearest(value, ROLES)}"
        raise _Unusable("unknown_role", evidence)


def _messages(cells: dict[str, Any]) -> tuple[list[Message], str]:
    """The turns of a row up to the user's last, and the reply to it where it is part of a conversation."""
    system = [Message(role="system", content=text)] if (text := _text(cells, "system")) else []
    if cells.get("messages") not in (None, "", []):
        turns, reply = read_conversation(cells["messages"])
        return [*([] if turns[0].role == "system" else system), *turns], reply
    prompt, extra = _text(cells, "prompt"), _text(cells, "input")
    if not prompt:
        filled = ", ".join(name for name, value in cells.items() if value not in (None, "", []))
        raise _Unusable("missing_prompt", f"the prompt is missing or empty; the row has {filled or 'nothing'}")
    history = read_history(cells["history"]) if cells.get("history") else []
    text = f"{prompt}\n\n{extra}" if extra else prompt
    return [*system, *history, Message(role="user", content=text)], ""


def _text(cells: dict[str, Any], field: str) -> str:
    """The cell as text without outer blanks; "" where there is none.

    Raises:
        _Unusable: it is a list or an object.
    """
    value = cells.get(field)
    if isinstance(value, dict | list) and value:
        raise _Unusable("no_text", f"the {field} is a {type(value).__name__}, expected text")
    return "" if value is None or isinstance(value, dict | list) else str(value).strip()


def _gold(answer: str) -> str:
    """GSM8K's way of writing a solution: the number behind `####`."""
    _, mark, number = answer.rpartition("####")
    return number.strip().replace(",", "") if mark else ""


def _lang(named: str, text: str) -> Any:
    if not named:
        return guess_lang(text)
    found = named_lang(named)
    if found is None:
        raise _Unusable("unknown_language", f"the language is {shown(named)}, expected zh or en")
    return found
