"""Categories as files write them: an id of the taxonomy, or one of its names in Chinese or English."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

from safekeel.errors import nearest, shown
from safekeel.taxonomy import Taxonomy

NO_CATEGORY = ("", "none", "null", "nan", "n/a", "无")


class UnknownCategory(ValueError):
    """A value that is no category of the taxonomy."""


class Categories:
    """Look-up of a taxonomy's categories by id and by all their names."""

    def __init__(self, taxonomy: Taxonomy) -> None:
        self.taxonomy = taxonomy
        self._ids = {
            _plain(name): category.id
            for category in taxonomy.categories
            for name in (category.short_en, category.short_zh, category.en, category.zh, category.id)
        }

    def find(self, value: Any) -> str | None:
        """The id that a cell names: the first known one where it is a list, None where it is empty.

        Raises:
            UnknownCategory: it names none; with the nearest.
        """
        names = [name for name in _names(value) if _plain(name) not in NO_CATEGORY]
        if not names:
            return None
        found = next((self._ids[_plain(name)] for name in names if _plain(name) in self._ids), None)
        if found is None:
            name, known = names[0], [category.id for category in self.taxonomy.categories]
            hint = nearest(name, known) or nearest(_plain(name), self._ids)
            raise UnknownCategory(f"the category {shown(name)} is none of the taxonomy {self.taxonomy.name!r}.{hint}")
        return found


def _names(value: Any) -> list[str]:
    if isinstance(value, str) and value.strip().startswith("["):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]
    if isinstance(value, list):
        return [str(item) for item in value]
    return [] if value is None else [str(value)]


def _plain(name: str) -> str:
    """Without case, width and the final 内容 that the standard's lists have and leave out at will."""
    return unicodedata.normalize("NFKC", name).strip().lower().removesuffix("内容")
