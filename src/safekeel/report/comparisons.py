"""Before against after, on the same items: one row per benchmark and metric, and the pooled capability basket."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from safekeel.bench import metrics
from safekeel.bench.metrics import ACCURACY, MAX_UNKNOWN_SHARE, Item, Metric, metrics_for, rate
from safekeel.records import Score
from safekeel.report.evidence import Evaluation, Evidence, ItemKey
from safekeel.stats.compare import Comparison, holm, paired_difference

CAPABILITY = "capability"
COMPARED = (
    "dsr", "refused", "rr2", "over_refusal", "acc",
    "thought_aware", "thought_harmful", "aware_and_safe", "thought_leak",
)  # fmt: skip
"""One p-value family. `hr` and `rr1` would repeat `dsr` and `refused`; `safe_given_aware` has no common denominator."""
LOWER_IS_BETTER = frozenset({"hr", "over_refusal", "thought_harmful", "thought_leak", "garbled", "truncated"})
SIGNIFICANT = 0.05


def compare(evidence: Evidence, basket: Sequence[str]) -> list[dict[str, Any]]:
    """All comparison rows of the card, the pooled benchmarks last; empty unless both evaluations are there."""
    before, after = evidence.before, evidence.after
    if before is None or after is None:
        return []
    pools = {name: members for name, members in evidence.pools().items() if members}
    return compare_evaluations(before, after, basket, pools)


def compare_evaluations(
    before: Evaluation, after: Evaluation, basket: Sequence[str], pools: Mapping[str, Sequence[str]]
) -> list[dict[str, Any]]:
    """A row per benchmark (and pool of benchmarks) and metric over the items that both have, capability last.

    One family of p-values, adjusted by Holm's procedure.
    """
    groups: dict[str, Sequence[str]] = {name: [name] for name in after.by_benchmark}
    rows = []
    for name, members in (groups | dict(pools)).items():
        items_before, items_after = paired(before, after, members)
        for metric in metrics_for(items_before):
            if metric.name in COMPARED:
                rows.append(_row(name, metric, items_before, items_after))
    if capability := compare_capability(before, after, basket):
        rows.append(capability)
    told = [row for row in rows if row["p"] is not None]
    for row, adjusted in zip(told, holm([row["p"] for row in told]), strict=True):
        row["p_holm"] = adjusted
    return [row | {"verdict": _direction(row)} for row in rows]


def compare_capability(before: Evaluation, after: Evaluation, basket: Sequence[str]) -> dict[str, Any] | None:
    """The basket pooled into one benchmark; None unless all its members were measured on the same items both times.

    The verdict is not set here: a rule of the gate holds the budget.
    """
    if not basket or not all(same_items(before, after, name) for name in basket):
        return None
    return _row(CAPABILITY, ACCURACY, *paired(before, after, basket))


def same_items(before: Evaluation, after: Evaluation, benchmark: str) -> bool:
    """Was this benchmark measured on the same items, at least one, before and after?"""
    keys = [{_key(item) for item in evaluation.by_benchmark.get(benchmark, [])} for evaluation in (before, after)]
    return bool(keys[0]) and keys[0] == keys[1]


def paired(before: Evaluation, after: Evaluation, benchmarks: Iterable[str]) -> tuple[list[Item], list[Item]]:
    """The items of these benchmarks that both evaluations have, in the same order."""
    keys = [key for item in after.group(*benchmarks) if (key := _key(item)) in before.items]
    return [before.items[key] for key in keys], [after.items[key] for key in keys]


def loss(before: Sequence[Item], after: Sequence[Item], metric: Metric = ACCURACY) -> Comparison:
    """The comparison a gate uses, the worst case: what is not known was a hit before and is none after."""
    return _paired(before, after, lambda item: metric.hit(item) is not False, lambda item: metric.hit(item) is True)


def measure(items: Sequence[Item], metric: str, benchmark: str = "pooled") -> Score | None:
    """A rate of `bench.score` over any items, for figures; None where the metric is not defined on them."""
    found = metrics.metric(metric)
    identity = {"model": "", "judge": None, "label_source": None, "headline": False}
    return None if found is None else rate(list(items), found, benchmark=benchmark, **identity)


def _row(benchmark: str, metric: Metric, before: list[Item], after: list[Item]) -> dict[str, Any]:
    """A comparison by what is known, over the pairs that the metric is about. A share of which too little is known is
    None, as in its Score."""
    pairs = [(b, a) for b, a in zip(before, after, strict=True) if metric.applies(b)]
    before, after = [b for b, _ in pairs], [a for _, a in pairs]
    found = _paired(before, after, lambda item: metric.hit(item) is True, lambda item: metric.hit(item) is True)
    unknown = [sum(metric.hit(item) is None for item in items) for items in (before, after)]
    told = [count <= MAX_UNKNOWN_SHARE * found.num_pairs for count in unknown]
    row: dict[str, Any] = {
        "benchmark": benchmark,
        "metric": metric.name,
        "before": found.before if told[0] else None,
        "after": found.after if told[1] else None,
        **{key: getattr(found, key) if all(told) else None for key in ("difference", "low", "high", "p")},
        "p_holm": None,
        "num_pairs": found.num_pairs,
        "num_discordant": found.num_discordant,
        "effective_n": round(found.effective_n, 1),
        "num_unknown": sum(unknown),
    }
    if metric is ACCURACY:
        worst = loss(before, after)
        row |= {
            "loss": worst.before - worst.after,
            "loss_lower": worst.one_sided_lower_loss,
            "loss_upper": worst.one_sided_upper_loss,
            "minimum_detectable": worst.minimum_detectable,
        }
    return row


def _paired(
    before: Sequence[Item],
    after: Sequence[Item],
    hit_before: Callable[[Item], bool],
    hit_after: Callable[[Item], bool],
) -> Comparison:
    clusters = [item.cluster for item in before]
    return paired_difference([hit_before(i) for i in before], [hit_after(i) for i in after], clusters)


def _key(item: Item) -> ItemKey:
    return item.prompt.id, item.completion.sample


def _direction(row: dict[str, Any]) -> str:
    """`better`, `worse`, or `unclear` where the difference may be chance or is not known."""
    if row["p_holm"] is None or row["p_holm"] > SIGNIFICANT or not row["difference"]:
        return "unclear"
    return "better" if (row["difference"] > 0) != (row["metric"] in LOWER_IS_BETTER) else "worse"
