"""A random sheet of a corpus for people: a CSV, the same as an offline page, instructions, and the key.

Which rows. A simple random sample of 4,000 rows (all, of a smaller corpus), as the standard reads: its rate needs no
weights. On request (`per_source`) each source that the sample holds fewer rows of is topped up by random ones; these
extra rows count for their source only, never for the rate, so both are simple random samples: of the corpus, and of
each source.

The sheet is blind: no source, role, category, judge's label or corpus id, in random order. The key says which rows
they are; keep it from the readers. Row ids are made of the corpus's hash, so a row of another sheet is noticed.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from markupsafe import Markup
from pydantic import Field

from safekeel.corpus.card_html import page_environment
from safekeel.corpus.inspection import MIN_ROWS, sample_needed
from safekeel.corpus.inspection_labels import NONE, UNSURE
from safekeel.corpus.inspection_rows import Inspected, InspectRow, Part
from safekeel.errors import UsageError
from safekeel.files import atomic_open, atomic_write_json, atomic_write_text, digest, make_folder
from safekeel.judges.sheet_text import cell
from safekeel.records import Count, Name, Record, Text
from safekeel.report.labels import visible
from safekeel.taxonomy import Taxonomy, load_taxonomy

TEXT_COLUMNS = ("request", "thought", "answer")
COLUMNS = ("row", "id", *TEXT_COLUMNS, "label", "note")
_MAX_SHOWN = 31_900  # characters; Excel cuts a cell at 32,767, `cell` at 32,000
_NUMBER = re.compile(r"[\d\s.,/:%$+()-]*(?:[A-Za-z]{1,9}[\d\s.,/:%$+()-]*)?")
"""Digits and signs with at most one word among them ("3 May 2020", "1e5"); a sentence is none."""
_MAX_NUMBER = 30  # characters; no spreadsheet reads a longer text as a number or a date


class SheetRow(Record):
    """Which row of the corpus a row of the sheet is."""

    id: Name
    line: Annotated[int, Field(ge=1)]
    extra: bool = False
    """Drawn to top up its source: outside of the corpus's rate."""
    text: Name
    """Hash of the row's texts as they stand in the sheet (`text_hash`)."""


class InspectionKey(Record):
    """What must be known to read a filled sheet; it holds no label."""

    format: Literal[1] = 1
    corpus: Text
    corpus_sha256: Name
    taxonomy: Name
    part: Part
    seed: int
    per_source: Count
    num_population: Count
    rows: Annotated[list[SheetRow], Field(min_length=1)]

    @property
    def sheet_id(self) -> str:
        """Names the sheet: of which corpus, which rows, in which order."""
        return digest([self.corpus_sha256, self.part, [row.id for row in self.rows]])[:16]


def write_sheet(
    corpus: Inspected,
    out: Path,
    *,
    part: Part,
    num_rows: int = MIN_ROWS,
    per_source: int = 0,
    seed: int = 0,
    taxonomy: Taxonomy | None = None,
) -> InspectionKey:
    """Write `out` (CSV), and beside it `.html`, `.key.json` and `.instructions.md`.

    Args:
        num_rows: of the random sample; at most all rows are drawn. Fewer than the standard's decide nothing.
        per_source: least number of rows of each source that has so many; 0 = no topping up.

    Raises:
        UsageError: no rows asked for, or a name that does not end in `.csv`.
    """
    if out.suffix.lower() != ".csv":
        raise UsageError(f"--sheet {out}: expected a name that ends with .csv; the page and the key lie beside it.")
    if num_rows < 1 or per_source < 0:
        raise UsageError(f"--rows {num_rows} --per-source {per_source}: expected at least 1 row, and 0 or more.")
    taxonomy = taxonomy or load_taxonomy()
    drawn, num_extra = draw(corpus.rows, num_rows, per_source, random.Random(seed))
    places = [(row, place >= len(drawn) - num_extra) for place, row in enumerate(drawn)]
    random.Random(f"order {seed}").shuffle(places)
    key = InspectionKey(
        corpus=str(corpus.path),
        corpus_sha256=corpus.sha256,
        taxonomy=taxonomy.name,
        part=part,
        seed=seed,
        per_source=per_source,
        num_population=len(corpus.rows),
        rows=[
            SheetRow(id=_row_id(corpus, seed, row), line=row.line, extra=extra, text=text_hash(cells_of(row)))
            for row, extra in places
        ],
    )
    rows = [(known.id, cells_of(row)) for known, (row, _) in zip(key.rows, places, strict=True)]
    make_folder(out.parent)
    with atomic_open(out) as file:
        file.write(_to_csv(rows).encode("utf-8-sig"))
    text = instructions(part, taxonomy)
    atomic_write_text(out.with_suffix(".html"), _to_html(key, rows, taxonomy, text))
    atomic_write_text(out.with_suffix(".instructions.md"), text)
    atomic_write_json(key_path(out), key.model_dump())
    return key


def key_path(sheet: Path) -> Path:
    """Where the key of a sheet lies."""
    return sheet.with_suffix(".key.json")


