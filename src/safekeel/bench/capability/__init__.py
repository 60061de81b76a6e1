"""Capability benchmarks through lm-eval. Nothing here imports lm-eval before a benchmark is used.

Named apart: `mmlu`, `ceval`, `cmmlu`, `gsm8k`, `math500`, `cmath` are generative (the model may think, any engine);
`mmlu-loglikelihood`, `ceval-loglikelihood`, `cmmlu-loglikelihood` are the community's ranking of options by
log-likelihood (no thought, a local model). Their figures do not compare.
"""

from safekeel.bench.base import Benchmark
from safekeel.bench.capability import loglikelihood
from safekeel.bench.capability.benchmark import (
    AIME24,
    AIME25,
    CEVAL,
    CMATH,
    CMMLU,
    GPQA,
    GSM8K,
    MATH500,
    MMLU,
    LiveCodeBench,
)
from safekeel.bench.capability.lmeval import TASKS

GENERATIVE: tuple[Benchmark, ...] = (MMLU, CEVAL, CMMLU, GSM8K, MATH500, CMATH)
LOGLIKELIHOOD: tuple[Benchmark, ...] = (loglikelihood.MMLU, loglikelihood.CEVAL, loglikelihood.CMMLU)
UNVERIFIED: tuple[Benchmark, ...] = (AIME24, AIME25, GPQA, LiveCodeBench())
"""From the hub only, never run where this was written (`livecodebench` says what to use instead)."""
CAPABILITY = (*GENERATIVE, *LOGLIKELIHOOD, *UNVERIFIED)

__all__ = ["CAPABILITY", "GENERATIVE", "LOGLIKELIHOOD", "TASKS", "UNVERIFIED"]
