"""The training runs that `methods.py` compares: corpora of equal tokens, and one function per way of training."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage, read_manifest
from safekeel.corpus import nano_build
from safekeel.corpus.mixture import MixtureConfig, mix
from safekeel.corpus.nano_build import CorpusConfig
from safekeel.corpus.sample import Sample
from safekeel.corpus.tokens import token_counter
from safekeel.engines import open_engine
from safekeel.judges.nano import NanoJudge
from safekeel.nano.language import ANSWER_TARGET
from safekeel.nano.words import Words
from safekeel.progress import Progress
from safekeel.records import Prompt, write_jsonl
from safekeel.train import grpo, merge, preference, sft

CORPUS = CorpusConfig(num_pairs=1700, attacked_share=0.4, num_replay=1600)
"""Enough of each kind for a corpus of that kind alone; attacked share as in the nano loop."""
MIXTURES = {
    "safety only": {"risky": 1.0},
    "+ replay": {"risky": 1.0, "replay": 1.6},
    "+ on-policy": {"risky": 1.0, "replay": 1.6},
    "+ counter-pairs": {"risky": 1.0, "counter": 1.0, "replay": 1.6},
}
"""Ratios over samples, those of the nano loop. `+ replay` has gold answers without a thought, as public sets have them;
the two after it what the base itself writes."""
SFT = {"learning_rate": 3e-4, "num_epochs": 2, "num_checkpoints": 1, "packing": True}
LORA_RATES = {1: 1e-2, 8: 5e-3, 32: 5e-3}
"""Of adapters on all matrices: the best of four by held-out loss (`regimes.WIDE_NANO`)."""
RL = {"num_steps": 40, "num_checkpoints": 1}
CONSTRAINED: dict[str, Any] = {}
FIXED = {"dual_rate": 0.0}
EARLY, EARLY_TOKENS = "SFT + counter-pairs, 20% of the tokens", 20_000
"""Where RL still has something to do: a fully trained nano policy is nearly deterministic, and a prompt that all of its
samples get wrong, or right, has no gradient."""
CONTROL = {"beta": 1e-6, "safety_margin": 0.0}
"""Preference training without the preference: supervised on the chosen texts of the same pairs, in the same steps."""


@dataclass
class Bench:
    """What all runs of one seed share."""

    base: Path
    out: Path
    seed: int
    tokens: int
    words: Words
    held_out: list[Prompt]
    progress: Progress
    written: list[Sample] = field(default_factory=list)

    def corpus(self, name: str, tokens: int | None = None) -> Path:
        """Folder with `sft.jsonl` of a mixture, cut to the token budget, and the RL prompts of this seed."""
        size = f"-{tokens}" if tokens else ""
        folder = self.out / "corpora" / f"{self.seed}-{name.replace('+ ', '')}{size}"
        if not (folder / "rl.jsonl").exists():
            self._write()
            taken = [_gold(sample) if name == "+ replay" else sample for sample in self.written]
            ratios = {"risky": 0.0, "counter": 0.0, "replay": 0.0, "general": 0.0} | MIXTURES[name]
            config = MixtureConfig(**ratios, max_tokens=tokens or self.tokens, seed=self.seed)  # type: ignore[arg-type]
            folder.mkdir(parents=True, exist_ok=True)
            write_jsonl(folder / "sft.jsonl", mix(taken, config, token_counter(self.base)).kept)
            write_jsonl(folder / "rl.jsonl", self._rl_prompts())
        return folder

    def _config(self) -> CorpusConfig:
        return CORPUS.model_copy(update={"seed": self.seed})

    def _folder(self) -> Path:
        folder = self.out / "corpora" / f"{self.seed}-generated"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _engine(self) -> Any:
        return open_engine(f"hf:{self.base}", batch_size=64)

    def _write(self) -> None:
        if not self.written:
            config, rng = self._config(), random.Random(self.seed)
            drawn = nano_build.request_samples(config, self.words, rng)
            drawn += nano_build.problem_samples(config, self.words, rng)
            kept, _ = nano_build.clean(drawn, self.held_out)
            judge = NanoJudge(self.words)
            self.written = nano_build.write(kept, self._engine(), judge, self._folder(), self.progress).samples

    def _rl_prompts(self) -> list[Prompt]:
        pool = nano_build.rl_pool(self._config(), self.words, self.held_out, random.Random(self.seed + 1000))
        judge = NanoJudge(self.words)
        return nano_build.base_results(pool, self._folder(), self._engine(), judge, self.progress)

    def stage(self, name: str, config: Any, inputs: list[Path]) -> Stage:
        folder = self.out / "runs" / f"{self.seed}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        return Stage(folder, "methods", "1", config.model_dump(mode="json"), inputs, self.seed, "benchmarks/methods.py")


def _gold(sample: Sample) -> Sample:
    """The problem's gold answer alone, as a human-written set has it."""
    if sample.role != "replay":
        return sample
    said = ANSWER_TARGET[sample.prompt.lang].format(target=sample.prompt.target)
    return sample.model_copy(update={"thought": "", "answer": said, "made_by": "gold"})


