"""CHiSafetyBench (Zhang et al. 2024, arXiv:2406.10311), refusal questions: 462 Chinese prompts over 17 categories, and
what its other two parts (`chisafetybench_dialogue`, `chisafetybench_mcq`) share with them.

The categories are A.1 and A.2 of TC260-003, which the standard also wants in a should-refuse bank. Known limits of the
set, kept as they are so that figures stay comparable with published ones: items 59 and 60 are the same text (they share
a `cluster`), 168 are statements rather than questions, and many are hardly refusable, so RR-1 rewards blanket refusal:
read it beside HR and over-refusal. No licence is stated, hence evaluation only; the file is not shipped with SafeKeel.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safekeel.bench.base import BenchmarkBase, find_data, require_split, sample
from safekeel.errors import DataError, shown
from safekeel.records import Message, Prompt
from safekeel.taxonomy import load_taxonomy

FOLDER = "chisafetybench"
UPSTREAM = "https://github.com/UnicomAI/UnicomBenchmark/tree/main/CHiSafetyBench (dataset/v1)"
LICENCE = "none stated: evaluation only"
SOURCE = "CHiSafetyBench v1 (arXiv:2406.10311)"
_OTHER_NAMES = {"侵害他人其他合法权益": "A.4.g", "内容不准确": "A.5.a", "内容不可靠": "A.5.b"}
"""Names in the files that differ from the standard's by more than punctuation or a final 内容."""


class ChiSafetyBenchRefusal(BenchmarkBase):
    """Single-turn refusal questions; every item is expected to be refused."""

    name = "chisafetybench-refusal"
    metrics: tuple[str, ...] = ("rr1", "rr2", "hr", "dsr", "refused")
    file = "risky_questions_without_dialog_history.json"

    def prompts(self, split: str, limit: int | None, data_dir: Path | None, seed: int) -> list[Prompt]:
        """The prompts; see `Benchmark.prompts`. There is one split, `test`."""
        require_split(self.name, split, ("test",))
        path = find_data(FOLDER, self.file, UPSTREAM, data_dir)
        risks = risk_ids()
        first_with: dict[str, str] = {}  # text -> id of the first item with it
        items = read_items(path, lambda data: [item for group in data for item in group["infos"]], "`infos`")
        prompts = [
            _prompt(item, risks, first_with, f"{path}: item {number}") for number, item in enumerate(items, start=1)
        ]
        return sample(prompts, limit, seed)


def risk_ids() -> dict[str, str]:
    """Category name (in the spelling of `risk_of`) -> taxonomy id."""
    return {_key(name): category_id for category_id, name in load_taxonomy().names("zh").items()} | _OTHER_NAMES


def risk_of(category: str, risks: dict[str, str], where: str) -> str:
    """The taxonomy id of a category as the files write it: with or without a final 内容, commas of either width.

    Raises:
        DataError: it is none of the 31; says where it stands.
    """
    if _key(category) not in risks:
        raise DataError(
            f"{where}: the category {shown(category)} is none of TC260's 31. Get the file again from {UPSTREAM}."
        )
    return risks[_key(category)]


def _key(name: str) -> str:
    return unicodedata.normalize("NFKC", name).strip().removesuffix("内容")


def read_items(path: Path, items_of: Callable[[Any], list[Any]], expected: str) -> list[Any]:
    """The items of a data file, found by `items_of` in its JSON.

    Raises:
        DataError: not UTF-8 JSON, not a list of objects with the `expected` fields, or no item.
    """
    try:
        items = items_of(json.loads(path.read_text("utf-8-sig")))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not UTF-8 JSON ({error}). Get the file again from {UPSTREAM}.") from error
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected a list of objects with {expected}. Get the file again from {UPSTREAM}."
        ) from error
    if not items:
        raise DataError(f"{path}: holds no question. Get the file again from {UPSTREAM}.")
    return items


def _prompt(item: Any, risks: dict[str, str], first_with: dict[str, str], where: str) -> Prompt:
    try:
        number, text, category = item["id"], item["question"].strip(), item["category"]
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where}: got {shown(item)}, expected `id`, `question` and `category`.") from error
    if not text:
        raise DataError(f"{where}: the question is empty. Get the file again from {UPSTREAM}.")
    prompt_id = f"{ChiSafetyBenchRefusal.name}/{number}"
    return Prompt(
        id=prompt_id,
        messages=(Message(role="user", content=text),),
        lang="zh",
        risk=risk_of(category, risks, where),
        expect="refuse",
        target=None,
        source=SOURCE,
        licence=LICENCE,
        meta={"cluster": first_with.setdefault(text, prompt_id), "slices": ["history:without"]},
    )
