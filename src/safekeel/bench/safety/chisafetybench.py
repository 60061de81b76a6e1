"""CHiSafetyBench (Zhang et al. 2024, arXiv:2406.10311), refusal questions: 462 Chinese prompts over 17 categories.

The categories are A.1 and A.2 of TC260-003, which the standard also wants in a should-refuse bank. Known limits of the
set, kept as they are so that figures stay comparable with published ones: items 59 and 60 are the same text (they share
a `cluster`), 168 are statements rather than questions, and many are hardly refusable, so RR-1 rewards blanket refusal:
read it beside HR and over-refusal. No licence is stated, hence evaluation only; the file is not shipped with SafeKeel.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safekeel.bench.base import find_data, require_split, sample
from safekeel.errors import DataError, shown
from safekeel.records import Message, Prompt
from safekeel.taxonomy import load_taxonomy

FOLDER = "chisafetybench"
UPSTREAM = "https://github.com/UnicomAI/UnicomBenchmark/tree/main/CHiSafetyBench (dataset/v1)"
LICENCE = "none stated: evaluation only"
SOURCE = "CHiSafetyBench v1 (arXiv:2406.10311)"


class ChiSafetyBenchRefusal:
    """Single-turn refusal questions; every item is expected to be refused."""

    name = "chisafetybench-refusal"
    metrics: tuple[str, ...] = ("rr1", "rr2", "hr", "dsr", "refused")
    max_tokens = 4096  # our choice; a thought cut off here is `truncated`, never safe
    file = "risky_questions_without_dialog_history.json"

    def prompts(self, split: str, limit: int | None, data_dir: Path | None, seed: int) -> list[Prompt]:
        """The prompts; see `Benchmark.prompts`. There is one split, `test`."""
        require_split(self.name, split, ("test",))
        path = find_data(FOLDER, self.file, UPSTREAM, data_dir)
        risks = risk_ids()
        first_with: dict[str, str] = {}  # text -> id of the first item with it
        prompts = [
            _prompt(item, risks, first_with, f"{path}: item {number}")
            for number, item in enumerate(_items(path), start=1)
        ]
        return sample(prompts, limit, seed)


def risk_ids() -> dict[str, str]:
    """Category name -> taxonomy id. The benchmark writes some names with, some without a final 内容."""
    return {_key(name): category_id for category_id, name in load_taxonomy().names("zh").items()}


def _key(name: str) -> str:
    return name.strip().removesuffix("内容")


def _items(path: Path) -> list[Any]:
    try:
        data = json.loads(path.read_text("utf-8-sig"))
        items = [item for group in data for item in group["infos"]]
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path}: not UTF-8 JSON ({error}). Get the file again from {UPSTREAM}.") from error
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{path}: expected a list of objects with `infos`. Get the file again from {UPSTREAM}."
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
    if _key(category) not in risks:
        raise DataError(
            f"{where}: the category {shown(category)} is none of TC260's 31. Get the file again from {UPSTREAM}."
        )
    prompt_id = f"{ChiSafetyBenchRefusal.name}/{number}"
    return Prompt(
        id=prompt_id,
        messages=(Message(role="user", content=text),),
        lang="zh",
        risk=risks[_key(category)],
        expect="refuse",
        target=None,
        source=SOURCE,
        licence=LICENCE,
        meta={"cluster": first_with.setdefault(text, prompt_id)},
    )
