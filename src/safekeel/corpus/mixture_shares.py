"""Ratios turned into numbers of samples per role and language, and the sentences about what cannot be had."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from safekeel.corpus.sample import ROLES, Role

Lang = Literal["zh", "en"]
Cell = tuple[Role, Lang]
Available = dict[Cell, int]
"""Samples there are, by role and language."""
LANGS: tuple[Lang, ...] = ("zh", "en")
_ROUNDING = 1e-9  # 0.3 * 10 must count as 3


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of a corpus: of each role (their sum is 1), and of Chinese within each role."""

    role: dict[Role, float]
    zh: dict[Role, float]

    @classmethod
    def of(
        cls, available: Available, ratios: dict[Role, float], langs: tuple[float, float]
    ) -> tuple[Shares, list[str]]:
        """The shares that can be had: a role without samples leaves the ratio, a role in one language is all in that.

        Returns:
            The shares, and one sentence for each of these departures.
        """
        said: list[str] = []
        zh: dict[Role, float] = {}
        wanted: dict[Role, float] = {}
        for role in ROLES:
            there = {lang: available.get((role, lang), 0) for lang in LANGS}
            weights = {lang: weight if there[lang] else 0.0 for lang, weight in zip(LANGS, langs, strict=True)}
            if not ratios[role]:
                continue
            if not sum(weights.values()):
                named = " or ".join(lang for lang, weight in zip(LANGS, langs, strict=True) if weight)
                said.append(
                    f"{role}: no samples in {named}, so the other roles share the corpus; add a source of them, or set "
                    f"mixture.{role} to 0."
                )
                continue
            if missing := [lang for lang, weight in zip(LANGS, langs, strict=True) if weight and not there[lang]]:
                said.append(f"{role}: no samples in {missing[0]}, so all of them are in the other language.")
            wanted[role] = ratios[role]
            zh[role] = weights["zh"] / sum(weights.values())
        total = sum(wanted.values())
        return cls({role: ratio / total for role, ratio in wanted.items()}, zh), said

    def counts(self, size: int, available: Available) -> Available:
        """Samples per cell of a corpus of `size`: the sum is at most `size`, each role within one of its share."""
        counts: Available = dict.fromkeys(available, 0)
        for role, wanted in self._wanted(size).items():
            for lang in LANGS:
                if (role, lang) in counts:
                    counts[role, lang] = min(wanted[lang], available[role, lang])
        return counts

    def largest(self, available: Available) -> int:
        """The largest size at which no cell lacks samples: the scarcest role and language decide."""
        low, high = 0, self.all_of(available)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (low, middle - 1) if self._lacking(middle, available) else (middle, high)
        return low

    def all_of(self, available: Available) -> int:
        """A size at which every cell with a share gives all it has."""
        sizes = [
            (available.get((role, lang), 0) + 1) / (share * part)
            for role, share in self.role.items()
            for lang, part in self._parts(role)
            if part
        ]
        return int(max(sizes, default=0)) + 1 if sizes else 0

    def limits(self, available: Available, size: int) -> list[str]:
        """Which groups keep the corpus from growing, where samples of others are left out for it."""
        left = sum(available.values()) - sum(self.counts(size, available).values())
        scarce = [f"{role} in {lang} ({available[role, lang]})" for role, lang in self._lacking(size + 1, available)]
        if not left or not scarce:
            return []
        return [
            f"The ratios are met at {size} samples: there are no more of {', '.join(scarce)}; {left} samples of other "
            "groups are left out. Add samples there, change the ratios, or set mixture.exact_ratios to false."
        ]

    def short(self, available: Available, size: int) -> list[str]:
        """Groups with fewer samples than their share of `size`, the ratio not being exact."""
        return [
            f"{role} in {lang}: {available[role, lang]} samples, {self._wanted(size)[role][lang]} by ratio."
            for role, lang in self._lacking(size, available)
        ]

    def _parts(self, role: Role) -> tuple[tuple[Lang, float], ...]:
        return ("zh", self.zh[role]), ("en", 1 - self.zh[role])

    def _wanted(self, size: int) -> dict[Role, dict[Lang, int]]:
        """Rounded down over roles, so that equal ratios are equal numbers and pairs stay whole."""
        wanted: dict[Role, dict[Lang, int]] = {}
        for role, share in self.role.items():
            rows = int(size * share + _ROUNDING)
            chinese = int(rows * self.zh[role] + 0.5)
            wanted[role] = {"zh": chinese, "en": rows - chinese}
        return wanted

    def _lacking(self, size: int, available: Available) -> list[Cell]:
        return [
            (role, lang)
            for role, wanted in self._wanted(size).items()
            for lang in LANGS
            if wanted[lang] > available.get((role, lang), 0)
        ]
