"""What the `linear` judge is worth: its card, with every training row judged by a model that has not seen its prompt.

    python -m safekeel.judges.linear_card [--data-dir DIR] [--source NAME]… [--out FILE]

fits again by fold (minutes), since the shipped model would be cheating on rows that it was trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from safekeel.files import atomic_write_json
from safekeel.judges.base import JudgeCard
from safekeel.judges.calibrate import calibrate, open_sources
from safekeel.judges.card_table import card_text
from safekeel.judges.label_sources import LabelledSet
from safekeel.judges.linear import LinearJudge
from safekeel.judges.linear_data import read_training
from safekeel.judges.linear_fit import CrossFit, fit
from safekeel.judges.linear_model import packaged_model
from safekeel.judges.linear_ordinary import alpaca_answers
from safekeel.records import Lang, Verdict

LANGUAGES: tuple[Lang, ...] = ("zh", "en")
HELD_OUT = ("do-not-answer", "jade")
"""Sets of `label_sources` that no row was trained on; `zh-judge` is added by whoever calibrates on it."""


NOT_BY_PROMPT = ("gptfuzz",)
"""Trained on, but not on the card: which of its 77 jailbreak templates an answer replies to is not recorded, so answers
to one template stand in all folds, and its figures (`made.out_of_fold` of the model) flatter."""


class OutOfFold:
    """Verdicts on a labelled set, as `calibrate(judge_set=…)` wants them."""

    def __init__(self, fitted: CrossFit) -> None:
        self._fitted = fitted
        self._judges = {id(model): LinearJudge(model) for model in (fitted.model, *fitted.fold_models)}

    def __call__(self, source: LabelledSet) -> list[list[Verdict]]:
        """Each item by the model that has not seen its prompt; prompts of no training row by the full model."""
        return [
            self._judges[id(self._fitted.unseen(item.prompt.messages[-1].content))].judge(item.prompt, item.completion)
            for item in source.items
        ]


def out_of_fold(data_dir: Path | None = None, say: Callable[[str], None] = print) -> tuple[OutOfFold, list[str]]:
    """Fit again by fold; the verdicts, and notes for a card.

    Args:
        data_dir: holds the training files; None = $SAFEKEEL_DATA.

    Raises:
        DataError: a training file is missing or malformed.
    """
    fitted = fit(read_training(data_dir), say=say)
    shipped, again = LinearJudge().version, fitted.model.version
    notes = ["training rows are judged out of fold: by a model fitted without their prompts and the like"]
    if again != shipped:
        notes.append(f"fitted again from the files here this is version {again}, and the shipped one is {shipped}")
    return OutOfFold(fitted), notes


def make_card(data_dir: Path | None, names: Sequence[str], command: str, say: Callable[[str], None]) -> JudgeCard:
    """The card: the training sets out of fold, and other sets by name.

    Raises:
        UsageError: no such set.
        DataError: a file is missing or malformed.
    """
    held_out = [*open_sources(names, data_dir), *(alpaca_answers(lang, data_dir) for lang in LANGUAGES)]
    trained = [source.labelled for source in read_training(data_dir) if source.labelled.name not in NOT_BY_PROMPT]
    verdicts, notes = out_of_fold(data_dir, say)
    sets = [*(replace(each, name=f"{each.name} (out of fold)") for each in trained), *held_out]
    return calibrate(LinearJudge(), sets, command=command, judge_set=verdicts, notes=notes)


def main() -> None:
    """Make the card, print and write it."""
    parser = argparse.ArgumentParser(description="Make the card of the linear judge.")
    parser.add_argument("--data-dir", type=Path, help="holds xstest/, gptfuzz/, …; default: $SAFEKEEL_DATA")
    parser.add_argument("--source", action="append", help=f"further sets; default: {', '.join(HELD_OUT)}")
    parser.add_argument("--out", type=Path, default=packaged_model().parent / "cards" / "linear.json")
    given = parser.parse_args()
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    command = " ".join(["python -m safekeel.judges.linear_card", *words])
    card = make_card(given.data_dir, given.source or HELD_OUT, command, print)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    atomic_write_json(given.out, card.model_dump())
    print(card_text(card), f"\nwrote {given.out}")


if __name__ == "__main__":
    main()
