"""Taxonomies: sets of risk categories, read from the TOML files of this folder.

`tc260` (`risks.toml`) is Appendix A of TC260-003 / GB/T 45654-2025. A category id such as `A.1.a` names its area `A.1`
and is what `Prompt.risk` and the slices `area:A.1`, `category:A.1.a` carry. ("Policy" elsewhere is the RL policy.)
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from safekeel.errors import DataError, UsageError, explain, nearest

FILES = {"tc260": "risks.toml"}
"""Taxonomy name -> file in this folder."""
NameField = Literal["zh", "en", "short_zh", "short_en"]
Filled = Annotated[str, Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Area(_Entry):
    """A group of categories; `law` applies to all of them."""

    id: Filled
    zh: Filled
    en: Filled
    law: tuple[Filled, ...] = Field(min_length=1)


class Category(_Entry):
    """One risk category. `short_*` are unique plain names, none of them part of another."""

    id: Filled
    zh: Filled
    en: Filled
    short_zh: Annotated[str, Field(pattern=r"^[\u4e00-\u9fff]{2,6}$")]
    short_en: Annotated[str, Field(pattern=r"^[a-z]+( [a-z]+){0,2}$")]
    law: tuple[Filled, ...] = Field(min_length=1)
    """Chinese law sources behind the category."""

    @property
    def area(self) -> str:
        """Id of the area: `A.1` for `A.1.a`."""
        return self.id.rpartition(".")[0]


class Taxonomy(_Entry):
    """Areas and categories in the order of the standard, and its named subsets of areas."""

    name: Filled
    title_zh: Filled
    title_en: Filled
    areas: tuple[Area, ...] = Field(alias="area")
    categories: tuple[Category, ...] = Field(alias="category")
    subsets: dict[str, tuple[str, ...]]

    @model_validator(mode="after")
    def _consistent(self) -> Taxonomy:
        areas = [area.id for area in self.areas]
        _require_unique("area id", areas)
        _require_unique("category id", [category.id for category in self.categories])
        for field in ("zh", "en", "short_zh", "short_en"):
            _require_unique(field, [getattr(category, field) for category in self.categories])
        for field in ("short_zh", "short_en"):
            _require_no_part(field, [getattr(category, field) for category in self.categories])
        for owner, names in [(c.id, [c.area]) for c in self.categories] + [
            (k, list(v)) for k, v in self.subsets.items()
        ]:
            if unknown := [name for name in names if name not in areas]:
                raise ValueError(f"{owner} belongs to the area {unknown[0]!r}, expected one of {', '.join(areas)}.")
        return self

    def category(self, category_id: str) -> Category:
        """The category with that id.

        Raises:
            UsageError: there is none; the nearest id is offered.
        """
        for category in self.categories:
            if category.id == category_id:
                return category
        known = [category.id for category in self.categories]
        hint = nearest(category_id, known) or f" Known: {known[0]} to {known[-1]}."
        raise UsageError(f"No category {category_id!r} in the taxonomy {self.name!r}.{hint}")

    def subset(self, name: str) -> tuple[str, ...]:
        """Category ids of a subset of the standard; `tc260` has "17" (should refuse), "29" and "31" (all).

        Raises:
            UsageError: no such subset.
        """
        if name not in self.subsets:
            raise UsageError(f"No subset {name!r} in the taxonomy {self.name!r}. Known: {', '.join(self.subsets)}.")
        return tuple(category.id for category in self.categories if category.area in self.subsets[name])

    def names(self, field: NameField) -> dict[str, str]:
        """Category id -> name in that form, in the order of the standard."""
        return {category.id: getattr(category, field) for category in self.categories}


def _require_unique(what: str, values: list[str]) -> None:
    if twice := sorted({value for value in values if values.count(value) > 1}):
        raise ValueError(f"{what} {twice[0]!r} occurs twice, expected unique ones.")


def _require_no_part(what: str, values: list[str]) -> None:
    for value in values:
        if inside := [other for other in values if other != value and value in other]:
            raise ValueError(f"{what} {value!r} is part of {inside[0]!r}; a text that names one would name both.")


@cache
def load_taxonomy(name: str = "tc260") -> Taxonomy:
    """Read and check a taxonomy that ships with the package.

    Raises:
        UsageError: no taxonomy of that name.
        DataError: its file is malformed or contradicts itself.
    """
    if name not in FILES:
        raise UsageError(f"No taxonomy {name!r}.{nearest(name, FILES)} Known: {', '.join(FILES)}.")
    path = resources.files("safekeel.taxonomy") / FILES[name]
    return parse_taxonomy(path.read_text("utf-8"), str(path))


def parse_taxonomy(text: str, where: str) -> Taxonomy:
    """Parse and check the TOML text of a taxonomy; `where` names it in messages.

    Raises:
        DataError: not TOML, an unknown or missing key, a name or id twice, an area that does not exist.
    """
    try:
        return Taxonomy.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"{where}: not TOML: {error}. Correct the file.") from error
    except ValidationError as error:
        raise DataError(f"{where}: {explain(error)}") from error
