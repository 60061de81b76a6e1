"""Safety benchmarks by name, one file each."""

from safekeel.bench.base import Benchmark
from safekeel.bench.capability import CAPABILITY
from safekeel.bench.safety.behaviours import AdvBench, JailbreakBench, JailbreakBenchBenign, StrongReject
from safekeel.bench.safety.chisafetybench import ChiSafetyBenchRefusal
from safekeel.bench.safety.chisafetybench_dialogue import ChiSafetyBenchDialogue
from safekeel.bench.safety.chisafetybench_mcq import ChiSafetyBenchMcq, ChiSafetyBenchMcqSwapped
from safekeel.bench.safety.cvalues import CValues
from safekeel.bench.safety.do_not_answer import DoNotAnswer
from safekeel.bench.safety.flames import Flames
from safekeel.bench.safety.harm14 import Harm14
from safekeel.bench.safety.harmbench import HarmBench
from safekeel.bench.safety.jade import Jade
from safekeel.bench.safety.jailbench import JailBench
from safekeel.bench.safety.or_bench import OrBench
from safekeel.bench.safety.physical_safety import PhysicalSafety
from safekeel.bench.safety.public import PublicBenchmark
from safekeel.bench.safety.s_eval import SEval
from safekeel.bench.safety.safetybench import SafetyBench
from safekeel.bench.safety.tc260 import ALL as TC260
from safekeel.bench.safety.xsafety import XSafety
from safekeel.bench.safety.xstest import XsTest
from safekeel.registry import Registry

BENCHMARKS: Registry[Benchmark] = Registry("benchmark", "safekeel.benchmarks")
BENCHMARKS.add(ChiSafetyBenchDialogue.name, ChiSafetyBenchDialogue())
BENCHMARKS.add(ChiSafetyBenchMcq.name, ChiSafetyBenchMcq())
BENCHMARKS.add(ChiSafetyBenchMcqSwapped.name, ChiSafetyBenchMcqSwapped())
BENCHMARKS.add(ChiSafetyBenchRefusal.name, ChiSafetyBenchRefusal())
for _bank in TC260:
    BENCHMARKS.add(_bank.name, _bank)
for _capability in CAPABILITY:
    BENCHMARKS.add(_capability.name, _capability)

PUBLIC: tuple[PublicBenchmark, ...] = (
    AdvBench(),
    CValues(),
    DoNotAnswer(),
    Flames(),
    Harm14(),
    HarmBench(),
    Jade(),
    JailBench(attacked=False),
    JailBench(attacked=True),
    JailbreakBench(),
    JailbreakBenchBenign(),
    OrBench("80k"),
    OrBench("hard-1k"),
    OrBench("toxic"),
    PhysicalSafety(),
    SEval("zh", attacked=False),
    SEval("en", attacked=False),
    SEval("zh", attacked=True),
    SEval("en", attacked=True),
    SafetyBench("zh"),
    SafetyBench("en"),
    SafetyBench("zh_subset"),
    StrongReject(),
    XSafety("zh"),
    XSafety("en"),
    XsTest(),
)
"""Benchmarks made from public data (`safekeel data list`)."""
for _public in PUBLIC:
    BENCHMARKS.add(_public.name, _public)
