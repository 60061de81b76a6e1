"""The whole loop as an ordered list of stages over one run folder.

    00-base -> 05-eval-before -> 10-corpus -> 20-sft -> 30-select (-> rounds/) -> 40-rl -> 60-eval-after -> 90-report

Data flows one way, through files. A stage whose command, inputs, configuration and version are those of its manifest is
skipped; `force` redoes a stage and everything after it. This file and `cli.py` are the only ones that know more than
one stage.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel

from safekeel.artifact import Stage, atomic_write_json, read_manifest, run_lock
from safekeel.attacks.rounds import RoundsConfig
from safekeel.bench import nano as nano_bench
from safekeel.bench import run as evaluation
from safekeel.config import StageConfig, build, check_sections
from safekeel.corpus import nano_build as corpus_stage
from safekeel.engines import open_engine
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import UsageError
from safekeel.judges.nano import NanoJudge
from safekeel.nano import model as base_stage
from safekeel.nano.requests import SEEN_FAMILIES
from safekeel.nano.words import Words, load_words
from safekeel.progress import ProgressReporter
from safekeel.records import Prompt
from safekeel.report import run as report_stage
from safekeel.rounds import run_rounds
from safekeel.train import grpo, select, sft

STAGES = ("00-base", "05-eval-before", "10-corpus", "20-sft", "30-select", "40-rl", "60-eval-after", "90-report")


class EvalConfig(StageConfig):
    """How completions are generated in both evaluations."""

    batch_size: int = 64
    max_tokens: int = nano_bench.MAX_TOKENS


class Recipe(BaseModel):
    """A recipe resolved into the configuration of every stage."""

    nano: base_stage.NanoConfig
    suite: nano_bench.NanoSuiteConfig
    eval: EvalConfig
    corpus: corpus_stage.CorpusConfig
    sft: sft.SftConfig
    select: select.SelectConfig
    rounds: RoundsConfig
    rl: grpo.RlConfig
    report: report_stage.ReportConfig

    @classmethod
    def resolve(cls, tables: dict) -> Recipe:
        """Check every section and key of a recipe; the nearest name is offered for an unknown one."""
        check_sections(tables, list(cls.model_fields))
        sections = {
            name: build(field.annotation, tables.get(name, {}), name)  # type: ignore[arg-type]
            for name, field in cls.model_fields.items()
        }
        return cls(**sections)


class Pipeline:
    """Runs the stages of one run folder in order."""

    def __init__(
        self, recipe: Recipe, out: Path, command: str, say: Callable[[str], None], force: str | None = None
    ) -> None:
        if force is not None and force not in STAGES:
            raise UsageError(f"--force {force!r}: no such stage. The stages are {', '.join(STAGES)}.")
        self.recipe, self.out, self.command, self.say, self.force = recipe, out, command, say, force
        self.words: Words = load_words(recipe.nano.test_words)
        self.judge = NanoJudge(self.words)
        self.forced = False

    def run(self) -> None:
        """All stages; safe to call again after a kill, and on a finished run."""
        self.out.mkdir(parents=True, exist_ok=True)
        with run_lock(self.out), ProgressReporter() as self.progress:
            atomic_write_json(
                self.out / "run.json", {"run": self.out.name, "recipe": self.recipe.model_dump(mode="json")}
            )
            self._base()
            self._evaluate("05-eval-before", self.out / "00-base/model", with_eligibility=True)
            self._corpus()
            self.train("20-sft", "10-corpus")
            self.select("30-select", "20-sft")
            model, corpus = run_rounds(self)
            self._rl(model, corpus)
            self._evaluate("60-eval-after", self.out / "40-rl/model", with_eligibility=False)
            self._report(model)

    def stage(self, folder: str, name: str, version: str, config: dict, inputs: list[str], seed: int) -> Stage | None:
        """The stage to run, or None when it is current."""
        paths = [self.out / path for path in inputs]
        stage = Stage(self.out / folder, name, version, config, paths, seed, self.command)
        self.forced = self.forced or self.force == folder
        if not self.forced and stage.is_current():
            self.say(f"{folder}: up to date, skipped")
            return None
        if self.forced:
            stage.discard()
        self.say(f"{folder}: running")
        self._started = time.monotonic()
        return stage

    def done(self, folder: str, note: str = "") -> None:
        """Say that a stage is done."""
        self.say(f"{folder}: done in {time.monotonic() - self._started:.0f} s{' · ' + note if note else ''}")

    def engine(self, model: str) -> Engine:
        """The model in a folder of the run, opened from disk."""
        return open_engine(f"hf:{self.out / model}", batch_size=self.recipe.eval.batch_size)

    def _base(self) -> None:
        config = self.recipe.nano
        identity = config.model_dump(mode="json") | {"words": self.words.digests()}
        if stage := self.stage("00-base", base_stage.STAGE, base_stage.VERSION, identity, [], config.build_seed):
            base_stage.run(config, stage, self.say, self.progress)
            self.done("00-base")

    def _evaluate(self, folder: str, model: Path, with_eligibility: bool) -> None:
        config = (
            self.recipe.suite.model_dump(mode="json")
            | self.recipe.eval.model_dump(mode="json")
            | {"words": self.words.digests()}
        )
        inputs = [str(model.relative_to(self.out))]
        if not with_eligibility:
            inputs.append("05-eval-before/families.json")
        pools = None if with_eligibility else nano_bench.family_pools(self.out / "05-eval-before/families.json")
        stage = self.stage(folder, evaluation.STAGE, evaluation.VERSION, config, inputs, self.recipe.suite.seed)
        if stage is None:
            if read_manifest(self.out / folder)["counts"][evaluation.JUDGED_BY] != self.judge.version:
                self.say(f"{folder}: judged again, the judge is a new version")
                evaluation.rejudge(self.out / folder, self.judge, pools)
            return
        rows = evaluation.evaluate(
            stage,
            open_engine(f"hf:{model}", batch_size=self.recipe.eval.batch_size),
            nano_bench.test_items(self.words, self.recipe.suite),
            self.judge,
            Sampling(max_tokens=self.recipe.eval.max_tokens),
            pools=pools,
            eligibility=nano_bench.eligibility_items(self.words, self.recipe.suite) if with_eligibility else None,
            seen_families=SEEN_FAMILIES,
            progress=self.progress,
        )
        headline = {(row.benchmark, row.metric): row.value for row in rows if row.slice == "all"}
        note = ", ".join(
            f"{metric} {value:.3f}"
            for benchmark, metric in (
                ("nano-refuse", "dsr"),
                ("nano-answer", "over_refusal"),
                ("nano-arithmetic", "acc"),
            )
            if (value := headline.get((benchmark, metric))) is not None
        )
        self.done(folder, note)

    def held_out(self) -> list[Prompt]:
        """Every item no training may touch: test, eligibility and selection."""
        return [
            *nano_bench.test_items(self.words, self.recipe.suite),
            *nano_bench.eligibility_items(self.words, self.recipe.suite),
            *self._selection_items(),
        ]

    def _selection_items(self) -> list[Prompt]:
        config = self.recipe.select
        sizes = (config.num_refuse, config.num_answer, config.num_problems, config.num_per_family)
        return nano_bench.selection_items(self.words, *sizes, config.seed)

    def _corpus(self) -> None:
        config = self.recipe.corpus
        identity = config.model_dump(mode="json") | {
            "words": self.words.digests(),
            "suite": self.recipe.suite.model_dump(mode="json"),
        }
        if stage := self.stage(
            "10-corpus", corpus_stage.STAGE, corpus_stage.VERSION, identity, ["00-base/model"], config.seed
        ):
            base = self.out / "00-base/model"
            engine = open_engine(f"hf:{base}", batch_size=self.recipe.eval.batch_size)
            corpus_stage.run(config, stage, engine, base, self.judge, self.words, self.held_out(), self.progress)
            self.done("10-corpus")

    def train(self, folder: str, corpus: str) -> None:
        """SFT from the base on a corpus of the run."""
        config = self.recipe.sft
        inputs = ["00-base/model", f"{corpus}/sft.jsonl"]
        if stage := self.stage(folder, sft.STAGE, sft.VERSION, config.model_dump(mode="json"), inputs, config.seed):
            notes = sft.run(config, stage, self.out / "00-base/model", self.out / corpus, self.progress)
            for note in notes or ():
                self.say(f"{folder}: {note}")
            self.done(folder)

    def select(self, folder: str, trained: str) -> str:
        """One checkpoint of a training; returns its model's folder within the run."""
        config = self.recipe.select
        identity = config.model_dump(mode="json") | {"words": self.words.digests()}
        inputs = [f"{trained}/checkpoints", "00-base/model"]
        if stage := self.stage(folder, select.STAGE, select.VERSION, identity, inputs, config.seed):
            found = (self.out / trained / "checkpoints").glob("checkpoint-*")
            chosen = select.run(
                config,
                stage,
                sorted(found, key=lambda path: int(path.name[11:])),
                self._selection_items(),
                lambda path: open_engine(f"hf:{path}", batch_size=self.recipe.eval.batch_size),
                self.judge,
                self.recipe.eval.max_tokens,
                self.progress,
                base=self.out / "00-base/model",
                say=self.say,
            )
            self.done(folder, f"chose {chosen.name}")
        return f"{folder}/model"

    def _rl(self, model: str, corpus: str) -> None:
        config = self.recipe.rl
        inputs = [model, f"{corpus}/rl.jsonl", "00-base/model"]
        if stage := self.stage("40-rl", grpo.STAGE, grpo.VERSION, config.model_dump(mode="json"), inputs, config.seed):
            # The base measures drift (and, with rl.base_samples, the other side of the constraints); it draws nothing.
            base = self.out / "00-base/model"
            grpo.run(config, stage, self.out / model, self.out / corpus, self.progress, base)
            self.done("40-rl")

    def _report(self, selected: str) -> None:
        config = self.recipe.report
        inputs = ["05-eval-before", "60-eval-after", f"{Path(selected).parent}/candidates.json", "40-rl"]
        if self.recipe.rounds.num_rounds:
            inputs.append("rounds/curve.json")
        if stage := self.stage(
            "90-report", report_stage.STAGE, report_stage.VERSION, config.model_dump(mode="json"), inputs, 0
        ):
            report_stage.run(config, stage, self.out)
            self.done("90-report")
