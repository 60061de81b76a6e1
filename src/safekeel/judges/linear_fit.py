"""Fit the `linear` judge: a logistic regression per head and language; probabilities and bounds from held-out scores.

    python -m safekeel.judges.linear_fit [--data-dir DIR] [--out FILE]

prints what it used and how well each head did out of fold. The same files give the same model on the same machine;
elsewhere the last digits of sums may differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from safekeel.files import sha256_file
from safekeel.judges.linear_data import Example, TrainingSource, read_training
from safekeel.judges.linear_features import DEFAULT, Features, Hashed, hashed, joined
from safekeel.judges.linear_folds import NUM_FOLDS, folds_of, same_prompt
from safekeel.judges.linear_model import Head, HeadName, LinearModel, packaged_model, read_model
from safekeel.judges.linear_solver import Bools, Floats, Rows, bounds, calibrated, matrix_of, solve
from safekeel.records import Lang

TARGETS: dict[HeadName, float] = {
    "refused": 0.9,
    "responsible": 0.8,  # both kinds are refusals: to abstain here would cost the refusal rate as well
    "harmful": 0.9,
    "harmful_given_prompt": 0.9,
    "thought_harmful": 0.9,
    "thought_aware": 0.9,
}
"""How often a head must be right in what it says, out of fold: on either side, and in every source with enough rows."""
SOURCE_WEIGHTS: dict[tuple[str, HeadName], float] = {("gptfuzz", "refused"): 0.2}
"""GPTFuzz has more rows than all others together, and only those of its refusals that begin like one."""
MIN_OF_EACH = 40  # rows of either label that a head needs
_LANGUAGES: tuple[Lang, ...] = ("zh", "en")


@dataclass(frozen=True)
class CrossFit:
    """The model fitted on everything, and for each fold one that has not seen the prompts of that fold."""

    model: LinearModel
    fold_models: Sequence[LinearModel]
    folds: Mapping[str, int]
    """`same_prompt` of every training prompt -> its fold."""

    def unseen(self, prompt: str) -> LinearModel:
        """The model that has not seen this prompt; the full one where none has."""
        fold = self.folds.get(same_prompt(prompt))
        return self.model if fold is None else self.fold_models[fold]


def fit(
    sources: Sequence[TrainingSource], features: Features = DEFAULT, say: Callable[[str], None] = print
) -> CrossFit:
    """Fit all heads that have examples enough.

    Args:
        say: gets a line per source and head.

    Raises:
        ValueError: no head has `MIN_OF_EACH` examples of either label.
    """
    used = [_provenance(source) for source in sources]
    for each in used:
        say(f"{each['name']}: {each['num_examples']} texts, {each['licence']}, labelled by {each['label_source']}")
    examples = [example for source in sources for example in source.examples]
    folds = folds_of([example.prompt for example in examples])
    full: dict[Lang, dict[HeadName, Head]] = {}
    parts: list[dict[Lang, dict[HeadName, Head]]] = [{} for _ in range(NUM_FOLDS)]
    figures: list[dict[str, Any]] = []
    for lang in _LANGUAGES:
        heads = _Heads(lang, examples, features, folds)
        for name in TARGETS:
            figures += heads.fit(name, say)
        full[lang] = {name: head for name, (head, _) in heads.fitted.items()}
        for fold, part in enumerate(parts):
            part[lang] = {name: of_folds[fold] for name, (_, of_folds) in heads.fitted.items()}
    if not any(full.values()):
        raise ValueError(f"no head has {MIN_OF_EACH} examples of either label.")
    made = {"sources": used, "targets": dict(TARGETS), "num_folds": NUM_FOLDS, "out_of_fold": figures}
    return CrossFit(LinearModel(features, full, made), [LinearModel(features, part, {}) for part in parts], folds)


class _Heads:
    """The heads of one language, fitted one after the other: `harmful` learns from what `refused` lets through."""

    def __init__(self, lang: Lang, examples: Sequence[Example], features: Features, folds: Mapping[str, int]) -> None:
        self.lang = lang
        self.fitted: dict[HeadName, tuple[Head, list[Head]]] = {}
        self._features = features
        self._rows: list[tuple[Example, Hashed, int]] = []
        for example in examples:
            text = hashed(example.text, features)
            if text.is_chinese == (lang == "zh"):
                self._rows.append((example, text, folds[same_prompt(example.prompt)]))

    def fit(self, name: HeadName, say: Callable[[str], None]) -> list[dict[str, Any]]:
        """Fit one head and keep it; its out-of-fold figures, one per source. No head where rows are too few."""
        rows = self._labelled(name)
        if rows is None:
            say(f"{self.lang} {name}: no head, fewer than {MIN_OF_EACH} examples of either label")
            return []
        of_folds = [_head(rows.only(rows.folds != fold)) for fold in range(NUM_FOLDS)]
        scores = np.empty(len(rows.labels))
        for fold, head in enumerate(of_folds):
            scores[rows.folds == fold] = head.scores(rows.only(rows.folds == fold).matrix)
        slope, offset = calibrated(scores, rows)
        probabilities = 1 / (1 + np.exp(-(slope * scores + offset)))
        yes_from, no_to = bounds(probabilities, rows, TARGETS[name])
        of_all, *of_folds = (
            replace(head, slope=slope, offset=offset, yes_from=yes_from, no_to=no_to)
            for head in (_head(rows), *of_folds)
        )
        self.fitted[name] = of_all, of_folds
        figures = _figures(self.lang, name, of_all, rows, probabilities)
        for figure in figures:
            say(_line(figure))
        return figures

    def _labelled(self, name: HeadName) -> Rows | None:
        """The rows with a label for this head; `harmful_given_prompt` has those of `harmful`, and reads the prompt."""
        with_prompt = name == "harmful_given_prompt"
        label: HeadName = "harmful" if with_prompt else name
        chosen = [
            row
            for row in self._rows
            if label in row[0].labels
            and not (label == "harmful" and row[0].refusal_unknown and self._refuses(*row[1:]))
        ]
        if with_prompt:
            size = self._features
            chosen = [(row, joined(text, hashed(row.prompt, size), size), fold) for row, text, fold in chosen]
        labels: Bools = np.array([example.labels[label] for example, _, _ in chosen], dtype=bool)
        if min(labels.sum(), (~labels).sum()) < MIN_OF_EACH:
            return None
        return Rows(
            matrix_of([text for _, text, _ in chosen], 1 << self._features.bits),
            labels,
            np.array([SOURCE_WEIGHTS.get((example.source, name), 1.0) for example, _, _ in chosen]),
            np.array([fold for _, _, fold in chosen]),
            np.array([example.source for example, _, _ in chosen]),
        )

    def _refuses(self, text: Hashed, fold: int) -> bool:
        """Whether a text is more likely a refusal than not, out of fold."""
        fitted = self.fitted.get("refused")
        return fitted is not None and fitted[1][fold].probability(text) >= 0.5


def _head(rows: Rows) -> Head:
    weights, bias = solve(rows)
    return Head.quantised(weights, bias)


def _provenance(source: TrainingSource) -> dict[str, Any]:
    found = source.labelled
    return {
        "name": found.name,
        "licence": source.licence,
        "label_source": found.label_source,
        "num_examples": len(source.examples),
        "note": found.note,
        "files": {file.name: sha256_file(file) for file in found.files},
    }


def _figures(lang: Lang, name: HeadName, head: Head, rows: Rows, probabilities: Floats) -> list[dict[str, Any]]:
    """Out of fold, per source: right at 0.5 without abstention; and what the bounds leave."""
    says_yes = np.zeros(len(probabilities), bool) if head.yes_from is None else probabilities >= head.yes_from
    says_no = np.zeros(len(probabilities), bool) if head.no_to is None else probabilities <= head.no_to
    found = []
    for source in dict.fromkeys(rows.sources.tolist()):
        here = rows.sources == source
        yes, no, truth = says_yes[here], says_no[here], rows.labels[here]
        found.append(
            {
                "lang": lang,
                "head": name,
                "source": source,
                "num_rows": int(here.sum()),
                "num_yes": int(truth.sum()),
                "right_without_abstaining": float(np.mean((probabilities[here] >= 0.5) == truth)),
                "num_abstained": int(np.sum(~yes & ~no)),
                "num_said_yes": int(yes.sum()),
                "num_said_yes_right": int((yes & truth).sum()),
                "num_said_no": int(no.sum()),
                "num_said_no_right": int((no & ~truth).sum()),
                "bounds": head.needs,
            }
        )
    return found


def _line(figure: Mapping[str, Any]) -> str:
    return (
        f"{figure['lang']} {figure['head']:<22}{figure['source']:<14}{figure['num_rows']:>5} rows, "
        f"{figure['num_yes']:>4} yes; right {figure['right_without_abstaining']:.1%}; "
        f"says yes {figure['num_said_yes_right']}/{figure['num_said_yes']} right, "
        f"no {figure['num_said_no_right']}/{figure['num_said_no']} right, abstains {figure['num_abstained']} "
        f"({figure['bounds']})"
    )


def main() -> None:
    """Fit, print, and write the model."""
    parser = argparse.ArgumentParser(description="Fit the linear judge.")
    parser.add_argument("--data-dir", type=Path, help="holds xstest/ and gptfuzz/; default: $SAFEKEEL_DATA")
    parser.add_argument("--out", type=Path, default=packaged_model(), help="default: the packaged model")
    given = parser.parse_args()
    model = fit(read_training(given.data_dir)).model
    model.write(given.out)
    print(f"wrote {given.out}: version {read_model(given.out).version}, {given.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
