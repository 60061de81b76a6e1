"""What nothing in training may resemble: every benchmark whose data is at hand, our own banks, and the caller's items.

Nothing here asks the network. A set that is known but not at hand is named, so that the data card can say that the
corpus was not compared with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from safekeel.bench.base import Benchmark, find_data
from safekeel.bench.capability import CAPABILITY
from safekeel.bench.capability.sources import LETTERS, ROWS, Row, is_local
from safekeel.bench.safety import BENCHMARKS
from safekeel.bench.safety.harmbench import COLUMNS, FILES, HarmBench
from safekeel.bench.safety.readers import read_csv
from safekeel.corpus.steps.ngram_index import CHARACTERS, RUN_CHARACTERS, RUN_WORDS, scale_of
from safekeel.corpus.steps.normalise import compared_text, words
from safekeel.errors import NoLocalCopyError, UsageError
from safekeel.judges.label_sources import read_zh_judge
from safekeel.records import Prompt

LOCAL_ABILITY = {"mmlu": 14042, "ceval": 1346, "cmmlu": 11582, "gsm8k": 1319, "math500": 500, "cmath": 600}
"""Capability sets that may lie in the data folder, with the size of the split that is reported
(`bench/capability/sources.py`); the others exist on the hub only."""
_SAME_ITEMS = "-loglikelihood"
"""A capability benchmark by another metric, with the same items."""
ZH_JUDGE = "zh-judge"
"""Our own responses for calibrating judges; its prompts must not be trained on either."""
_AFTER_CONTEXT = "\n\n---\n\n"
"""What HarmBench's contextual behaviours have between context and request."""


@dataclass(frozen=True, slots=True)
class HeldOutItem:
    """One text of a benchmark. A question with options, or with turns before it, has several items of one id."""

    id: str
    benchmark: str
    text: str
    is_ability: bool = False
    """Whether the text may be quoted: items of capability sets are no requests for harm."""


@dataclass
class HeldOut:
    """All texts, and what they are."""

    items: list[HeldOutItem] = field(default_factory=list)
    compared: dict[str, int] = field(default_factory=dict)
    """Items per benchmark, counted before a question is split into several texts."""
    absent: list[str] = field(default_factory=list)
    """Benchmarks, or parts of them, that are known and not at hand: the card must say that they were not checked."""
    excluded: list[str] = field(default_factory=list)
    """Benchmarks that the caller did not want compared."""

    def add(self, benchmark: str, prompts: Sequence[Prompt]) -> None:
        """Add prompts of one benchmark, each as a whole (without the instruction they all begin with), and its request
        alone where turns or a context come before it."""
        unique = list({prompt.id: prompt for prompt in prompts}.values())
        frame = _frame([compared_text(prompt) for prompt in unique])
        for prompt in unique:
            whole, request = compared_text(prompt), prompt.messages[-1].content.split(_AFTER_CONTEXT)[-1]
            self._add(HeldOutItem(prompt.id, benchmark, whole.removeprefix(frame)))
            if request != whole:
                self._add(HeldOutItem(prompt.id, benchmark, request.removeprefix(frame)))
        self.compared[benchmark] = self.compared.get(benchmark, 0) + len(unique)

    def _add(self, item: HeldOutItem) -> None:
        if item.text.strip():
            self.items.append(item)

    def add_questions(self, benchmark: str, rows: Sequence[Row]) -> None:
        """Add capability items: the question, and where there are options the question with them.

        A short question with options (下列说法正确的是) is compared with its options only: it is anybody's question.
        """
        for row in rows:
            name, question = f"{benchmark}/{row['id']}", row["question"]
            has_options = "A" in row
            if not has_options or _is_telling(question):
                self._add(HeldOutItem(name, benchmark, question, is_ability=True))
            if has_options:
                options = "\n".join(f"{letter}. {row[letter]}" for letter in LETTERS)
                self._add(HeldOutItem(name, benchmark, f"{question}\n{options}", is_ability=True))
        self.compared[benchmark] = self.compared.get(benchmark, 0) + len(rows)


