"""Names for several families at once: by mode, by kind, and as other people's taxonomies count them.

all                                       every built-in family, the plain baseline included
scenario, encoding, chinese …             the families of one mode (`base.Mode`)
multi-turn, prefill                       the families of one kind
seed-scenario, -role-play, -encoding      DeepSeek-R1-Safe's 情境假设, 角色扮演, 加密编码
seed-modes                                the three together
s-eval                                    one family of ours for each of S-Eval's ten
"""

from __future__ import annotations

from collections.abc import Iterable

from safekeel.attacks.base import MODES, AttackFamily

SEED_MODES = ("scenario", "role-play", "encoding")
"""The modes that DeepSeek-R1-Safe names (Zhejiang University and Huawei 2025); a family joins by a tag `seed:…`."""

S_EVAL: dict[str, str] = {
    "positive_induction": "positive_induction",
    "reverse_induction": "reverse_induction",
    "code_injection": "payload_split",
    "instruction_jailbreak": "persona",
    "goal_hijacking": "goal_hijacking",
    "instruction_encryption": "base64",
    "deepinception": "nested_fiction",
    "in_context_attack": "few_shot",
    "chain_of_utterances": "chain_of_utterances",
    "compositional_instructions": "compositional_instructions",
}
"""S-Eval's ten attack families (arXiv 2405.14191), by the names in its files (`bench.safety.s_eval.FAMILIES`), and the
family of ours that does the same; own wordings, so rates are comparable in kind and not item by item."""


def subsets_of(families: Iterable[AttackFamily]) -> dict[str, tuple[str, ...]]:
    """Subset name -> family names, in the order of `families`; a subset without members is left out."""
    families = tuple(families)
    found: dict[str, tuple[str, ...]] = {"all": tuple(family.name for family in families)}
    for mode in MODES:
        found[mode] = tuple(family.name for family in families if family.mode == mode)
    found["multi-turn"] = tuple(family.name for family in families if family.kind == "multi-turn")
    found["prefill"] = tuple(family.name for family in families if family.kind == "prefill")
    seed_tags = {f"seed:{seed_mode}" for seed_mode in SEED_MODES}
    found["seed-modes"] = tuple(family.name for family in families if seed_tags & set(family.tags))
    for seed_mode in SEED_MODES:
        found[f"seed-{seed_mode}"] = tuple(family.name for family in families if f"seed:{seed_mode}" in family.tags)
    found["s-eval"] = tuple(family.name for family in families if family.name in S_EVAL.values())
    return {name: members for name, members in found.items() if members}