Trained = tuple[Path, int]
"""A model folder, and the tokens it was trained on in one pass over its data."""


def by_sft(bench: Bench, name: str, corpus: str, tokens: int | None = None, **settings: Any) -> Trained:
    """The last checkpoint of SFT from the base."""
    config = sft.SftConfig.model_validate(SFT | settings | {"seed": bench.seed})
    folder = bench.corpus(corpus, tokens)
    stage = bench.stage(name, config, [folder / "sft.jsonl"])
    if not stage.is_current():
        sft.run(config, stage, bench.base, folder, bench.progress)
    return _last(stage.dir), read_manifest(stage.dir)["counts"]["tokens"]


def by_interpolation(bench: Bench, name: str, tuned: Path, alpha: float) -> Trained:
    """`alpha` of the way from the base to a trained model."""
    config = merge.MergeConfig(alpha=alpha)
    stage = bench.stage(name, config, [tuned])
    if not stage.is_current():
        merge.run(config, stage, bench.base, tuned, [], bench.progress)
    return stage.dir / "model", 0


def by_rl(bench: Bench, name: str, start: Path, **settings: Any) -> Trained:
    """GRPO from a trained model, on the prompts of the RL split."""
    config = grpo.RlConfig.model_validate(RL | settings | {"seed": bench.seed})
    folder = bench.corpus("+ counter-pairs")
    stage = bench.stage(name, config, [start, folder / "rl.jsonl"])
    if not stage.is_current():
        grpo.run(config, stage, start, folder, bench.progress)
    return stage.dir / "model", 0


def by_preference(bench: Bench, name: str, start: Path, **settings: Any) -> Trained:
    """DPO from a trained model, on the corpus with counter-pairs."""
    config = preference.PreferenceConfig.model_validate(settings | {"seed": bench.seed})
    folder = bench.corpus("+ counter-pairs")
    stage = bench.stage(name, config, [start, folder / "sft.jsonl"])
    if not stage.is_current():
        preference.run(config, stage, start, folder, bench.progress)
    return stage.dir / "model", 0


def _last(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("checkpoint-*"), key=lambda path: int(path.name[11:]))


Arm = Callable[[Bench], Trained]


def arms(names: dict[str, Trained]) -> dict[str, Arm]:
    """Every run by name, in order; a later one may start from an earlier one's model, found in `names`."""
    full = "SFT + counter-pairs"
    found: dict[str, Arm] = {}
    for corpus in MIXTURES:
        name = f"SFT {corpus}"
        found[name] = lambda bench, name=name, corpus=corpus: by_sft(bench, name, corpus)  # type: ignore[misc]
    for rank, rate in LORA_RATES.items():
        name = f"LoRA rank {rank}"
        settings = {"lora": {"rank": rank, "target": "all"}, "learning_rate": rate}
        found[name] = lambda bench, name=name, s=settings: by_sft(bench, name, "+ counter-pairs", **s)  # type: ignore[misc]
    found[EARLY] = lambda bench: by_sft(bench, EARLY, "+ counter-pairs", EARLY_TOKENS)
    for start, short in ((full, "counter-pairs"), (EARLY, "20%")):
        for label, settings in (("fixed weights", FIXED), ("constrained", CONSTRAINED)):
            name = f"GRPO {label}, from {short}"
            found[name] = lambda b, name=name, start=start, s=settings: by_rl(b, name, names[start][0], **s)  # type: ignore[misc]
    for start in (full, "SFT + on-policy"):
        short = start.replace("SFT + ", "")
        for label, settings in (("DPO", {}), ("chosen texts only", CONTROL)):
            name = f"{label}, from {short}"
            found[name] = lambda b, name=name, start=start, s=settings: by_preference(b, name, names[start][0], **s)  # type: ignore[misc]
    for start in (full, "SFT safety only"):
        for alpha in (0.75, 0.5, 0.25):
            name = f"α {alpha} of {start}"
            found[name] = lambda b, name=name, start=start, a=alpha: by_interpolation(b, name, names[start][0], a)  # type: ignore[misc]
    return found
