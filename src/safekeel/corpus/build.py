"""`safekeel corpus build`: from sources to a bilingual safe-reasoning corpus with its card.

    sources ─► clean ─► twins ─► responses (policy, best of k, corrected) ─┐
                 │        own answers (replay verified, general judged) ────┴─► mixture ─► sft.jsonl, rl.jsonl, card
                 └─ every rejected row, with step, reason and evidence ─► rejected.jsonl

The target model writes its own training data under a policy prompt that is then removed, so the corpus lies in its own
distribution (ThinkSafe, 2601.23143; DGR, 2602.02136). Everything a model writes is kept in `generated/` under content
keys: a killed build continues, and a build with other ratios or another judge generates nothing anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from safekeel.artifact import Stage, atomic_write_json, atomic_write_text
from safekeel.config import build as build_config
from safekeel.config import check_sections
from safekeel.corpus.build_card import build_card
from safekeel.corpus.card import card_html, card_markdown, pick_examples
from safekeel.corpus.cleaning import CleanConfig, Cleaning
from safekeel.corpus.mixture import MixtureConfig, mix
from safekeel.corpus.rl_pool import RlConfig, rl_prompts, split_off
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.sources.base import Source, SourcesConfig, read_sources
from safekeel.corpus.synthesis.candidates import Acceptance, OwnWriter, PolicyWriter
from safekeel.corpus.synthesis.counters import write_counters
from safekeel.corpus.synthesis.replay import Grade, ReplayConfig, replay
from safekeel.corpus.synthesis.responses import SynthesisConfig, Written, correct, respond
from safekeel.corpus.tokens import BatchCounter
from safekeel.engines.base import Engine
from safekeel.errors import DataError
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import write_jsonl
from safekeel.taxonomy import Taxonomy

STAGE, VERSION = "corpus-build", "1"
GENERATED = "generated"
SFT, RL, REJECTED = "sft.jsonl", "rl.jsonl", "rejected.jsonl"


class CorpusRecipe(BaseModel):
    """A corpus recipe, resolved."""

    sources: SourcesConfig
    clean: CleanConfig
    synthesis: SynthesisConfig
    replay: ReplayConfig
    mixture: MixtureConfig
    rl: RlConfig

    @classmethod
    def resolve(cls, tables: dict[str, Any]) -> CorpusRecipe:
        """Check every section and key; the nearest name is offered for an unknown one.

        Raises:
            ConfigError: anything unknown or of a wrong type.
        """
        check_sections(tables, list(cls.model_fields))
        sections = {
            name: build_config(field.annotation, tables.get(name, {}), name)  # type: ignore[arg-type]
            for name, field in cls.model_fields.items()
        }
        return cls(**sections)


def is_corpus(tables: dict[str, Any]) -> bool:
    """Whether a recipe's tables are those of a corpus."""
    return "synthesis" in tables


@dataclass(frozen=True)
class Parts:
    """What a build works with, opened by the command."""

    sources: Sequence[Source]
    taxonomy: Taxonomy
    target: Engine
    """The model to be trained: answers replay and ordinary instructions in its own words."""
    teacher: Engine
    """Writes safe reasoning under the policy prompt; by default the target itself."""
    judge: Judge
    grade: Grade
    cleaning: Cleaning
    count_tokens: BatchCounter
    progress: Progress | None
    say: Callable[[str], None]