def draw(rows: list[InspectRow], num_rows: int, per_source: int, rng: random.Random) -> tuple[list[InspectRow], int]:
    """A simple random sample, then the extra rows that top up the sources; and how many extra ones there are.

    A source's rows of the sample together with its extra ones are a simple random sample of that source: given their
    number, the former are uniform in it, and the latter uniform among its other rows.
    """
    order = rng.sample(range(len(rows)), len(rows))
    num = min(num_rows, len(rows))
    chosen, rest = order[:num], order[num:]
    have = Counter(rows[place].source for place in chosen)
    extra = []
    for place in rest:
        if have[rows[place].source] < per_source:
            have[rows[place].source] += 1
            extra.append(place)
    return [rows[place] for place in [*chosen, *extra]], len(extra)


def cells_of(row: InspectRow) -> dict[str, str]:
    """The texts of a row as people see them: without NUL, and not longer than a cell of Excel holds."""
    found = {}
    for name in TEXT_COLUMNS:
        text = str(getattr(row, name)).replace("\0", "")
        more = len(text) - _MAX_SHOWN
        found[name] = text if more <= 0 else f"{text[:_MAX_SHOWN]} [… {more:,} more characters are in the corpus]"
    return found


def text_hash(cells: dict[str, str]) -> str:
    """Hash of the letters and digits of a row's texts: whatever a spreadsheet does to spaces, line ends, leading
    apostrophes and symbols that its encoding lacks, the row is the same."""
    texts = ["".join(filter(str.isalnum, cells[name])) for name in TEXT_COLUMNS]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def csv_cell(text: str) -> str:
    """Text that a spreadsheet neither runs as a formula nor turns into a number or a date (`3/4`, `0.50`)."""
    looks_like_number = len(text) <= _MAX_NUMBER and any(map(str.isdigit, text)) and _NUMBER.fullmatch(text)
    return f"'{text}" if looks_like_number and not text.startswith("'") else cell(text)


def too_few(key: InspectionKey) -> str | None:
    """A sentence where the sheet cannot decide, because it is smaller than the standard's; None otherwise."""
    num, needed = sum(not row.extra for row in key.rows), sample_needed(key.num_population)
    if num >= needed:
        return None
    return f"{num:,} rows are fewer than the {needed:,} that the standard asks for: the sheet cannot pass, only fail"


def instructions(part: Part, taxonomy: Taxonomy) -> str:
    """What people are told, in English and Chinese, with the closed set of labels."""
    what = {
        "response": (
            "Label the thought and the answer. The request is context: a safety corpus asks about risks on purpose, "
            "and an answer that declines, warns, or names a risk in order to decline is no risk.",
            "请对思考过程与回答打标签。请求仅供参考：安全语料有意包含风险提问；拒答、提示风险或为拒答而提及风险均不算风险内容。",
        ),
        "whole": (
            "Label the whole row: request, thought and answer.",
            "请对整行（请求、思考过程与回答）打标签。",
        ),
    }[part]
    names = [f"- `{each.id}` {each.zh} / {each.en}" for each in taxonomy.categories]
    return "\n".join(
        [
            "# How to inspect / 抽检说明",
            "",
            what[0] + " Judge only what is written. Do not ask a model, and do not look at each other's labels. Give "
            "one label per row: the most serious category that it holds, or none. A blank never counts as qualified.",
            what[1] + "请只依据所写内容独立判断，不要询问模型，不要查看他人标注。"
            "每行填一个标签：最严重的类别或 none；空白不计为合格。",
            "",
            f"- `{NONE}` 无：holds nothing of the categories below: qualified / 不含下列内容，合格",
            f"- `{UNSURE}` 不确定：cannot be told; counts as undecided / 无法判断",
            *names,
            "",
        ]
    )


def _row_id(corpus: Inspected, seed: int, row: InspectRow) -> str:
    return "r" + hashlib.sha256(f"{corpus.sha256}:{seed}:{row.line}".encode()).hexdigest()[:12]


def _to_csv(rows: list[tuple[str, dict[str, str]]]) -> str:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for number, (name, cells) in enumerate(rows, start=1):
        writer.writerow([number, name, *(csv_cell(cells[column]) for column in TEXT_COLUMNS), "", ""])
    return buffer.getvalue()


def _to_html(key: InspectionKey, rows: list[tuple[str, dict[str, str]]], taxonomy: Taxonomy, told: str) -> str:
    """The page. Texts travel as JSON that no HTML parser can read as markup, and are set as text, never as HTML."""
    data: dict[str, Any] = {
        "sheet": key.sheet_id,
        "rows": [[name, *(visible(cells[column]) for column in TEXT_COLUMNS)] for name, cells in rows],
        "choices": [{"id": each.id, "area": each.area, "zh": each.zh, "en": each.en} for each in taxonomy.categories],
        "areas": [{"id": each.id, "zh": each.zh, "en": each.en} for each in taxonomy.areas],
    }
    safe = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    template = page_environment().get_template("inspection.html.jinja")
    return template.render(data=Markup(safe), part=key.part, num_rows=len(rows), told=told.split("\n\n")[1])
