"""SafeKeel's engines as lm-eval's model class, for any generative task of lm-eval:

    from lm_eval import simple_evaluate
    sampling = Sampling(max_tokens=8192, temperature=0.6, top_p=0.95)
    lm = SafeKeelLM(open_engine("api:deepseek-r1", base_urls=[URL]), sampling)
    simple_evaluate(model=lm, tasks=["gsm8k"], apply_chat_template=True, fewshot_as_multiturn=True)

lm-eval's own model classes grade a truncated thought as the answer and let stop strings fire inside the thought. Here
only the answer part is handed over, and nothing where it was cut off.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safekeel.bench.capability import lmeval
from safekeel.bench.capability.lm_context import gradable_text, messages_of
from safekeel.bench.generate import generate
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import EngineError, UsageError
from safekeel.records import Completion, Prompt

lmeval.require_lm_eval()

from lm_eval.api.instance import Instance  # noqa: E402
from lm_eval.api.model import LM  # noqa: E402


class SafeKeelLM(LM):
    """An engine seen from lm-eval. `completions` keeps every row, thought and split status included."""

    def __init__(self, engine: Engine, sampling: Sampling, store: Path | None = None) -> None:
        """
        Args:
            sampling: of all requests. A task's own temperature is ignored (reasoning models are not greedy), and so is
                its token limit, which is made for answers without a thought; its stop strings end the answer.
            store: a `completions.jsonl` to keep the rows in and to continue from.
        """
        super().__init__()
        self.engine, self.sampling, self.store = engine, sampling, store
        self.completions: list[Completion] = []

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """The answer parts, in the order of the requests.

        Raises:
            EngineError: some generations failed; with a `store` the same call asks only for those again.
        """
        prompts = [_prompt(request, place) for place, request in enumerate(requests)]
        rows = self._generate(prompts)
        self.completions += rows
        if failed := [row for row in rows if row.finish == "error"]:
            kept = "the others are kept" if self.store else "pass `store` to keep the others"
            raise EngineError(
                f"{len(failed)} of {len(rows)} generations failed, the first with: {failed[0].error} lm-eval would "
                f"count them as wrong; run again ({kept})."
            )
        return [gradable_text(row, _until(request)) for row, request in zip(rows, requests, strict=True)]

    def _generate(self, prompts: list[Prompt]) -> list[Completion]:
        once = self.sampling.model_copy(update={"num_samples": 1})  # lm-eval repeats requests itself
        if self.store is None:
            return self.engine.generate(prompts, once)
        return generate(self.engine, prompts, once, self.store)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Not available.

        Raises:
            UsageError: always.
        """
        raise UsageError(
            f"This task ranks options by log-likelihood, which {self.engine.name} does not give: no endpoint returns "
            "that of a given text. Use the generative benchmarks (mmlu, ceval, cmmlu), or one of mmlu-loglikelihood, "
            "ceval-loglikelihood, cmmlu-loglikelihood with a local model (hf:PATH)."
        )

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Not available; see `loglikelihood`."""
        self.loglikelihood(requests)
        raise AssertionError("loglikelihood raises")

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The messages as JSON: the engine renders them."""
        return lmeval.chat_json(chat_history, add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """Part of lm-eval's cache keys."""
        return self.engine.model_id

    def counts(self) -> dict[str, int]:
        """How many completions had which split status; `truncated` ones were given to lm-eval as no answer."""
        return dict(Counter(row.split for row in self.completions))


def _prompt(request: Instance, place: int) -> Prompt:
    context: str = request.args[0]
    doc_id = place if request.doc_id is None else request.doc_id
    return Prompt(
        id=f"{request.task_name or 'lm-eval'}/{doc_id}/{place}",
        messages=messages_of(context),
        lang="en",  # unknown here, and nothing reads it
        risk=None,
        expect="solve",
        target=None,
        source="lm-eval",
        licence="unknown",
    )


def _until(request: Instance) -> Sequence[str]:
    until: Any = (request.args[1] or {}).get("until") or ()
    return (until,) if isinstance(until, str) else tuple(until)
