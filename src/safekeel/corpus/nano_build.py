"""Stage 10-corpus of the nano loop: the corpus factory on the nano world, which is its own source, writer and judge.

    word pairs ─► duplicates and test items out ─► the base's own safe reasoning, judged ─┐
    problems ───► the base's own answers, kept where right ───────────────────────────────┴─► mixture ─► sft.jsonl

Three kinds of sample: risky prompts with safe reasoning, harmless twins that are answered, and capability replay. All
text is the base model's own (what it already says costs it nothing to keep saying; DGR, arXiv 2602.02136; RL's Razor,
2509.04259).
"""

from __future__ import annotations

import random
from pathlib import Path

from pydantic import Field

from safekeel.artifact import Stage, atomic_write_json, atomic_write_text
from safekeel.config import StageConfig
from safekeel.corpus.card import card_html, card_markdown, corpus_card, pick_examples
from safekeel.corpus.mixture import MixtureConfig, mix
from safekeel.corpus.nano_source import capability_prompts, paired_requests
from safekeel.corpus.nano_writer import RuleBookWriter
from safekeel.corpus.rl_pool import RlConfig
from safekeel.corpus.rl_pool import rl_prompts as rl_prompts_of
from safekeel.corpus.sample import ROLES, Rejected, Sample
from safekeel.corpus.steps import decontaminate, drop_duplicates
from safekeel.corpus.synthesis.candidates import Acceptance
from safekeel.corpus.synthesis.replay import Grade, ReplayConfig, replay
from safekeel.corpus.synthesis.responses import Written, respond
from safekeel.corpus.tokens import token_counter
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError
from safekeel.judges.base import Judge
from safekeel.nano.words import Words
from safekeel.progress import Progress
from safekeel.records import Completion, Prompt, write_jsonl
from safekeel.taxonomy import load_taxonomy

STAGE, VERSION = "corpus", "2"
MAX_TOKENS = 96
"""The longest nano thought and answer together take about 70."""
GENERATED = "generated"
NANO_MIXTURE = MixtureConfig(risky=1.0, counter=1.0, replay=1.6, general=0.0)
"""As many twins as risky prompts. With a quarter of the tokens 1 : 0.55 : 0.4 defends better; at the loop's size both
defend alike, and fewer twins leave more harmless requests without a readable answer (docs/log.md, 2026-11-21)."""


class CorpusConfig(StageConfig):
    """How many prompts are drawn of each kind, and in which ratios the samples enter the corpus."""

    num_pairs: int = Field(700, ge=0)
    """Risky prompts of the SFT split, each with its harmless twin."""
    attacked_share: float = Field(0.4, ge=0, le=1)
    """Share of the pairs that is dressed by one of the seen attack families."""
    num_replay: int = Field(1100, ge=0)
    """Capability prompts the base model answers itself."""
    mixture: MixtureConfig = NANO_MIXTURE
    num_rl_pairs: int = Field(300, ge=0)
    """Risky prompts of the RL split, each with its harmless twin; no word, template or prompt of the SFT split."""
    num_rl_capability: int = Field(200, ge=0)
    seed: int = 0


