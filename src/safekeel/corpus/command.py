"""What `safekeel corpus build` opens before it builds: models, judge, sources, held-out items, tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage, digest, run_lock
from safekeel.bench.command import JudgeRequest
from safekeel.bench.generate import generate
from safekeel.config import load_recipe
from safekeel.corpus.build import GENERATED, STAGE, VERSION, CorpusRecipe, Parts, build
from safekeel.corpus.card import load_card
from safekeel.corpus.cleaning import Cleaning
from safekeel.corpus.sources.base import Ask, Source, open_sources
from safekeel.corpus.steps.held_out import HeldOut, collect_held_out
from safekeel.corpus.steps.risk_guard import GuardLabeller
from safekeel.corpus.steps.risk_labellers import DeclaredLabeller, EngineLabeller, Labeller
from safekeel.corpus.synthesis.policy import policy_version
from safekeel.corpus.synthesis.replay import Verifier
from safekeel.corpus.tokens import token_counter
from safekeel.engines import model_folder, open_engine
from safekeel.engines.base import Engine
from safekeel.errors import UsageError
from safekeel.judges.guard_families import family_of
from safekeel.progress import ProgressReporter
from safekeel.records import Completion, Prompt
from safekeel.taxonomy import Taxonomy, load_taxonomy

DEFAULT_RECIPE = "safe-corpus"
Say = Callable[[str], None]


@dataclass(frozen=True)
class ModelRequest:
    """A model and how it is reached."""

    name: str
    base_urls: tuple[str, ...] = ()
    api_key_env: str | None = None
    revision: str | None = None
    concurrency: int | None = None
    batch_size: int = 64

    def open(self) -> Engine:
        """The engine.

        Raises:
            UsageError, EngineError, DataError: see `engines.open_engine`.
        """
        scheme = self.name.partition(":")[0]
        options: dict[str, dict[str, Any]] = {
            "api": {
                "base_urls": self.base_urls,
                "api_key_env": self.api_key_env,
                "revision": self.revision,
                "concurrency": self.concurrency,
            },
            "hf": {"batch_size": self.batch_size},
        }
        given = {name: value for name, value in options.get(scheme, {}).items() if value not in (None, ())}
        return open_engine(self.name, **given)


@dataclass(frozen=True)
class BuildRequest:
    """`safekeel corpus build` as the user gave it."""

    recipe: str | None
    overrides: tuple[str, ...]
    target: ModelRequest
    teacher: ModelRequest | None
    labellers: tuple[ModelRequest, ...]
    judge: JudgeRequest
    tokenizer: Path | None = None
    data_dir: Path | None = None
    taxonomy: str = "tc260"


def build_corpus(request: BuildRequest, out: Path, command: str, say: Say) -> dict[str, Any]:
    """Build a corpus into `out`, or continue one; a finished one is skipped. Returns its card.

    Raises:
        UsageError, DataError, EngineError: see `safekeel.errors`; what models wrote stays in `out`.
    """
    recipe = CorpusRecipe.resolve(load_recipe(request.recipe or DEFAULT_RECIPE, list(request.overrides)))
    taxonomy = load_taxonomy(request.taxonomy)
    judge = request.judge.open()
    target = request.target.open()
    teacher = request.teacher.open() if request.teacher else target
    labellers = _panel(request.labellers, taxonomy)
    with run_lock(out), ProgressReporter() as progress:
        sources = open_sources(recipe.sources, request.data_dir, taxonomy, ask=_asker(teacher, recipe, out, progress))
        held_out = collect_held_out(request.data_dir, exclude=recipe.sources.allow_benchmarks)
        stage = _stage(request, recipe, sources, judge.version, held_out, out, command)
        if stage.is_current():
            say(f"{out}: up to date, skipped")
            return load_card(out)
        items, missing = sum(held_out.compared.values()), len(held_out.absent)
        say(f"held out: {items} items of {len(held_out.compared)} benchmarks; {missing} more have no copy here")
        verifier = Verifier()
        counter = token_counter(request.tokenizer)
        parts = Parts(
            sources=sources,
            taxonomy=taxonomy,
            target=target,
            teacher=teacher,
            judge=judge,
            grade=verifier,
            cleaning=Cleaning(recipe.clean, held_out, labellers),
            count_tokens=counter,
            progress=progress,
            say=say,
        )
        try:
            return build(recipe, parts, stage)
        finally:
            verifier.close()


def _panel(requests: Sequence[ModelRequest], taxonomy: Taxonomy) -> list[Labeller]:
    """The declared label and one voice per model; a guard is recognised by its name."""
    voices: list[Labeller] = []
    for request in requests:
        engine, family = request.open(), family_of(request.name)
        voices.append(GuardLabeller(engine, family) if family else EngineLabeller(engine, taxonomy))
    return [DeclaredLabeller(), *voices] if voices else []


def _asker(teacher: Engine, recipe: CorpusRecipe, out: Path, progress: ProgressReporter) -> Ask:
    """How the source of law clauses asks for prompts: the teacher, with a store under the build's folder."""
    sampling = recipe.synthesis.sampling().model_copy(update={"num_samples": 1})

    def ask(prompts: list[Prompt]) -> list[Completion]:
        folder = out / GENERATED
        folder.mkdir(parents=True, exist_ok=True)
        return generate(teacher, prompts, sampling, folder / "clauses.jsonl", progress, "prompts from clauses")

    return ask


def _stage(
    request: BuildRequest,
    recipe: CorpusRecipe,
    sources: list[Source],
    judge_version: str,
    held_out: HeldOut,
    out: Path,
    command: str,
) -> Stage:
    models = [request.target, request.teacher, *request.labellers]
    folders = [folder for model in models if model is not None and (folder := model_folder(model.name))]
    files = [path for source in sources for path in source.files]
    config = {
        "recipe": recipe.model_dump(mode="json"),
        "models": [model and [model.name, model.revision, list(model.base_urls)] for model in models],
        "judge": judge_version,
        "policy": policy_version(),
        "held_out": digest([[item.id, item.text] for item in held_out.items]),
        "taxonomy": request.taxonomy,
        "tokenizer": str(request.tokenizer) if request.tokenizer else None,
    }
    return Stage(out, STAGE, VERSION, config, [*folders, *files], recipe.mixture.seed, command, keep=(GENERATED,))


def require_target(target: str | None) -> str:
    """The target, or an error that says what it is for."""
    if target is None:
        raise UsageError(
            "corpus build needs --target MODEL, the model to be trained: it writes its own training data "
            "(hf:PATH_OR_ID, vllm:PATH_OR_ID, api:NAME with --base-url, scripted:FILE)."
        )
    return target
