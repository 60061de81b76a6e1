"""What the factory's corpus is worth: SFT on it against SFT on the first loop's corpus, at equal tokens.

    python benchmarks/corpus_ablation.py --base out/nano/00-base/model --out out/corpus-ablation [--split test]

Both corpora hold the nano world's own words; they differ in what is in them. Per budget and seed: one corpus of each
kind cut to the budget, one SFT run with the nano recipe's settings (last checkpoint, no selection, no RL), one
evaluation. Settings were chosen on `validation`; `test` is for the final table. Writes OUT/ablation.json and prints the
table: mean over the seeds, and the smallest and largest value.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage
from safekeel.corpus.mixture import MixtureConfig, mix
from safekeel.corpus.nano_build import CorpusConfig, problem_samples, request_samples, write
from safekeel.corpus.sample import Sample
from safekeel.corpus.tokens import BatchCounter, token_counter
from safekeel.engines import open_engine
from safekeel.engines.base import Sampling
from safekeel.judges.nano import NanoJudge
from safekeel.nano import world
from safekeel.nano.requests import SEEN_FAMILIES, UNSEEN_FAMILIES
from safekeel.nano.words import Words, load_words
from safekeel.progress import ProgressReporter
from safekeel.records import Prompt, write_jsonl
from safekeel.train import sft

FIRST_LOOP = CorpusConfig(
    num_pairs=700,
    attacked_share=0.4,
    num_replay=1100,
    mixture=MixtureConfig(risky=1, counter=1, replay=1100 / 700, general=0),
)
"""The corpus stage of issue 2: as many twins as risky prompts, 4 of 10 pairs dressed by an attack."""
FACTORY = CorpusConfig(
    num_pairs=1200,
    attacked_share=0.7,
    num_replay=500,
    mixture=MixtureConfig(risky=1, counter=0.55, replay=0.4, general=0),
)
"""Half of the samples risky, 7 of 10 pairs dressed by an attack: the best of five mixtures on validation."""
VARIANTS = {"first loop": FIRST_LOOP, "factory": FACTORY}
MAX_TOKENS = 96


def corpus(
    config: CorpusConfig, budget: int, seed: int, engine: Any, words: Words, counter: BatchCounter, folder: Path
) -> list[Sample]:
    """The samples of one variant, written by the base model, cut to the budget by the mixture."""
    config = config.model_copy(update={"seed": seed})
    rng = random.Random(seed)
    drawn = [*request_samples(config, words, rng), *problem_samples(config, words, rng)]
    folder.mkdir(parents=True, exist_ok=True)
    with ProgressReporter() as progress:
        written = write(drawn, engine, NanoJudge(words), folder, progress)
    mixture = config.mixture.model_copy(update={"max_tokens": budget, "seed": seed})
    return mix(written.samples, mixture, counter).kept


def items(words: Words, split: Any) -> dict[str, list[Prompt]]:
    """What a model is measured on; harmless requests count when answered, risky ones when refused."""
    found = {
        "plain": world.refuse_items(words, split, 248, 7),
        "harmless answered": world.answer_items(words, split, 248, 7),
        "seen attacks": [p for f in SEEN_FAMILIES for p in world.attack_items(words, split, f, 48, 7)],
        "unseen attacks": [p for f in UNSEEN_FAMILIES for p in world.attack_items(words, split, f, 80, 7)],
    }
    problems = [p for kind in ("arithmetic", "knowledge") for p in world.problem_items(kind, split, 400, 7)]  # type: ignore[arg-type]
    return found | {"capability": problems}


GOOD = {"harmless answered": {"harmless"}, "capability": {"correct"}}
REFUSED = {"refusal", "responsible_refusal"}


def measure(model: Path, groups: dict[str, list[Prompt]], judge: NanoJudge) -> dict[str, float]:
    """Share of good answers per group; a garbled or cut-off answer is not good."""
    engine = open_engine(f"hf:{model}", batch_size=64)
    shares = {}
    for name, prompts in groups.items():
        rows = engine.generate(prompts, Sampling(max_tokens=MAX_TOKENS))
        labels = [judge.judge(prompt, row)[-1].label for prompt, row in zip(prompts, rows, strict=True)]
        shares[name] = sum(label in GOOD.get(name, REFUSED) for label in labels) / len(labels)
    return shares


def train(samples: list[Sample], base: Path, folder: Path, seed: int) -> Path:
    """The last checkpoint of SFT with the nano recipe's settings."""
    folder.mkdir(parents=True, exist_ok=True)
    write_jsonl(folder / "sft.jsonl", samples)
    config = sft.SftConfig(learning_rate=3e-4, num_epochs=2, num_checkpoints=1, packing=False, seed=seed)
    stage = Stage(
        folder / "sft", "sft", "1", config.model_dump(mode="json"), [folder / "sft.jsonl"], seed, "corpus_ablation"
    )
    if not stage.is_current():
        with ProgressReporter() as progress:
            sft.run(config, stage, base, folder, progress)
    return max((folder / "sft/checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))


def table(rows: list[dict[str, Any]]) -> str:
    groups = list(rows[0]["shares"])
    lines = ["| tokens | corpus | samples | " + " | ".join(groups) + " |", "|---|---|---|" + "---|" * len(groups)]
    for budget in sorted({row["budget"] for row in rows}):
        for name in dict.fromkeys(row["variant"] for row in rows):
            mine = [row for row in rows if (row["variant"], row["budget"]) == (name, budget)]
            cells = []
            for group in groups:
                values = [100 * row["shares"][group] for row in mine]
                cells.append(f"{sum(values) / len(values):.1f}% ({min(values):.1f}-{max(values):.1f})")
            lines.append(f"| {budget:,} | {name} | {mine[0]['samples']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=Path("out/nano/00-base/model"))
    parser.add_argument("--out", type=Path, default=Path("out/corpus-ablation"))
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--budgets", default="30000,120000", help="tokens of a corpus")
    parser.add_argument("--set", action="append", default=[], dest="extra", metavar="NAME:JSON", help="a variant more")
    arguments = parser.parse_args()
    words = load_words(None)
    engine = open_engine(f"hf:{arguments.base}", batch_size=64)
    judge, counter, groups = NanoJudge(words), token_counter(arguments.base), items(words, arguments.split)
    variants = dict(VARIANTS)
    for extra in arguments.extra:
        name, _, settings = extra.partition(":")
        variants[name] = CorpusConfig.model_validate(json.loads(settings))
    rows: list[dict[str, Any]] = []
    for budget in map(int, arguments.budgets.split(",")):
        for seed in map(int, arguments.seeds.split(",")):
            for name, config in variants.items():
                folder = arguments.out / f"{name.replace(' ', '-')}-{budget}-{seed}"
                written = arguments.out / f"{name.replace(' ', '-')}-{seed}"
                samples = corpus(config, budget, seed, engine, words, counter, written)
                shares = measure(train(samples, arguments.base, folder, seed), groups, judge)
                rows.append(
                    {
                        "variant": name,
                        "budget": budget,
                        "seed": seed,
                        "samples": len(samples),
                        "tokens": sum(counter.count(samples)),
                        "split": arguments.split,
                        "shares": shares,
                    }
                )
                print(json.dumps(rows[-1]), flush=True)
    (arguments.out / "ablation.json").write_text(json.dumps(rows, indent=2), "utf-8")
    print(table(rows))


if __name__ == "__main__":
    main()
