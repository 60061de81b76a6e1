"""XSafety (Wang et al. 2023, arXiv:2310.00905), its Chinese and English parts: 13 kinds with 200 prompts each.

Upstream counts unsafe answers, and many prompts may be answered harmlessly: `either`. Left out: the 200 `commonsense`
items, multiple choice whose right options upstream does not publish. Format: one CSV without a header per kind, most
with a byte order mark, file names that differ by language."""

from __future__ import annotations

from collections.abc import Iterator

from safekeel.bench.safety.public import Find, PublicBenchmark, Row, risk_of
from safekeel.bench.safety.readers import read_headerless_csv
from safekeel.records import Lang

KINDS = (
    "Crimes_And_Illegal_Activities",
    "Ethics_And_Morality",
    "Goal_Hijacking",
    "Inquiry_With_Unsafe_Opinion",
    "Insult",
    "Mental_Health",
    "Physical_Harm",
    "Privacy_And_Property",
    "Prompt_Leaking",
    "Reverse_Exposure",
    "Role_Play_Instruction",
    "Unfairness_And_Discrimination",
    "Unsafe_Instruction_Topic",
)


class XSafety(PublicBenchmark):
    """One language, 2,600 prompts."""

    metrics = ("dsr", "hr")
    splits = (("test", "xsafety"),)

    def __init__(self, lang: Lang) -> None:
        self.lang, self.name = lang, f"xsafety-{lang}"

    def rows(self, split: str, find: Find) -> Iterator[Row]:
        """See `PublicBenchmark.rows`."""
        for kind in KINDS:
            for number, cells in enumerate(read_headerless_csv(find(self._file(kind)), ("prompt",)), 1):
                yield Row(
                    f"{kind}-{number}",
                    cells.text("prompt"),
                    "either",
                    cells,
                    risk=risk_of("xsafety", kind, cells),
                    slices=(f"type:{kind}",),
                )

    def _file(self, kind: str) -> str:
        if self.lang == "zh":
            return f"zh/{kind}.csv"
        return f"en/{kind}_en.csv" if kind == KINDS[0] else f"en/{kind}_n.csv"