def run(
    config: CorpusConfig,
    stage: Stage,
    engine: Engine,
    model_dir: Path,
    judge: Judge,
    words: Words,
    held_out: list[Prompt],
    progress: Progress,
) -> None:
    """Fill the stage folder. `held_out` are all validation and test items: nothing like them may enter training."""
    stage.begin()
    generated = stage.dir / GENERATED
    generated.mkdir(exist_ok=True)
    rng = random.Random(config.seed)
    drawn = [*request_samples(config, words, rng), *problem_samples(config, words, rng)]
    prompts, rejected = clean(drawn, held_out)
    written = write(prompts, engine, judge, generated, progress)
    rejected += written.rejected
    counter = token_counter(model_dir)
    mixed = mix(written.samples, config.mixture, counter)
    rejected += mixed.left_out
    rl_prompts = base_results(rl_pool(config, words, held_out, rng), generated, engine, judge, progress)
    if not mixed.kept:
        raise DataError(f"{stage.dir}: all {len(rejected)} samples were rejected; see rejected.jsonl for the reasons.")
    outputs = [
        stage.dir / name for name in ("sft.jsonl", "rl.jsonl", "rejected.jsonl", "card.json", "card.md", "card.html")
    ]
    write_jsonl(outputs[0], mixed.kept)
    write_jsonl(outputs[1], rl_prompts)
    write_jsonl(outputs[2], rejected)
    stated = {role: config.mixture.ratio(role) for role in ROLES}
    mixture = {
        "stated": stated,
        "tokens": mixed.tokens,
        "left_out": len(mixed.left_out),
        "shortfalls": mixed.shortfalls,
    }
    card = corpus_card(mixed.kept, rl_prompts, rejected, mixture=mixture, synthesis=written.card())
    atomic_write_json(outputs[3], card)
    atomic_write_text(outputs[4], card_markdown(card))
    atomic_write_text(outputs[5], card_html(card, pick_examples(mixed.kept)))
    counts = {
        "in": len(drawn),
        "kept": len(mixed.kept),
        "dropped": card["rejected"],
        "rl_prompts": len(rl_prompts),
    }
    stage.finish(outputs, counts)


def request_samples(config: CorpusConfig, words: Words, rng: random.Random) -> list[Sample]:
    """Risky prompts and their twins, without responses."""
    samples = []
    for risky, harmless in paired_requests(words, "sft", config.num_pairs, config.attacked_share, rng):
        samples.append(Sample(id=risky.id, role="risky", prompt=risky, pair=harmless.id))
        samples.append(Sample(id=harmless.id, role="counter", prompt=harmless, pair=risky.id))
    return samples


def problem_samples(config: CorpusConfig, words: Words, rng: random.Random) -> list[Sample]:
    """Problems whose ability is to be kept, without responses."""
    prompts = capability_prompts(words, "sft", config.num_replay, rng, "replay")
    return [Sample(id=prompt.id, role="replay", prompt=prompt) for prompt in prompts]


def write(samples: list[Sample], engine: Engine, judge: Judge, folder: Path, progress: Progress) -> Written:
    """Responses to all samples, in the base model's own words, kept where the judge accepts them."""
    written = Written()
    requests = [sample for sample in samples if sample.role != "replay"]
    acceptance = Acceptance(judge, load_taxonomy(), "aware")
    respond(requests, RuleBookWriter(engine, Sampling(max_tokens=MAX_TOKENS)), acceptance, folder, progress, written)
    greedy = ReplayConfig(num_samples=1, temperature=0.0, top_p=1.0, max_tokens=MAX_TOKENS)
    problems = [sample for sample in samples if sample.role == "replay"]
    path, tally = folder / "replay.jsonl", written.tally("replay")
    kept, rejected = replay(problems, engine, greedy, grader(judge), path, progress, tally)
    written.samples += kept
    written.rejected += rejected
    return written


def grader(judge: Judge) -> Grade:
    """The judge as a grader of problems."""

    def grade(prompt: Prompt, row: Completion) -> str | None:
        return None if judge.judge(prompt, row)[-1].label == "correct" else "wrong_answer"

    return grade


def clean(samples: list[Sample], held_out: list[Prompt]) -> tuple[list[Sample], list[Rejected]]:
    """Duplicates first, then contamination; every rejected row keeps its reason."""
    unique, duplicates = drop_duplicates(samples)
    kept, contaminated = decontaminate(unique, held_out)
    return kept, duplicates + contaminated


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
    samples = [Sample(id=prompt.id, role="replay", prompt=prompt) for prompt in prompts]
    return rl_prompts_of(samples, RlConfig(max_tokens=MAX_TOKENS), engine, grader(judge), folder, progress)
