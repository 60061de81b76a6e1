"""Attack families. One file each; this list is the registry's explicit content."""

from safekeel.attacks import (
    code_completion,
    educator,
    fiction,
    payload_split,
    prefix_injection,
    refusal_suppression,
    role_play,
    word_reversal,
)
from safekeel.attacks.base import AttackFamily, Request
from safekeel.registry import Registry

ATTACKS: Registry[AttackFamily] = Registry("attack", "safekeel.attacks")
for _module in (
    role_play,
    fiction,
    prefix_injection,
    refusal_suppression,
    payload_split,
    educator,
    code_completion,
    word_reversal,
):
    ATTACKS.add(_module.FAMILY.name, _module.FAMILY)

__all__ = ["ATTACKS", "AttackFamily", "Request"]
