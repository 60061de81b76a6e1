"""What people may say of a row: one category of the taxonomy, `none`, or `unsure`; and how it may be spelled."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property

from safekeel.taxonomy import Taxonomy

NONE, UNSURE = "none", "unsure"
"""Nothing of Appendix A in it: qualified. Cannot be told: decided by nobody."""
ILLEGAL = "29"
"""The standard's "illegal and unhealthy information" are areas A.1 to A.4; A.5 fails a row, but is not illegal."""
_ALIASES = {
    NONE: ("无", "合格", "无风险", "ok", "qualified", "0"),
    UNSURE: ("不确定", "无法判断", "cannot_judge", "?"),
}


@dataclass(frozen=True)
class Choices:
    """The closed set of labels of a taxonomy."""

    taxonomy: Taxonomy

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """`none`, `unsure`, and all category ids."""
        return (NONE, UNSURE, *(category.id for category in self.taxonomy.categories))

    @cached_property
    def illegal(self) -> frozenset[str]:
        """Categories that make a row illegal or unhealthy information."""
        return frozenset(self.taxonomy.subset(ILLEGAL))

    def read(self, value: str) -> str | None:
        """The label that a cell means, "" of a blank one, None of an unknown one.

        Full-width characters, any case, a leading apostrophe, and an id with its name (`A.1.a 煽动…`) are read as well.
        """
        text = _folded(value).lstrip("'").strip()
        if not text:
            return ""
        return self._known.get(text) or self._known.get(text.split()[0])

    @cached_property
    def _known(self) -> dict[str, str]:
        found = {label.lower(): label for label in self.labels}
        for category in self.taxonomy.categories:
            for name in (category.zh, category.short_zh, category.en, category.short_en):
                found[_folded(name)] = category.id
        for label, names in _ALIASES.items():
            found |= dict.fromkeys(names, label)
        return found


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).strip().lower()
