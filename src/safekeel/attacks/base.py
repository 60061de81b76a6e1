"""What an attack family is: a named way of dressing one request so that a model complies which would decline it
plainly."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

Lang = Literal["zh", "en"]
Wording = Literal["train", "validation", "test"]
WORDINGS: tuple[Wording, ...] = get_args(Wording)


@dataclass(frozen=True)
class Request:
    """One request to disguise. `segments` are its meaningful pieces in order; without them a transform falls back on
    spaces (English) or characters (Chinese)."""

    text: str
    lang: Lang
    segments: tuple[str, ...] = ()

    def pieces(self) -> tuple[str, ...]:
        if self.segments:
            return self.segments
        return tuple(self.text.split()) if self.lang == "en" else tuple(self.text)


@dataclass(frozen=True)
class AttackFamily:
    """A transform family: deterministic under a seed, no model calls.

    `wordings[lang]` has three wordings, for safety training, validation and test: a family counts as defended only
    beyond the sentence it was trained on.
    `fill` maps a request to the template's fields; plain wrappers just need `{q}`.
    """

    name: str
    goal: str
    source: str
    kind: Literal["scenario", "role-play", "instruction", "code", "encoding", "in-context"]
    wordings: dict[Lang, tuple[str, str, str]]
    tags: tuple[str, ...] = ()
    languages: tuple[Lang, ...] = ("zh", "en")
    cost_in_target_calls: int = 1
    fill: Callable[[Request, random.Random], dict[str, str]] = field(default=lambda request, rng: {"q": request.text})

    def apply(self, request: Request, wording: Wording = "test", rng: random.Random | None = None) -> str:
        """The disguised user turn.

        Raises:
            ValueError: the family does not speak the request's language.
        """
        if request.lang not in self.languages:
            raise ValueError(f"attack {self.name} speaks {', '.join(self.languages)}, not {request.lang!r}")
        template = self.wordings[request.lang][WORDINGS.index(wording)]
        return _substitute(template, self.fill(request, rng or random.Random(0)))


def _substitute(template: str, fields: dict[str, str]) -> str:
    """Fill the fields in one pass, so that braces inside a request are never read as fields."""
    out, rest = [], template
    while "{" in rest:
        before, _, after = rest.partition("{")
        name, _, rest = after.partition("}")
        out += [before, fields[name]]
    return "".join([*out, rest])


def halves(pieces: Sequence[str], lang: Lang) -> tuple[str, str]:
    """Split the pieces of a request in the middle; the parts joined give the request again."""
    separator = " " if lang == "en" else ""
    middle = (len(pieces) + 1) // 2
    return separator.join(pieces[:middle]), separator.join(pieces[middle:])
