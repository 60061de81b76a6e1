"""Direct: the request as it is.

The baseline that every other family is compared with. A reasoning model that complies here has no use for an attack;
what a family adds is the difference to this one, on the same requests.
"""

from safekeel.attacks.base import AttackFamily

FAMILY = AttackFamily(
    name="direct",
    goal="ask plainly: the baseline of every comparison",
    source="own",
    mode="plain",
    wordings={"en": ("{q}", "{q}", "{q}"), "zh": ("{q}", "{q}", "{q}")},
)
