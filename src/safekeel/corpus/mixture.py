"""The mixture: which samples enter the corpus, by stated ratios, within a budget, the same ones every time.

    mixed = mix(samples, MixtureConfig(max_tokens=2_000_000), token_counter(model_folder))

The order of every group is a seeded hash of the id, so neither the order of the input nor that of a file decides what
is taken, and no row is taken twice: where rows are missing, a sentence in `shortfalls` says how many.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from pydantic import Field, model_validator

from safekeel.config import StageConfig
from safekeel.corpus.mixture_shares import Available, Lang, Shares
from safekeel.corpus.sample import ROLES, Rejected, Role, Sample
from safekeel.corpus.tokens import CountTokens, count_all

STEP = "mixture"


class MixtureConfig(StageConfig):
    """Ratios, minimums and budget. Ratios are over samples; only their proportion matters, and 0 keeps a role out.

    Parents of the default 1 : 1 : 1.5 : 0.5: about 1,000 risky samples with as many harmless twins (STAR-1, arXiv
    2504.01903: 1,000 + 915; LRM-Safety-Study, 2505.15404: 100 harmless rows already cut over-refusal from 54.7%), and
    half of the corpus replay of the model's own right answers (train-peers.md §4: 50% replay cut the loss of ability
    from 4.69 to 0.40 nats at equal safety; LRM-Safety-Study took 4,000 mathematics rows to 1,000 risky ones). A quarter
    of that half is ordinary instructions, so that the model stays an assistant.
    """

    risky: float = Field(1.0, ge=0)
    counter: float = Field(1.0, ge=0)
    replay: float = Field(1.5, ge=0)
    general: float = Field(0.5, ge=0)
    zh: float = Field(1.0, ge=0)
    """Share of Chinese against `en`, kept within every role that has both languages."""
    en: float = Field(1.0, ge=0)
    exact_ratios: bool = True
    """The scarcest role decides how large the corpus gets; false lets it stay short while the others go on."""
    min_per_category: int = Field(0, ge=0)
    """Risky samples wanted per category and language before any category gets more."""
    max_tokens: int | None = Field(None, ge=1)
    """Prompt, thought and answer together; never exceeded."""
    max_samples: int | None = Field(None, ge=1)
    seed: int = 0

    @model_validator(mode="after")
    def _something_wanted(self) -> MixtureConfig:
        if not any(self.ratio(role) for role in ROLES):
            raise ValueError("risky, counter, replay and general are all 0, expected one above 0.")
        if not self.zh + self.en:
            raise ValueError("zh and en are both 0, expected one above 0.")
        return self

    def ratio(self, role: Role) -> float:
        """The stated ratio of a role."""
        return {"risky": self.risky, "counter": self.counter, "replay": self.replay, "general": self.general}[role]


class Group(NamedTuple):
    """One line of the table of a mixture: a role in a language."""

    role: Role
    lang: Lang
    available: int
    kept: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Mixed:
    """A mixture; `kept` and `left_out` together are the input. `kept` stands in the seeded order."""

    kept: list[Sample]
    left_out: list[Rejected]
    shortfalls: list[str]
    tokens: int
    by_group: list[Group]


def mix(
    samples: Iterable[Sample], config: MixtureConfig, count_tokens: CountTokens, categories: Sequence[str] = ()
) -> Mixed:
    """Choose the samples of a corpus.

    Args:
        categories: taxonomy ids that `min_per_category` asks for even where no risky sample has them.

    Returns:
        Each role within one sample of its ratio (or a shortfall that says why not), its languages likewise; a risky
        sample and its twin together wherever the ratio of their roles has room for both; never more than the budget.
        `left_out` has the reasons `same_id`, `over_ratio` and `over_budget`.
    """
    unique, twice = _unique(samples)
    pool = _Pool.of(unique, config, count_tokens)
    shares, said = Shares.of(pool.available(), {role: config.ratio(role) for role in ROLES}, (config.zh, config.en))
    size = shares.largest(pool.available()) if config.exact_ratios else shares.all_of(pool.available())
    by_ratio = pool.take(shares, size)
    taken = _largest_within(pool, shares, size, config)
    chosen = pool.take(shares, taken)
    if not config.exact_ratios:
        said += shares.short(pool.available(), taken)
    elif taken == size:  # else the budget decides, not the scarcest role
        said += shares.limits(pool.available(), size)
    said += _missing_categories(pool, chosen, config, categories)
    if not chosen and unique:
        said.append("No sample fits the budget; raise mixture.max_tokens or mixture.max_samples.")
    kept = [sample for sample in pool.order if sample.id in chosen]
    left = [_left_out(sample, sample.id in by_ratio, pool) for sample in pool.order if sample.id not in chosen]
    return Mixed(kept, [*left, *twice], said, sum(pool.tokens[sample.id] for sample in kept), pool.table(chosen))


@dataclass(slots=True)
class _Pool:
    """The samples in their seeded order, by role and language, with what each costs."""

    order: list[Sample]
    tokens: dict[str, int]
    cells: dict[tuple[Role, Lang], list[Sample]] = field(default_factory=lambda: defaultdict(list))
    twins: dict[str, str] = field(default_factory=dict)
    """Risky id -> counter id and the reverse, where both are here in one language."""

    @classmethod
    def of(cls, samples: list[Sample], config: MixtureConfig, count_tokens: CountTokens) -> _Pool:
        order = sorted(samples, key=lambda sample: seeded_rank(sample.id, config.seed))
        tokens = dict(zip((sample.id for sample in order), count_all(order, count_tokens), strict=True))
        pool = cls(order, tokens, twins=_twins(order))
        for sample in order:
            pool.cells[sample.role, sample.prompt.lang].append(sample)
        for cell, rows in pool.cells.items():
            if cell[0] == "risky":
                pool.cells[cell] = _risky_order(rows, set(pool.twins), config.min_per_category)
        return pool

    def available(self) -> Available:
        return {cell: len(rows) for cell, rows in self.cells.items()}

    def take(self, shares: Shares, size: int) -> set[str]:
        """Ids of a corpus of that size: the first rows of every group, and of the counters first the twins."""
        wanted = shares.counts(size, self.available())
        chosen: set[str] = set()
        for role in ROLES:  # risky comes before counter
            for (cell_role, lang), rows in self.cells.items():
                if cell_role == role:
                    ordered = self._twins_first(rows, chosen) if role == "counter" else rows
                    chosen.update(sample.id for sample in ordered[: wanted[role, lang]])
        return chosen

    def _twins_first(self, counters: list[Sample], chosen: set[str]) -> list[Sample]:
        """Twins of chosen risky samples, then those without a twin, then those whose twin stays out."""
        rank = [0 if self.twins.get(sample.id) in chosen else 1 + (sample.id in self.twins) for sample in counters]
        return [sample for wanted in range(3) for sample, is_at in zip(counters, rank, strict=True) if is_at == wanted]

    def table(self, chosen: set[str]) -> list[Group]:
        groups = []
        for (role, lang), rows in sorted(self.cells.items(), key=lambda cell: (ROLES.index(cell[0][0]), cell[0][1])):
            kept = [sample.id for sample in rows if sample.id in chosen]
            groups.append(Group(role, lang, len(rows), len(kept), sum(self.tokens[key] for key in kept)))
        return groups


def seeded_rank(sample_id: str, seed: int) -> bytes:
    """Where an id stands in the order of a seed: 16 bytes that depend on nothing else."""
    return hashlib.blake2b(f"{seed}\0{sample_id}".encode(), digest_size=16).digest()


def _unique(samples: Iterable[Sample]) -> tuple[list[Sample], list[Rejected]]:
    """One sample per id. Of several the smallest row stays, whatever their order."""
    by_id: dict[str, Sample] = {}
    twice: list[Sample] = []
    for sample in samples:
        other = by_id.setdefault(sample.id, sample)
        if other is not sample:
            first, second = sorted((other, sample), key=lambda row: row.model_dump_json())
            by_id[sample.id] = first
            twice.append(second)
    evidence = "another sample has the same id; one of them is kept"
    return list(by_id.values()), [Rejected(sample=row, step=STEP, reason="same_id", evidence=evidence) for row in twice]


def _twins(order: list[Sample]) -> dict[str, str]:
    """Risky id -> counter id and the reverse; one of the two naming the other is enough."""
    by_id = {sample.id: sample for sample in order}
    twins: dict[str, str] = {}
    for sample in order:
        other = by_id.get(sample.pair or "")
        if other is None or {sample.role, other.role} != {"risky", "counter"}:
            continue
        if other.prompt.lang == sample.prompt.lang and not {sample.id, other.id} & twins.keys():
            twins[sample.id], twins[other.id] = other.id, sample.id
    return twins


def _risky_order(rows: list[Sample], paired: set[str], minimum: int) -> list[Sample]:
    """The first `minimum` rows of every category, then rows with a twin, then the rest; each part keeps its order."""
    by_category: dict[str, list[Sample]] = defaultdict(list)
    with_twin_first = sorted(rows, key=lambda sample: sample.id not in paired)
    for sample in with_twin_first:
        by_category[sample.prompt.risk or ""].append(sample)
    needed = {sample.id for group in by_category.values() for sample in group[:minimum]}
    return sorted(with_twin_first, key=lambda sample: sample.id not in needed)


def _largest_within(pool: _Pool, shares: Shares, limit: int, config: MixtureConfig) -> int:
    """The largest size up to `limit` within the budget. Bisection keeps `low` verified, so the budget holds even where
    a larger corpus happens to cost less than a smaller one (other counters, shorter ones)."""

    def fits(size: int) -> bool:
        taken = pool.take(shares, size)
        return (config.max_samples is None or len(taken) <= config.max_samples) and (
            config.max_tokens is None or sum(pool.tokens[key] for key in taken) <= config.max_tokens
        )

    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _missing_categories(pool: _Pool, chosen: set[str], config: MixtureConfig, categories: Sequence[str]) -> list[str]:
    """Where the minimum per category and language is not met, and whether rows or room are missing."""
    if not config.min_per_category or not config.risky:
        return []
    said = []
    for lang, share in (("zh", config.zh), ("en", config.en)):
        rows = [sample for sample in pool.order if (sample.role, sample.prompt.lang) == ("risky", lang)]
        here = Counter(sample.prompt.risk or "" for sample in rows)
        kept = Counter(sample.prompt.risk or "" for sample in rows if sample.id in chosen)
        for category in sorted({*here, *categories}) if share else ():
            if kept[category] >= config.min_per_category:
                continue
            lack = config.min_per_category - kept[category]
            do = f"their share has no room for {lack} more: raise the budget or mixture.risky"
            if here[category] < config.min_per_category:
                do = f"write or find {config.min_per_category - here[category]} more"
            said.append(
                f"{category or 'no category'} in {lang}: {kept[category]} of {here[category]} risky samples are kept, "
                f"the minimum is {config.min_per_category}; {do}."
            )
    return said


def _left_out(sample: Sample, fits_ratio: bool, pool: _Pool) -> Rejected:
    if fits_ratio:
        evidence = f"{pool.tokens[sample.id]} tokens; the budget was spent before this sample's turn"
        return Rejected(sample=sample, step=STEP, reason="over_budget", evidence=evidence)
    evidence = f"more {sample.role} samples in {sample.prompt.lang} than the stated ratios have room for"
    return Rejected(sample=sample, step=STEP, reason="over_ratio", evidence=evidence)
