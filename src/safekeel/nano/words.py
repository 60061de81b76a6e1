"""The words of the nano world, one data file per split, and what they mean together.

A request is `verb + object`. Its risk is a property of the *pair*: a risky verb with a sensitive object of the same
category is risky ("stab a lodger"); the same verb with a harmless object ("stab a potato") and a harmless verb with the
same object ("protect a lodger") are not. No single word decides, so no word can give the answer away.

`words/{sft,rl,validation,test}.toml` share one schema; the safety stages read their own file and never the test file,
which `nano.test_words=FILE` replaces.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Literal, get_args

from safekeel.artifact import digest
from safekeel.errors import DataError
from safekeel.nano.arithmetic import Lang

WordSplit = Literal["sft", "rl", "validation", "test"]
Kind = Literal["risky", "lookalike", "ordinary"]
WORD_SPLITS: tuple[WordSplit, ...] = get_args(WordSplit)
LANGS: tuple[Lang, ...] = ("zh", "en")
ROLES = ("verbs", "objects", "harmless_objects")
SHARED_ROLES = ("harmless_verbs", "ordinary")


@dataclass(frozen=True)
class Pair:
    """What a request asks for. `risk` is the taxonomy id for a risky pair, else None; `home` the category it came
    from."""

    lang: Lang
    verb: str
    object: str  # "" for an ordinary request, which is one phrase
    kind: Kind
    home: str | None
    verb_split: WordSplit
    object_split: WordSplit

    @property
    def risk(self) -> str | None:
        return self.home if self.kind == "risky" else None

    @property
    def phrase(self) -> str:
        return join(self.lang, self.verb, self.object)

    @property
    def segments(self) -> tuple[str, ...]:
        return (self.verb, self.object) if self.object else (self.verb,)


def join(lang: Lang, *parts: str) -> str:
    """English words are separated by spaces, Chinese ones are not."""
    return (" " if lang == "en" else "").join(part for part in parts if part)


@dataclass(frozen=True)
class Words:
    """All words by split, category and language, plus the meaning of every phrase that can be formed from them."""

    tables: dict[WordSplit, dict]
    meaning: dict[tuple[Lang, str], Pair]

    def digests(self) -> dict[str, str]:
        """One digest per split: says whether a model was taught exactly these words."""
        return {split: digest(table) for split, table in self.tables.items()}

    def categories(self) -> tuple[str, ...]:
        return tuple(sorted(name for name in self.tables["test"] if name != "shared"))

    def pairs(self, kind: Kind, verb_split: WordSplit, object_split: WordSplit, lang: Lang) -> Iterator[Pair]:
        """Every pair of one kind with the verb from one split and the object from another."""
        return _pairs(self.tables, kind, verb_split, object_split, lang)


def _pairs(
    tables: dict[WordSplit, dict], kind: Kind, verbs: WordSplit, objects: WordSplit, lang: Lang
) -> Iterator[Pair]:
    shared = tables[verbs]["shared"][lang]
    if kind == "ordinary":
        for phrase in shared["ordinary"] if verbs == objects else ():
            yield Pair(lang, phrase, "", "ordinary", None, verbs, verbs)
        return
    for category in tables[verbs]:
        if category == "shared":
            continue
        risky_verbs = tables[verbs][category][lang]["verbs"]
        target = tables[objects][category][lang]
        if kind == "risky":
            combinations = [(verb, thing) for verb in risky_verbs for thing in target["objects"]]
        else:
            combinations = [(verb, thing) for verb in risky_verbs for thing in target["harmless_objects"]]
            combinations += [(verb, thing) for verb in shared["harmless_verbs"] for thing in target["objects"]]
        for verb, thing in combinations:
            yield Pair(lang, verb, thing, kind, category, verbs, objects)


def load_words(test_words: Path | None = None) -> Words:
    """Read the four word files (the test file may be replaced) and check them.

    Raises:
        DataError: a file is missing, malformed, lacks a category or a role, or a word occurs in two splits.
    """
    tables: dict[WordSplit, dict] = {}
    for split in WORD_SPLITS:
        path = (
            test_words
            if split == "test" and test_words
            else resources.files("safekeel.nano") / "words" / f"{split}.toml"
        )
        try:
            tables[split] = tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise DataError(f"{path}: {error}. Expected a UTF-8 TOML word list like nano/words/test.toml.") from error
        _check_schema(tables[split], tables["sft"], str(path))
    _check_disjoint(tables)
    return Words(tables, _meanings(tables))


def _check_schema(table: dict, model: dict, path: str) -> None:
    if missing := sorted(set(model) - set(table)):
        raise DataError(f"{path}: no words for {', '.join(missing)}; every category of nano/words/sft.toml is needed.")
    for name in model:
        for lang in LANGS:
            for role in SHARED_ROLES if name == "shared" else ROLES:
                words = table[name].get(lang, {}).get(role)
                if not words or not all(isinstance(word, str) and word.strip() for word in words):
                    raise DataError(
                        f'{path}: ["{name}".{lang}] needs a non-empty list of strings `{role}`, got {words!r}.'
                    )


def _check_disjoint(tables: dict[WordSplit, dict]) -> None:
    """No word may serve two splits: it would carry what a safety stage learnt over to the test."""
    seen: dict[tuple[str, str, str], WordSplit] = {}
    for split, table in tables.items():
        for category in table.values():
            for lang in LANGS:
                for role, words in category[lang].items():
                    group = "verb" if role in ("verbs", "harmless_verbs") else "object"
                    for word in words:
                        owner = seen.setdefault((lang, group, word), split)
                        if owner != split:
                            raise DataError(
                                f"{lang} {group} {word!r} is in the word lists of {owner} and {split}; keep it in one."
                            )


def _meanings(tables: dict[WordSplit, dict]) -> dict[tuple[Lang, str], Pair]:
    meaning: dict[tuple[Lang, str], Pair] = {}
    for verbs in WORD_SPLITS:
        for objects in WORD_SPLITS:
            for kind in ("ordinary", "lookalike", "risky"):
                for lang in LANGS:
                    for pair in _pairs(tables, kind, verbs, objects, lang):
                        known = meaning.setdefault((lang, pair.phrase), pair)
                        if known.risk != pair.risk:
                            raise DataError(
                                f"{lang} {pair.phrase!r} means both {known.risk} and {pair.risk}; change a word of it."
                            )
    return meaning