def build(recipe: CorpusRecipe, parts: Parts, stage: Stage) -> dict[str, Any]:
    """Fill the stage's folder and return the card.

    Raises:
        DataError: a source gives nothing, or no row at all is left (`rejected.jsonl` has the reasons).
        EngineError: a model gave up; the same command continues.
    """
    stage.begin()
    generated = stage.dir / GENERATED
    generated.mkdir(exist_ok=True)
    read, unread = read_sources(parts.sources, parts.say)
    if not recipe.synthesis.keep_source_responses:
        read = [sample.blank() for sample in read]
    parts.say(f"sources: {len(read)} prompts from {len(parts.sources)} sources, {len(unread)} rows not usable")
    clean, rejected = parts.cleaning.prompts(read, parts.progress)
    rejected = [*unread, *rejected]
    parts.say(f"clean: {len(clean)} prompts kept, {len(read) - len(clean)} rejected ({_most_common(rejected)})")
    training, reserved = split_off(clean, recipe.rl)
    written = _write(recipe, parts, training, generated)
    rejected += written.rejected
    reserved = [_without_own(sample) for sample in reserved]
    rl = rl_prompts(reserved, recipe.rl, parts.target, parts.grade, generated, parts.progress)
    categories = [category.id for category in parts.taxonomy.categories]
    mixed = mix(written.samples, recipe.mixture, parts.count_tokens, categories)
    rejected += mixed.left_out
    kept = [_without_own(sample) for sample in mixed.kept]
    if not kept:
        write_jsonl(stage.dir / REJECTED, rejected)
        raise DataError(_nothing_left(stage.dir, rejected, mixed.shortfalls))
    card = build_card(
        recipe.mixture,
        parts.sources,
        parts.cleaning,
        parts.count_tokens,
        parts.taxonomy,
        rl,
        rejected,
        written,
        mixed,
    )
    for warning in card["warnings"]:
        parts.say(f"WARNING: {warning}")
    write_jsonl(stage.dir / SFT, kept)
    write_jsonl(stage.dir / RL, rl)
    write_jsonl(stage.dir / REJECTED, rejected)
    atomic_write_json(stage.dir / "card.json", card)
    atomic_write_text(stage.dir / "card.md", card_markdown(card))
    atomic_write_text(stage.dir / "card.html", card_html(card, pick_examples(kept)))
    outputs = [stage.dir / name for name in (SFT, RL, REJECTED, "card.json", "card.md", "card.html")]
    counts = {"in": len(read) + len(unread), "kept": len(kept), "rl_prompts": len(rl), "dropped": card["rejected"]}
    stage.finish(outputs, counts, card["warnings"])
    return card


def _write(recipe: CorpusRecipe, parts: Parts, training: Sequence[Sample], folder: Path) -> Written:
    """Twins, responses, corrections, own answers: everything that models write."""
    config = recipe.synthesis
    writer = PolicyWriter(parts.teacher, config.style, parts.taxonomy, config.sampling())
    acceptance = Acceptance(parts.judge, parts.taxonomy, config.thought, parts.cleaning.response_steps())
    prompts = list(training)
    found = Written()
    if config.write_counters:
        prompts += _twins(parts, prompts, writer, folder, found)
    safe = [sample for sample in prompts if sample.role in ("risky", "counter")]
    general = [sample for sample in prompts if sample.role == "general"]
    problems = [sample for sample in prompts if sample.role == "replay"]
    respond(safe, writer, acceptance, folder, parts.progress, found, config.keep_source_responses)
    if config.correct:
        correct(found, parts.target, writer, acceptance, folder, parts.progress)
    own = OwnWriter(parts.target, config.sampling())
    respond(general, own, acceptance, folder, parts.progress, found, config.keep_source_responses)
    path, tally = folder / "replay.jsonl", found.tally("replay")
    kept, rejected = replay(problems, parts.target, recipe.replay, parts.grade, path, parts.progress, tally)
    found.samples += kept
    found.rejected += rejected
    for role, tally in found.tallies.items():
        parts.say(f"{role}: {tally.accepted} of {tally.prompts} prompts have a good response")
    return found


def _twins(parts: Parts, prompts: list[Sample], writer: PolicyWriter, folder: Path, found: Written) -> list[Sample]:
    """Harmless twins for the risky prompts without one, cleaned like every other prompt; links them in `prompts`."""
    tally = found.tally("counter prompts")
    made, failed = write_counters(
        prompts, parts.teacher, writer.sampling, folder / "counters.jsonl", parts.progress, tally
    )
    kept, rejected = parts.cleaning.prompts(made, parts.progress)
    found.rejected += [*failed, *rejected]
    twin_of = {sample.pair: sample.id for sample in kept}
    for place, sample in enumerate(prompts):
        if sample.id in twin_of:
            prompts[place] = sample.model_copy(update={"pair": twin_of[sample.id]})
    return kept


def _most_common(rejected: Sequence[Rejected]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in Counter(row.reason for row in rejected).most_common(4))


def _without_own(sample: Sample) -> Sample:
    """Without the unsafe answer that a red-team find brought along to be corrected."""
    meta = {key: value for key, value in sample.prompt.meta.items() if not key.startswith("own_")}
    return sample.model_copy(update={"prompt": sample.prompt.model_copy(update={"meta": meta})})


def _nothing_left(folder: Path, rejected: Sequence[Rejected], shortfalls: Sequence[str]) -> str:
    return (
        f"{folder}: none of the {len(rejected)} rows became a sample ({_most_common(rejected)}). {folder / REJECTED} "
        f"has every row with its reason. {' '.join(shortfalls)} Where the target cannot follow the policy prompt, name "
        "a stronger --teacher, or take --set synthesis.style=template; where the judge cannot tell, name another "
        "--judge."
    )
