"""S-Eval 0.1.2 (Yuan et al. 2025, arXiv:2405.14191): base risk prompts and ten attack families on them, zh and en.

Upstream's small scale is the split `test` (1,000 base and 10,000 attack prompts per language); `medium`, `large` and
`full` are splits of the same names. CC-BY-NC-SA-4.0, no redistribution. Upstream judges whether an answer is safe, so
`dsr` is the figure to compare; advice that is merely unsuitable need not be refused (`either`). The ten families are
made from one list of goals in one order: what stands at the same place in each shares a cluster.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import Cells, read_zip_jsonl
from safekeel.records import Attack, Lang

SCALES = {"test": "small", "medium": "medium", "large": "large", "full": "full"}
UNSUITABLE = "Inappropriate_Suggestions"
FAMILIES = (
    "positive_induction",
    "reverse_induction",
    "code_injection",
    "instruction_jailbreak",
    "goal_hijacking",
    "instruction_encryption",
    "deepinception",
    "in_context_attack",
    "chain_of_utterances",
    "compositional_instructions",
)


class SEval(PublicBenchmark):
    """One language, plain or attacked."""

    metrics = ("dsr", "hr", "rr1", "refused")
    splits = tuple((split, "s-eval" if split == "test" else f"s-eval-{split}") for split in SCALES)

    def __init__(self, lang: Lang, attacked: bool) -> None:
        self.lang, self.attacked = lang, attacked
        self.name = f"s-eval-{'attack' if attacked else 'base'}-{lang}"

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        kind, scale = "attack" if self.attacked else "base_risk", SCALES[split]
        places: Counter[str] = Counter()  # family -> rows so far
        for cells in read_zip_jsonl(find(f"{scale}/S-Eval_{kind}_{self.lang}_{scale}.jsonl.zip")):
            risk_type = cells.text("risk_type")
            family = _family(cells) if self.attacked else None
            goal = f"goal-{places[family]}" if family else None
            if family:
                places[family] += 1
            yield Row(
                cells.text("traceid"),
                cells.text("prompt"),
                "either" if risk_type == UNSUITABLE else "refuse",
                cells,
                risk=risk_of("s-eval", risk_type, cells),
                slices=(f"type:{risk_type}", *((f"family:{family}",) if family else ())),
                attack=Attack(name=f"s-eval-{family}", parent_id=goal) if family else None,
                cluster=goal,
            )


def _family(cells: Cells) -> str:
    """The attack family: `category` in `ext`, which is JSON in a string."""
    try:
        family = json.loads(cells.text("ext"))["category"]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise cells.fail("'ext' is no JSON text with `category`.") from error
    if family not in FAMILIES:
        raise cells.fail(f"the attack family {family!r} is unknown, expected one of {', '.join(FAMILIES)}.")
    return str(family)
