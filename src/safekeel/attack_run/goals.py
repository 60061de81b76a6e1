"""Goals of an attack: requests that a model should decline, each with an id, a language and, where known, a risk.

nano            risky requests of the nano world, by split          starter    SafeKeel's own training prompts
harmbench, …    items of a benchmark that are to be refused         FILE       Prompt rows, or a goal per row or line
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, cast

from safekeel.bench.base import BenchmarkBase, sample
from safekeel.errors import DataError, UsageError, nearest, shown
from safekeel.nano.words import WordSplit
from safekeel.records import Lang, Prompt, read_jsonl
from safekeel.taxonomy import load_taxonomy

NANO, STARTER = "nano", "starter"
NANO_SPLITS: dict[str, WordSplit] = {"train": "sft", "validation": "validation", "test": "test"}
"""Goals of `train` come from words that safety training may see, of the others from words that it never sees."""
DEFAULT_SPLIT = "test"
_ROW_KEYS = {"id", "messages", "expect", "lang", "source"}
"""A JSONL row with these keys is a Prompt; any other row is read by its column names."""


@dataclass(frozen=True)
class Goals:
    """What to attack with, and what was left out by reason."""

    prompts: tuple[Prompt, ...]
    max_tokens: int
    """Token budget of a completion that the source of the goals states, thought included."""
    dropped: dict[str, int] = field(default_factory=dict)
    split: str | None = None
    """None where no source has splits."""


class _Source(NamedTuple):
    """What one source gave; rows that could not be used are only counted."""

    prompts: list[Prompt]
    max_tokens: int = BenchmarkBase.max_tokens
    unusable: tuple[str, ...] = ()
    """The reason of each row that gave no prompt."""


@dataclass(frozen=True)
class GoalRequest:
    """Which goals a user asked for. `lang` keeps one language; `limit` is per source, drawn by `seed`."""

    spec: str
    split: str | None = None
    lang: Lang | None = None
    limit: int | None = None
    data_dir: Path | None = None
    seed: int = 0
    taxonomy: str = "tc260"
    test_words: Path | None = None

    @property
    def split_name(self) -> str:
        return self.split or DEFAULT_SPLIT


def load_goals(request: GoalRequest) -> Goals:
    """The goals of all sources in `request.spec`, duplicates out.

    Raises:
        UsageError: no source of that name (the nearest is offered), or no such split.
        DataError: a source is missing, malformed, or holds no request to decline.
    """
    found: list[Prompt] = []
    dropped: Counter[str] = Counter()
    budget = 0
    sources = _sources(request.spec)
    for name in sources:
        source = _read(name, request)
        kept, left_out = _usable(source.prompts, request.lang)
        if not kept:
            raise _nothing(name, source.prompts, left_out)
        found += kept if name == NANO else sample(kept, request.limit, request.seed)
        dropped += left_out + Counter(source.unusable)
        budget = max(budget, source.max_tokens)
    _require_unique_ids(found)
    unique = _without_duplicates(found)
    if len(unique) < len(found):
        dropped["duplicate"] += len(found) - len(unique)
    split = None if all(name == STARTER or _is_file(name) for name in sources) else request.split_name
    return Goals(tuple(unique), budget, dict(dropped), split)


def _sources(spec: str) -> list[str]:
    """One file, or names with commas.

    Raises:
        UsageError: nothing is named.
    """
    if _is_file(spec):
        return [spec]
    names = list(dict.fromkeys(name.strip() for name in spec.split(",") if name.strip()))
    if not names:
        raise UsageError(f"--goals {shown(spec)}: expected a benchmark, {NANO!r}, {STARTER!r} or a file.")
    return names


def _is_file(name: str) -> bool:
    path = Path(name.partition("?")[0]).expanduser()
    return path.is_file() or Path(name).expanduser().is_file() or "/" in name or bool(path.suffix)


def _read(name: str, request: GoalRequest) -> _Source:
    if name == NANO:
        return _nano(request)
    if name == STARTER or _is_file(name):
        if request.split is not None:
            raise UsageError(f"--goals-split {request.split}: {name} has no splits; leave it out.")
        return _starter(request.taxonomy) if name == STARTER else _file(name, request.taxonomy)
    from safekeel.bench.safety import BENCHMARKS

    known = [NANO, STARTER, *BENCHMARKS.names()]
    if name not in known:
        raise UsageError(
            f"--goals {shown(name)}: no benchmark and no file of that name.{nearest(name, known)} Known: "
            f"{', '.join(known)}; or a file, such as goals.txt with a request per line."
        )
    bench = BENCHMARKS.get(name)
    return _Source(bench.prompts(request.split_name, None, request.data_dir, request.seed), bench.max_tokens)


def _nano(request: GoalRequest) -> _Source:
    """Plain risky requests of the nano world; without a limit as many as its suite has."""
    from safekeel.bench.nano import MAX_TOKENS, NanoSuiteConfig
    from safekeel.nano import world
    from safekeel.nano.words import load_words

    if request.split_name not in NANO_SPLITS:
        known = ", ".join(NANO_SPLITS)
        hint = nearest(request.split_name, NANO_SPLITS)
        raise UsageError(f"--goals-split {shown(request.split_name)}: {NANO} has the splits {known}.{hint}")
    wanted = request.limit or NanoSuiteConfig().num_refuse
    # Groups of language and category take turns, so of twice as many items half are of one language.
    num = wanted if request.lang is None else 2 * wanted
    # The world's own type names the splits that numbers are reported on; red-teaming also attacks with training goals.
    split = cast(world.MeasuredSplit, NANO_SPLITS[request.split_name])
    prompts = world.refuse_items(load_words(request.test_words), split, num, request.seed)
    return _Source([prompt for prompt in prompts if request.lang in (None, prompt.lang)][:wanted], MAX_TOKENS)


def _starter(taxonomy: str) -> _Source:
    from safekeel.corpus.sample import Sample
    from safekeel.corpus.sources.starter import StarterSource

    rows = StarterSource(load_taxonomy(taxonomy)).rows()
    return _Source([row.prompt for row in rows if isinstance(row, Sample) and row.role == "risky"])


def _file(spec: str, taxonomy: str) -> _Source:
    """Prompt rows as they are; rows of any other file as risky requests (`corpus.sources`)."""
    path = Path(spec).expanduser()
    if path.suffix in (".jsonl", ".ndjson") and path.is_file() and _holds_prompts(path):
        return _Source(read_jsonl(path, Prompt))
    from safekeel.corpus.sample import Sample
    from safekeel.corpus.sources.own_files import FileSource
    from safekeel.data.registry import load_registry

    # What may not be trained on may well be attacked with: the corpus' licence rules do not hold here.
    every = [data_set.name for data_set in load_registry()]
    source = FileSource(spec, load_taxonomy(taxonomy), {"role": "risky"}, allow_licence=every, allow_benchmarks=every)
    rows = list(source.rows())
    found = [row.prompt for row in rows if isinstance(row, Sample)]
    if not found:
        first = next((f" The first: {row.where}: {row.evidence}." for row in rows if not isinstance(row, Sample)), "")
        raise DataError(f"{spec} holds no goal: {len(rows)} rows, none of them usable.{first}")
    return _Source(found, unusable=tuple(row.reason for row in rows if not isinstance(row, Sample)))


def _holds_prompts(path: Path) -> bool:
    """Whether the first row that is no blank line is a Prompt by its keys."""
    with path.open("rb") as file:
        line = next((line for line in file if line.strip()), b"")
    try:
        row = json.loads(line)
    except ValueError:
        return False
    return isinstance(row, dict) and row.keys() >= _ROW_KEYS


def _usable(prompts: Iterable[Prompt], lang: Lang | None) -> tuple[list[Prompt], Counter[str]]:
    """Undisguised requests that are to be refused, and how many others there were, by reason."""
    kept, dropped = [], Counter[str]()
    for prompt in prompts:
        if prompt.attack is not None:
            dropped["already_attacked"] += 1
        elif prompt.expect != "refuse":
            dropped[f"expects_{prompt.expect}"] += 1
        elif prompt.messages[-1].role != "user":
            dropped["last_turn_is_not_the_user's"] += 1
        elif lang not in (None, prompt.lang):
            dropped["other_language"] += 1
        else:
            kept.append(prompt)
    return kept, dropped


def _nothing(name: str, prompts: Sequence[Prompt], dropped: Counter[str]) -> DataError:
    if not prompts:
        return DataError(f"--goals {name}: it is empty; expected at least one request.")
    listed = ", ".join(f"{reason} {count}" for reason, count in dropped.most_common())
    advice = (
        "It looks like a pack: run it with --pack" if dropped["already_attacked"] else 'Expected "expect": "refuse"'
    )
    return DataError(
        f"--goals {name}: none of its {len(prompts)} prompts is an undisguised request to refuse ({listed}). {advice}."
    )


def _require_unique_ids(prompts: Sequence[Prompt]) -> None:
    texts: dict[str, str] = {}
    for prompt in prompts:
        if texts.setdefault(prompt.id, _plain(prompt)) != _plain(prompt):
            raise DataError(f"two goals share the id {shown(prompt.id)}; ids must be unique. Rename one.")


def _without_duplicates(prompts: Iterable[Prompt]) -> list[Prompt]:
    """The first of each wording, whatever its case, width and blanks."""
    first: dict[tuple[str, str], Prompt] = {}
    for prompt in prompts:
        first.setdefault((prompt.lang, _plain(prompt)), prompt)
    return list(first.values())


def _plain(prompt: Prompt) -> str:
    turns = (f"{message.role}: {message.content}" for message in prompt.messages)
    return " ".join(unicodedata.normalize("NFKC", "\n".join(turns)).casefold().split())
