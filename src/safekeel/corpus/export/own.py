"""`jsonl` and `parquet`: our own rows with flat columns; nothing is lost, and a `Sample` can be made of a row again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from safekeel.corpus.export.base import Corpus, Rendered, Table, message_type, pyarrow
from safekeel.corpus.sample import Sample

_TEXT_COLUMNS = ("id", "role", "lang", "risk", "expect", "target", "source", "licence", "attack", "pair", "made_by")
_LAST_COLUMNS = ("thought", "answer", "style", "checks", "meta", "prompt_id")


def flat_row(sample: Sample) -> dict[str, Any]:
    """A sample as one row: strings, one list of messages, and free-form values (`attack`, `checks`, `meta`) as JSON."""
    prompt = sample.prompt
    return {
        "id": sample.id,
        "role": sample.role,
        "lang": prompt.lang,
        "risk": prompt.risk,
        "expect": prompt.expect,
        "target": prompt.target,
        "source": prompt.source,
        "licence": prompt.licence,
        "attack": _json(prompt.attack.model_dump()) if prompt.attack else None,
        "pair": sample.pair,
        "made_by": sample.made_by,
        "messages": [message.model_dump() for message in prompt.messages],
        "thought": sample.thought,
        "answer": sample.answer,
        "style": sample.style,
        "checks": _json(sample.checks),
        "meta": _json(prompt.meta),
        "prompt_id": prompt.id,
    }


@dataclass(frozen=True, slots=True)
class Own:
    """The flat rows as a file of one kind."""

    name: str
    tool: str = ""

    def render(self, corpus: Corpus) -> Rendered:
        """`train.<name>` with all samples."""
        file = f"train.{self.name}"
        schema = _schema() if self.name == "parquet" else None
        loading = (
            f"`datasets.load_dataset({'json' if self.name == 'jsonl' else 'parquet'!r}, data_files={file!r})` or "
            f"`pandas.read_{'json(…, lines=True)' if self.name == 'jsonl' else 'parquet(…)'}`. `messages` is the "
            "prompt; `thought` and `answer` are the response; `attack`, `checks` and `meta` are JSON."
        )
        return Rendered([Table(file, [flat_row(sample) for sample in corpus.samples], schema)], loading)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _schema() -> Any:
    arrow = pyarrow()
    text = [(name, arrow.string()) for name in _TEXT_COLUMNS]
    return arrow.schema([*text, ("messages", message_type()), *((name, arrow.string()) for name in _LAST_COLUMNS)])