def _is_telling(question: str) -> bool:
    """Whether it is as long as the run of words or characters that is evidence by itself (`ngram_index`)."""
    tokens = words(question)
    return len(tokens) >= (RUN_CHARACTERS if scale_of(tokens) == CHARACTERS else RUN_WORDS)


def collect_held_out(data_dir: Path | None, extra: Iterable[Prompt] = (), *, exclude: Collection[str] = ()) -> HeldOut:
    """Everything to compare with.

    Args:
        data_dir: folder of local copies of public data; None = the environment variable SAFEKEEL_DATA, or none.
        extra: more held-out prompts, such as the nano loop's test items; a benchmark is the id's part before `/`.
        exclude: benchmarks not to compare with, because the user trains on them and reports nothing on them.

    Raises:
        DataError: a file at hand is malformed.
    """
    held_out = HeldOut()
    ability = {benchmark.name for benchmark in CAPABILITY}
    for name in BENCHMARKS.names():
        if name in exclude:
            held_out.excluded.append(name)
        elif name not in ability:
            _add_benchmark(held_out, name, BENCHMARKS.get(name), data_dir)
        elif not name.endswith(_SAME_ITEMS):
            _add_ability(held_out, name, data_dir)
    if ZH_JUDGE not in exclude:
        held_out.add(ZH_JUDGE, [item.prompt for item in read_zh_judge(data_dir).items])
    groups: dict[str, list[Prompt]] = {}
    for prompt in extra:
        groups.setdefault(prompt.id.split("/")[0], []).append(prompt)
    for name, prompts in groups.items():
        held_out.add(name, prompts)
    return held_out


def _add_benchmark(held_out: HeldOut, name: str, benchmark: Benchmark, data_dir: Path | None) -> None:
    """All splits: what is validation to us may be somebody's test."""
    splits = [split for split, _ in getattr(benchmark, "splits", (("test", ""),))]
    found: list[Prompt] = []
    absent: list[str] = []
    for split in splits:
        try:
            found += benchmark.prompts(split, None, data_dir, 0)
        except (NoLocalCopyError, UsageError):  # no copy here, or a set that only names what to use instead
            absent.append(split)
    if not found:
        held_out.absent.append(name)
        return
    held_out.add(name, found)
    held_out.absent += [f"{name} ({split})" for split in absent]
    if name == HarmBench.name:
        held_out.items += _harmbench_left_out(data_dir)


def _harmbench_left_out(data_dir: Path | None) -> Iterator[HeldOutItem]:
    """HarmBench's copyright behaviours: our benchmark leaves them out, others report on them."""
    for file in FILES.values():
        with suppress(NoLocalCopyError):
            for row in read_csv(find_data(HarmBench.name, file, "", data_dir), COLUMNS):
                if row.text("FunctionalCategory") == "copyright":
                    yield HeldOutItem(
                        f"{HarmBench.name}/{row.text('BehaviorID')}", HarmBench.name, row.text("Behavior")
                    )


def _add_ability(held_out: HeldOut, name: str, data_dir: Path | None) -> None:
    """A capability set from the data folder; without one its loader would ask the hub."""
    if name not in LOCAL_ABILITY or not is_local(data_dir):
        held_out.absent.append(name)
        return
    try:
        rows = ROWS[name](data_dir)
    except NoLocalCopyError:
        held_out.absent.append(name)
        return
    held_out.add_questions(name, rows)
    if len(rows) < LOCAL_ABILITY[name]:
        held_out.absent.append(f"{name} (only {len(rows):,} of {LOCAL_ABILITY[name]:,} items are here)")


def _frame(texts: Sequence[str]) -> str:
    """Whole lines that all texts begin with: a benchmark's instruction. Empty for a single text, which is no frame."""
    if len(set(texts)) < 2:
        return ""
    frame = ""
    for line in texts[0].splitlines(keepends=True):
        if not all(text.startswith(frame + line) for text in texts):
            break
        frame += line
    return frame
