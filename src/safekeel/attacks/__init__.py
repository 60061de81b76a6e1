"""Attack families. One file each; this list is the registry's explicit content.

ATTACKS    families by name: the eight of the nano world first, new ones at the end
SUBSETS    names for several families: modes, kinds, other people's taxonomies
resolve    names of families or subsets -> families
describe   what each family is, as rows to print

What the docstring of a family says about reasoning models is the expectation that the family tests, not a result.
"""

from collections.abc import Iterable
from typing import Any

from safekeel.attacks import (
    answer_prefill,
    base32,
    base64,
    binary,
    caesar,
    chain_of_utterances,
    classical_chinese,
    code_completion,
    compositional_instructions,
    developer_mode,
    dictionary_function,
    direct,
    educator,
    execution_thought,
    few_shot,
    fiction,
    foot_in_the_door,
    fullwidth,
    future_tense,
    goal_hijacking,
    hex,
    history_to_now,
    homoglyph,
    homophones,
    hypothetical,
    leet,
    long_puzzle,
    many_shot,
    markdown_table,
    math_letters,
    mixed_language,
    morse,
    nested_fiction,
    no_think,
    past_tense,
    payload_split,
    persona,
    pinyin,
    pinyin_initials,
    policy_puppetry,
    positive_induction,
    prefix_injection,
    radical_split,
    refusal_suppression,
    reverse_induction,
    reversed_characters,
    role_play,
    rot13,
    screenplay,
    summary_then_detail,
    think_prefill,
    token_split,
    toned_pinyin,
    traditional,
    variable_concatenation,
    word_reversal,
    zero_width,
)
from safekeel.attacks.base import AttackFamily, Request
from safekeel.attacks.subsets import subsets_of
from safekeel.errors import UsageError, nearest
from safekeel.registry import Registry

ATTACKS: Registry[AttackFamily] = Registry("attack", "safekeel.attacks")
BUILT_IN: tuple[AttackFamily, ...] = tuple(
    module.FAMILY
    for module in (
        role_play,
        fiction,
        prefix_injection,
        refusal_suppression,
        payload_split,
        educator,
        code_completion,
        word_reversal,
        direct,
        nested_fiction,
        hypothetical,
        screenplay,
        persona,
        developer_mode,
        chain_of_utterances,
        goal_hijacking,
        positive_induction,
        reverse_induction,
        policy_puppetry,
        compositional_instructions,
        few_shot,
        many_shot,
        past_tense,
        future_tense,
        foot_in_the_door,
        history_to_now,
        summary_then_detail,
        base64,
        base32,
        hex,
        rot13,
        caesar,
        morse,
        binary,
        leet,
        homoglyph,
        fullwidth,
        math_letters,
        zero_width,
        reversed_characters,
        token_split,
        pinyin,
        toned_pinyin,
        pinyin_initials,
        homophones,
        radical_split,
        traditional,
        classical_chinese,
        mixed_language,
        variable_concatenation,
        dictionary_function,
        markdown_table,
        execution_thought,
        long_puzzle,
        think_prefill,
        no_think,
        answer_prefill,
    )
)
for _family in BUILT_IN:
    ATTACKS.add(_family.name, _family)

SUBSETS: dict[str, tuple[str, ...]] = subsets_of(BUILT_IN)
"""Built-in families only, so that a subset means the same on every machine; name an installed family itself."""


def resolve(names: Iterable[str]) -> list[AttackFamily]:
    """The families of these names, each a family's or a subset's; every family once, in the order first named.

    Raises:
        UsageError: no such family or subset (the nearest is offered), or an installed family cannot be imported.
    """
    found: dict[str, AttackFamily] = {}
    known = ATTACKS.names()
    for name in names:
        if name not in SUBSETS and name not in known:
            raise UsageError(
                f"No attack family or subset {name!r}.{nearest(name, [*known, *SUBSETS])} "
                f"Subsets: {', '.join(SUBSETS)}. Families: {', '.join(known)}."
            )
        for member in SUBSETS.get(name, (name,)):
            found.setdefault(member, ATTACKS.get(member))
    return list(found.values())


def describe() -> list[dict[str, Any]]:
    """One row per family, installed ones included: name, mode, kind, languages, cost, tags, source, goal."""
    return [
        {
            "name": family.name,
            "mode": family.mode,
            "kind": family.kind,
            "languages": list(family.languages),
            "cost": family.cost_in_target_calls,
            "tags": list(family.tags),
            "source": family.source,
            "goal": family.goal,
        }
        for family in map(ATTACKS.get, ATTACKS.names())
    ]


__all__ = ["ATTACKS", "BUILT_IN", "SUBSETS", "AttackFamily", "Request", "describe", "resolve"]
