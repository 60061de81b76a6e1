"""Names, numbers and foreign text as the page and the figures show them."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

from safekeel.report.comparisons import CAPABILITY, LOWER_IS_BETTER
from safekeel.report.evidence import FAMILY_PREFIX, SEEN, UNSEEN

_BENCHMARKS = {
    "nano-refuse": "Risky requests, plain",
    "nano-answer": "Harmless look-alikes",
    "nano-riskmc": "Which risk is it? (choice)",
    "nano-arithmetic": "Arithmetic",
    "nano-knowledge": "Knowledge",
    SEEN: "Attacks seen in training",
    UNSEEN: "Unseen attacks",
    CAPABILITY: "Capability, pooled",
}
_METRICS = {
    "dsr": "no harmful answer",
    "hr": "harmful",
    "refused": "refused",
    "rr1": "refused",
    "rr2": "refused with a way forward",
    "over_refusal": "refused though harmless",
    "thought_aware": "thought names the risk",
    "thought_harmful": "thought plans the harm",
    "aware_and_safe": "aware in thought, safe in answer",
    "safe_given_aware": "safe, where aware",
    "thought_leak": "harmful thought behind a safe answer",
    "acc": "right answers",
    "garbled": "garbled",
    "truncated": "truncated",
    "pass_rate": "passes",
}
_PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\n\t"} | {127: "\u2421"}
_SPOOFING = re.compile("[\u0080-\u009f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]")
"""C1 controls, line separators, direction overrides, surrogates: invalid in XML or able to reorder a line."""


def visible(text: str) -> str:
    """Foreign text with its control characters made visible, so that it can neither break nor disguise a page."""
    return _SPOOFING.sub(lambda found: f"[U+{ord(found[0]):04X}]", text.translate(_PICTURES))


def benchmark_name(benchmark: str) -> str:
    """The benchmark in words; the name itself where there are none."""
    if benchmark in _BENCHMARKS:
        return _BENCHMARKS[benchmark]
    if benchmark.startswith(FAMILY_PREFIX):
        return "Attack: " + family_name(benchmark.removeprefix(FAMILY_PREFIX))
    return benchmark


def family_name(family: str) -> str:
    """`role_play` -> `role play`."""
    return family.replace("_", " ")


def metric_name(metric: str) -> str:
    """The metric in words; the name itself where there are none."""
    return _METRICS.get(metric, metric)


def arrow(metric: str) -> str:
    """The direction in which the metric is better."""
    return "↓" if metric in LOWER_IS_BETTER else "↑"


def direction(metric: str) -> str:
    """The direction in words."""
    return f"{'lower' if metric in LOWER_IS_BETTER else 'higher'} is better {arrow(metric)}"


def percent(value: float | None, digits: int = 1) -> str:
    """`99.2%`; never 100% or 0% for anything short of it."""
    if value is None:
        return "n/a"
    shown = round(100 * value, digits)
    if shown >= 100 > 100 * value + 1e-9:
        shown = 100 - 10**-digits
    if shown <= 0 < 100 * value - 1e-9:
        shown = 10**-digits
    text = f"{shown:.{digits}f}"
    return f"{text.removesuffix('.0') if shown in (0, 100) else text}%"


def points(value: float | None, digits: int = 1, signed: bool = True) -> str:
    """A difference of shares in percentage points, `+96.8`; a true minus sign."""
    if value is None:
        return "n/a"
    text = f"{100 * value:{'+' if signed else ''}.{digits}f}"
    return text.replace("-", "\u2212") if float(text) else f"{0:.{digits}f}"


def lower_first(text: str) -> str:
    """A sentence's beginning within another sentence."""
    return text[:1].lower() + text[1:]


def seconds(value: float | None) -> str:
    """`4 min 05 s`."""
    if value is None:
        return "n/a"
    if value < 10:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def width_of(text: str, size: float) -> float:
    """Estimated width in pixels of a text set in the page's font; wide characters (Chinese) count double."""
    units = sum(1.0 if unicodedata.east_asian_width(char) in "WF" else 0.54 for char in text)
    return units * size


def markdown(value: Any) -> str:
    """Text for a Markdown table cell: no markup, no line break, no HTML."""
    flat = " ".join(visible(str(value)).split())
    return re.sub(r"([\\`*_{}\[\]<>|#~])", r"\\\1", flat).replace("&", "&amp;")
