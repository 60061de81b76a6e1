"""The data card: what is in the corpus, what was thrown out and why, computed from the rows themselves."""

from __future__ import annotations

from collections import Counter

from safekeel.corpus.sample import Rejected, Sample
from safekeel.records import Prompt


def _counts(values: list[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def corpus_card(kept: list[Sample], rl_prompts: list[Prompt], rejected: list[Rejected]) -> dict:
    """Counts by role, language, category, attack, source and licence; lengths in characters; rejections by reason."""
    risky = [sample for sample in kept if sample.role == "risky"]
    lengths = sorted(len(sample.thought) + len(sample.answer) for sample in kept)
    return {
        "samples": len(kept),
        "by_role": _counts([sample.role for sample in kept]),
        "by_language": _counts([sample.prompt.lang for sample in kept]),
        "risky_by_category": _counts([sample.prompt.risk or "" for sample in risky]),
        "by_attack": _counts([sample.prompt.attack.name if sample.prompt.attack else "plain" for sample in kept]),
        "by_source": _counts([sample.prompt.source for sample in kept]),
        "by_licence": _counts([sample.prompt.licence for sample in kept]),
        "characters": {"median": lengths[len(lengths) // 2], "longest": lengths[-1]},
        "distinct_refusals": len({sample.answer for sample in risky}),
        "rl_prompts": {"total": len(rl_prompts), "by_expect": _counts([prompt.expect for prompt in rl_prompts])},
        "rejected": _counts([row.reason for row in rejected]),
    }


def card_markdown(card: dict) -> str:
    """The card for people."""
    lines = ["# Data card", "", f"{card['samples']} training samples, {card['rl_prompts']['total']} RL prompts.", ""]
    for title, key in (
        ("Role", "by_role"),
        ("Language", "by_language"),
        ("Attack", "by_attack"),
        ("Source", "by_source"),
        ("Licence", "by_licence"),
        ("Risky samples by category", "risky_by_category"),
        ("Rejected, by reason", "rejected"),
    ):
        lines += [
            f"## {title}",
            "",
            "| | rows |",
            "|---|---|",
            *(f"| {name} | {num} |" for name, num in card[key].items()),
            "",
        ]
    lines.append(f"Distinct refusals: {card['distinct_refusals']}.")
    lines.append(f"Thought and answer together: median {card['characters']['median']} characters.")
    return "\n".join(lines) + "\n"
