"""Stage 10-corpus: sources -> duplicates out -> contamination out -> training rows, rejected rows, data card.

Three kinds of sample: risky prompts with safe reasoning, harmless twins that are answered, and capability replay
that the base model writes itself and that is kept only when its answer is right (what the model already says costs
it nothing to keep saying; DGR, arXiv 2602.02136; RL's Razor, arXiv 2509.04259).
"""

from __future__ import annotations

import random
from pathlib import Path

from pydantic import Field

from safekeel.artifact import Stage, atomic_write_json, atomic_write_text
from safekeel.bench.generate import generate
from safekeel.config import StageConfig
from safekeel.corpus.card import card_markdown, corpus_card
from safekeel.corpus.nano_source import capability_prompts, paired_requests, safety_samples
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.steps import decontaminate, drop_duplicates
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError
from safekeel.judges.base import Judge
from safekeel.nano.words import Words
from safekeel.progress import Progress
from safekeel.records import Prompt, write_jsonl

STAGE, VERSION = "corpus", "1"
REPLAY_MAX_TOKENS = 96


class CorpusConfig(StageConfig):
    """How many samples of each kind; the ablations of the README set single numbers to 0."""

    num_pairs: int = Field(700, ge=0)
    """Risky prompts of the SFT split, each with its harmless twin."""
    counter_pairs: bool = True
    """Keep the harmless twins."""
    attacked_share: float = Field(0.4, ge=0, le=1)
    """Share of the pairs that is dressed by one of the seen attack families."""
    num_replay: int = Field(1100, ge=0)
    """Capability prompts the base model answers itself."""
    num_rl_pairs: int = Field(300, ge=0)
    """Risky prompts of the RL split, each with its harmless twin; no word, template or prompt of the SFT split."""
    num_rl_capability: int = Field(200, ge=0)
    seed: int = 0


def run(
    config: CorpusConfig,
    stage: Stage,
    engine: Engine,
    judge: Judge,
    words: Words,
    held_out: list[Prompt],
    progress: Progress,
) -> None:
    """Fill the stage folder. `held_out` are all validation and test items: nothing like them may enter training."""
    stage.begin()
    rng = random.Random(config.seed)
    pairs = paired_requests(words, "sft", config.num_pairs, config.attacked_share, rng)
    made = safety_samples(pairs)
    if not config.counter_pairs:
        made = [sample for sample in made if sample.role != "counter"]
    replay, rejected = replay_samples(config, stage.dir, engine, judge, words, rng, progress)
    kept, dropped = clean([*made, *replay], held_out)
    rejected += dropped
    rl_prompts = base_results(rl_pool(config, words, held_out, rng), stage.dir, engine, judge, progress)
    if not kept:
        raise DataError(f"{stage.dir}: all {len(rejected)} samples were rejected; see rejected.jsonl for the reasons.")
    outputs = [
        stage.dir / name
        for name in ("sft.jsonl", "rl.jsonl", "rejected.jsonl", "card.json", "card.md", "replay.jsonl", "rl_base.jsonl")
    ]
    rng.shuffle(kept)
    write_jsonl(outputs[0], kept)
    write_jsonl(outputs[1], rl_prompts)
    write_jsonl(outputs[2], rejected)
    card = corpus_card(kept, rl_prompts, rejected)
    atomic_write_json(outputs[3], card)
    atomic_write_text(outputs[4], card_markdown(card))
    counts = {
        "in": len(made) + config.num_replay,
        "kept": len(kept),
        "dropped": card["rejected"],
        "rl_prompts": len(rl_prompts),
    }
    stage.finish(outputs, counts)


def clean(samples: list[Sample], held_out: list[Prompt]) -> tuple[list[Sample], list[Rejected]]:
    """Duplicates first, then contamination; every rejected row keeps its reason."""
    unique, duplicates = drop_duplicates(samples)
    kept, contaminated = decontaminate(unique, held_out)
    return kept, duplicates + contaminated


def replay_samples(
    config: CorpusConfig,
    folder: Path,
    engine: Engine,
    judge: Judge,
    words: Words,
    rng: random.Random,
    progress: Progress,
) -> tuple[list[Sample], list[Rejected]]:
    """Let the base model answer capability prompts; keep what is right, in its own words."""
    prompts = capability_prompts(words, "sft", config.num_replay, rng, "replay")
    rows = generate(
        engine, prompts, Sampling(max_tokens=REPLAY_MAX_TOKENS), folder / "replay.jsonl", progress, "replay"
    )
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    for prompt, row in zip(prompts, rows, strict=True):
        sample = Sample(id=prompt.id, role="replay", prompt=prompt, thought=row.thought or "", answer=row.answer)
        grade = judge.judge(prompt, row)[-1]
        if grade.label == "correct":
            kept.append(sample)
        else:
            rejected.append(
                Rejected(sample=sample, reason="wrong_answer", evidence=grade.reason or f"expected {prompt.target}")
            )
    return kept, rejected


def rl_pool(config: CorpusConfig, words: Words, held_out: list[Prompt], rng: random.Random) -> list[Prompt]:
    """RL prompts: the RL split's own words and templates, cleaned like the SFT samples, shuffled."""
    pairs = paired_requests(words, "rl", config.num_rl_pairs, config.attacked_share, rng)
    prompts = [prompt for pair in pairs for prompt in pair]
    prompts += capability_prompts(words, "rl", config.num_rl_capability, rng, "rl-capability")
    samples = [Sample(id=prompt.id, role="risky", prompt=prompt, thought="", answer="") for prompt in prompts]
    kept, _ = clean(samples, held_out)
    rng.shuffle(kept)
    return [sample.prompt for sample in kept]


def base_results(
    prompts: list[Prompt],
    folder: Path,
    engine: Engine,
    judge: Judge,
    progress: Progress,
) -> list[Prompt]:
    """Note on every RL capability prompt whether the base solves it: RL's capability constraint is paired against
    that."""
    graded = [prompt for prompt in prompts if prompt.expect in ("solve", "choose")]
    rows = generate(
        engine, graded, Sampling(max_tokens=REPLAY_MAX_TOKENS), folder / "rl_base.jsonl", progress, "base on RL prompts"
    )
    solved = {p.id: judge.judge(p, row)[-1].label == "correct" for p, row in zip(graded, rows, strict=True)}
    return [
        prompt.model_copy(update={"meta": prompt.meta | {"base_correct": solved[prompt.id]}})
        if prompt.id in solved
        else prompt
        for prompt in prompts
    ]
