"""Safety benchmarks by name, one file each."""

from safekeel.bench.base import Benchmark
from safekeel.bench.safety.chisafetybench import ChiSafetyBenchRefusal
from safekeel.registry import Registry

BENCHMARKS: Registry[Benchmark] = Registry("benchmark", "safekeel.benchmarks")
BENCHMARKS.add(ChiSafetyBenchRefusal.name, ChiSafetyBenchRefusal())
