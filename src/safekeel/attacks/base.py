"""What an attack family is: a named way of dressing one request so that a model complies which would decline it
plainly.

    kind         the conversation that is sent                            ends with
    transform    one user turn                                            user
    multi-turn   earlier turns that are scripted, then the last one       user
    prefill      the user's turns, then the beginning of the model's own  assistant

A family makes no model call: the same request, wording and seed give the same conversation. Strategies that look at
the target's replies are another registry (`safekeel.attacks.search`).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from safekeel.records import Lang, Message

Wording = Literal["train", "validation", "test"]
WORDINGS: tuple[Wording, ...] = get_args(Wording)
Kind = Literal["transform", "prefill", "multi-turn"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Mode = Literal[
    "plain",
    "scenario",
    "role-play",
    "instruction",
    "code",
    "encoding",
    "chinese",
    "in-context",
    "tense",
    "reasoning",
    "ladder",
]
MODES: tuple[Mode, ...] = get_args(Mode)

Script = tuple[str, ...]
"""Templates of the turns before the last user turn: user, assistant, user, assistant …, so an even number."""

_FIELD = re.compile(r"\{(\w+)\}")  # any other brace in a template is a brace: wordings may be JSON or code


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


def _plain(request: Request, rng: random.Random) -> dict[str, str]:
    return {"q": request.text}


@dataclass(frozen=True, kw_only=True)
class AttackFamily:
    """A family of disguises.

    Raises:
        ValueError: a language without its three wordings, or a script with turns missing.
    """

    name: str
    goal: str
    source: str
    """Paper with its arXiv id, or "own"."""
    mode: Mode
    kind: Kind = "transform"
    wordings: dict[Lang, tuple[str, str, str]]
    """Templates of the last user turn, for safety training, validation and test: a family counts as defended only
    beyond the sentence it was trained on."""
    tags: tuple[str, ...] = ()
    """Taxonomies it belongs to: `seed:scenario`, `s-eval:goal_hijacking`, `owasp:LLM01` …"""
    languages: tuple[Lang, ...] = ("zh", "en")
    cost_in_target_calls: int = 1
    fill: Callable[[Request, random.Random], dict[str, str]] = field(default=_plain)
    """The fields of the templates for one request; plain wrappers just need `{q}`."""
    script: dict[Lang, tuple[Script, Script, Script]] | None = None
    """The scripted turns before the last one, one script per wording, with the same fields."""
    prefill: dict[Lang, tuple[str, str, str]] | None = None
    """Templates of the beginning of the model's own turn, one per wording, with the same fields."""
    turns: Callable[[Request, str, random.Random], tuple[Message, ...]] | None = None
    """The whole conversation from the request and the dressed last user turn, where a script cannot say it."""
    requires: tuple[str, ...] = ()
    """Modules of the extra `attacks` without which `apply` is a UsageError; families without any need no install."""
    reveal: Callable[[str], str] | None = None
    """Undoes a reversible disguise: the payload inside the dressed turn (`payload`) -> the text of the request."""

    def __post_init__(self) -> None:
        for lang in self.languages:
            if len(self.wordings.get(lang, ())) != len(WORDINGS):
                raise ValueError(f"attack {self.name}: expected three wordings in {lang!r} ({', '.join(WORDINGS)}).")
            scripts = self.script[lang] if self.script else ()
            if self.script and (len(scripts) != len(WORDINGS) or any(len(script) % 2 for script in scripts)):
                raise ValueError(f"attack {self.name}: expected a script per wording that ends with the assistant.")

    def apply(self, request: Request, wording: Wording = "test", rng: random.Random | None = None) -> str:
        """The disguised last user turn.

        Raises:
            ValueError: the family does not speak the request's language.
        """
        return substitute(self._template(request.lang, wording), self.fill(request, rng or random.Random(0)))

    def messages(
        self, request: Request, wording: Wording = "test", rng: random.Random | None = None
    ) -> tuple[Message, ...]:
        """The whole conversation; its last user turn is what `apply` gives under the same seed.

        Raises:
            ValueError: the family does not speak the request's language.
        """
        rng = rng or random.Random(0)
        template = self._template(request.lang, wording)
        fields = self.fill(request, rng)
        turn = substitute(template, fields)
        if self.turns is not None:
            return self.turns(request, turn, rng)
        script = self.script[request.lang][WORDINGS.index(wording)] if self.script else ()
        earlier = (
            Message(role="assistant" if place % 2 else "user", content=substitute(line, fields))
            for place, line in enumerate(script)
        )
        begun = (self.prefill[request.lang][WORDINGS.index(wording)],) if self.prefill else ()
        own = (Message(role="assistant", content=substitute(text, fields)) for text in begun)
        return (*earlier, Message(role="user", content=turn), *own)

    def payload(self, turn: str, lang: Lang, wording: Wording = "test") -> str:
        """What a dressed last user turn carries: the text of the field `q`, or of the only field there is.

        Raises:
            ValueError: the turn was not made from this wording, or several fields carry the request.
        """
        template = self._template(lang, wording)
        names = set(_FIELD.findall(template))
        wanted = "q" if "q" in names else next(iter(names))
        if wanted != "q" and len(names) > 1:
            raise ValueError(f"attack {self.name}: its wordings carry the request in several fields, not in one.")
        found = re.fullmatch(_as_pattern(template), turn, re.DOTALL)
        if found is None:
            raise ValueError(f"attack {self.name}: the turn does not follow its {wording} wording in {lang!r}.")
        return found[wanted]

    def _template(self, lang: Lang, wording: Wording) -> str:
        if lang not in self.languages:
            raise ValueError(f"attack {self.name} speaks {', '.join(self.languages)}, not {lang!r}")
        return self.wordings[lang][WORDINGS.index(wording)]


def substitute(template: str, fields: dict[str, str]) -> str:
    """Fill the fields in one pass, so that braces inside a request are never read as fields.

    Raises:
        KeyError: the template names a field that the family does not fill.
    """
    return _FIELD.sub(lambda found: fields[found[1]], template)


def _as_pattern(template: str) -> str:
    """The template as a regular expression with a group per field; a field that occurs again must be the same."""
    seen: set[str] = set()
    parts = []
    for place, part in enumerate(_FIELD.split(template)):
        if place % 2 == 0:
            parts.append(re.escape(part))
        else:
            parts.append(f"(?P={part})" if part in seen else f"(?P<{part}>.*)")
            seen.add(part)
    return "".join(parts)


def halves(pieces: Sequence[str], lang: Lang) -> tuple[str, str]:
    """Split the pieces of a request in the middle; the parts joined give the request again."""
    separator = " " if lang == "en" else ""
    middle = (len(pieces) + 1) // 2
    return separator.join(pieces[:middle]), separator.join(pieces[middle:])
