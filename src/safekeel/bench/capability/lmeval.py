"""The border to lm-eval (0.4.13): loads our task definitions into it, and grades answers with its filters and metrics.

The tasks are the YAML files in `tasks/`; lm-eval itself runs them too:

    lm_eval --include_path $(python -c "import safekeel.bench.capability as c; print(c.TASKS)") --tasks safekeel_gsm8k …

They are named `safekeel_*` so that they never take the place of lm-eval's own tasks, whose prompts and splits differ.
lm-eval is imported only when something here is called (1.7 s).
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from safekeel.bench.capability import extract, math_check, sources
from safekeel.errors import DataError, EngineError
from safekeel.files import digest

TASKS = Path(__file__).parent / "tasks"
INSTALL = "pip install 'safekeel[capability]'"


@cache
def require_lm_eval() -> str:
    """The version of lm-eval.

    Raises:
        EngineError: it is not installed.
    """
    try:
        import lm_eval.tasks  # noqa: F401
    except ModuleNotFoundError as error:
        raise EngineError(f"Capability benchmarks need {error.name}, which is not installed: {INSTALL}.") from error
    return version("lm_eval")


def chat_json(messages: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
    """lm-eval's `chat_template`: the messages as JSON, so that they reach our engines as messages."""
    return json.dumps(messages, ensure_ascii=False)


def load_task(name: str, data_dir: Path | None = None) -> Any:
    """lm-eval's task with all documents of a benchmark.

    Args:
        data_dir: folder of local copies; None = SAFEKEEL_DATA, and where that is not set, the hub.

    Raises:
        EngineError: lm-eval is not installed.
        DataError: the data is missing or malformed.
    """
    return _build(name, {"dataset_kwargs": {"data_dir": data_dir}})


@cache
def grading_task(name: str) -> Any:
    """lm-eval's task with a placeholder document: enough to grade with, and no data is read.

    Raises:
        EngineError: lm-eval is not installed.
    """
    row: dict[str, Any] = dict.fromkeys(("id", "question", "answer", "subject", *sources.LETTERS), "?")
    return _build(name, {"custom_dataset": partial(_as_dataset, [row])})


def grade(name: str, golds: Sequence[str], answers: Sequence[str]) -> list[dict[str, float]]:
    """lm-eval's metrics of each answer (what a user is shown, without the thought) against its gold target.

    Raises:
        EngineError: lm-eval, or math-verify where the task needs it, is not installed.
    """
    require_lm_eval()
    from lm_eval.api.instance import Instance

    task = grading_task(name)
    (filters,) = task._filters  # our definitions have exactly one
    docs = [{"answer": gold} for gold in golds]
    instances = [
        Instance("generate_until", doc, ("", {}), 0, resps=[answer]) for doc, answer in zip(docs, answers, strict=True)
    ]
    if instances:
        filters.apply(instances)
    return [task.process_results(each.doc, [each.filtered_resps[filters.name]]) for each in instances]


def grade_rankings(golds: Sequence[str], rankings: Sequence[dict[str, tuple[float, bool]]]) -> list[dict[str, float]]:
    """lm-eval's metrics of log-likelihoods per option letter, with whether each would be generated greedily."""
    task = _ranking_task()
    return [
        task.process_results({"gold": sources.LETTERS.index(gold)}, [ranking[letter] for letter in sources.LETTERS])
        for gold, ranking in zip(golds, rankings, strict=True)
    ]


@cache
def _ranking_task() -> Any:
    return _configured(
        {
            "task": "safekeel_ranking",
            "output_type": "multiple_choice",
            "custom_dataset": partial(_as_dataset, [{"question": "?", "gold": 0}]),
            "test_split": "test",
            "doc_to_text": "question",
            "doc_to_choice": list(sources.LETTERS),
            "doc_to_target": "gold",
            "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        }
    )


def community_task(file: str, overrides: dict[str, Any]) -> Any:
    """A task of lm-eval's own, by its file below `lm_eval/tasks`.

    Raises:
        EngineError: lm-eval is not installed, or this version of it has no such file.
    """
    require_lm_eval()
    import lm_eval.tasks
    from lm_eval.tasks._yaml_loader import load_yaml

    path = Path(str(lm_eval.tasks.__file__)).parent / file
    if not path.is_file():
        raise EngineError(f"lm-eval {version('lm_eval')} has no task file {file}; install lm-eval 0.4.13: {INSTALL}.")
    return _configured({**load_yaml(path), **overrides})


def headline_metric(name: str) -> str:
    """The metric that decides whether an answer is right: the first of the definition."""
    if name not in sources.ROWS:
        return "acc"
    metric: str = grading_task(name).config.metric_list[0]["metric"]
    return metric


def grading_version(name: str) -> str:
    """Hash of whatever decides a grade: the definition, our extraction, lm-eval's and math-verify's versions."""
    try:
        checker = version("math-verify") if name == "math500" else None
    except PackageNotFoundError:
        checker = None
    code = [Path(str(module.__file__)).read_text("utf-8") for module in (extract, math_check)]
    files = (TASKS / f"{name}.yaml", *sorted(TASKS.glob("_*.yaml"))) if name in sources.ROWS else ()
    definitions = [file.read_text("utf-8") for file in files]
    return digest({"definitions": definitions, "code": code, "lm_eval": require_lm_eval(), "math_verify": checker})


def _build(name: str, overrides: dict[str, Any]) -> Any:
    require_lm_eval()
    from lm_eval.tasks._yaml_loader import load_yaml  # TaskManager takes no overrides of a task that has a file

    return _configured({**load_yaml(TASKS / f"{name}.yaml"), **overrides})


def _configured(config: dict[str, Any]) -> Any:
    require_lm_eval()
    from lm_eval.api.task import ConfigurableTask

    with quiet():
        return ConfigurableTask(config=config)


def _as_dataset(rows: list[dict[str, Any]], **_: Any) -> dict[str, Any]:
    from datasets import Dataset

    return {"test": Dataset.from_list(rows)}


def _dataset(name: str, **options: Any) -> dict[str, Any]:
    rows = sources.ROWS[name](**options)
    if not rows:
        raise DataError(f"{name}: the data holds no items. Get it again from {sources.UPSTREAM[name]}.")
    return _as_dataset(list(map(dict, rows)))


# What the definitions name as `custom_dataset`: lm-eval calls it with the task's metadata and `dataset_kwargs`.
mmlu_dataset = partial(_dataset, "mmlu")
gsm8k_dataset = partial(_dataset, "gsm8k")
ceval_dataset = partial(_dataset, "ceval")
cmmlu_dataset = partial(_dataset, "cmmlu")
math500_dataset = partial(_dataset, "math500")
cmath_dataset = partial(_dataset, "cmath")
aime24_dataset = partial(_dataset, "aime24")
aime25_dataset = partial(_dataset, "aime25")
gpqa_diamond_dataset = partial(_dataset, "gpqa-diamond")


@contextmanager
def quiet() -> Iterator[None]:
    """Without lm-eval's notes: we report through rows and errors."""
    log = logging.getLogger("lm_eval")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
