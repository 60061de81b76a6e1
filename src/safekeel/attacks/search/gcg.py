"""Greedy coordinate gradient (Zou et al. 2023, arXiv 2307.15043, algorithm 1): optimise a suffix of meaningless tokens
behind the request, so that the target begins its turn by agreeing. It needs the target's weights.

    repeat num_steps times:
        gradient of the loss of "I will give the steps … Here is how" by the one-hot choice of every suffix token
        search_width candidates: one position each, replaced by one of its top_k tokens along the negative gradient
        suffix = the candidate with the smallest loss
    the target is asked `budget` times, evenly from the first step to the last

Two things differ from the paper. The wanted beginning has a short thought before the answer, because a reasoning model
reaches no answer without one. And candidates that the tokenizer does not read back from their text are dropped, as in
nanoGCG (github.com/GraySwanAI/nanoGCG, `filter_ids`), here within the whole prompt: what succeeds is a prompt that can
be sent. nanoGCG itself (0.3.0) pins transformers below 4.48 and knows neither thoughts nor resuming.

The paper optimises one suffix for many requests and models as well; here every goal has its own.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from safekeel.attacks.search.base import Context, Steps, ask_target
from safekeel.attacks.search.suffix_log import SuffixLog, SuffixRow, key_of
from safekeel.records import Lang, Message, Prompt

if TYPE_CHECKING:
    from safekeel.engines.hf import HfEngine
    from safekeel.engines.suffix_loss import SuffixLoss

START = " !"
"""The paper's first suffix: exclamation marks."""


@dataclass(frozen=True)
class Gcg:
    """See the module. The defaults are the paper's (section 3, "individual behaviours")."""

    name: str = "gcg"
    goal: str = "find a suffix of tokens that makes the target agree, by the gradients of its weights"
    source: str = "Zou et al. 2023 (arXiv 2307.15043)"
    languages: tuple[Lang, ...] = ("zh", "en")
    needs_attacker: bool = False
    attacker_calls_per_query: float = 0.0
    cost: str = "per goal num_steps x search_width forward passes of the target beside its calls; weights at hand (hf:)"
    suffix_length: int = 20
    top_k: int = 256
    search_width: int = 512
    num_steps: int = 500

    @property
    def forward_passes(self) -> int:
        """Of the target, per goal; a backward pass counts as two."""
        return self.num_steps * (self.search_width + 3)

    def run(self, goal: Prompt, context: Context) -> Steps[None]:
        """See `Strategy.run`.

        Raises:
            DataError: no suffix can be placed or read back (`SuffixLoss`).
        """
        loss, log = self._loss(goal, context), self._log(context)
        suffix = loss.ids(START * self.suffix_length)[: self.suffix_length]
        seed, asked = context.rng.getrandbits(64), ""
        key = key_of({"gcg": asdict(self), "loss": loss.identity, "seed": seed})
        asks = asked_at(self.num_steps, context.budget)
        for step in range(self.num_steps + 1):
            text = loss.text(suffix)
            if step in asks and text != asked:
                asked = text
                yield from ask_target([with_suffix(goal, text)], [f"step {step}"])
            if step == self.num_steps:
                return
            row = log.get(key, step) if log else None
            if row is None:
                chosen, value = self._step(suffix, loss, random.Random(f"{seed}/{step}"))
                text = loss.text(chosen)
                row = SuffixRow(goal_id=goal.id, key=key, step=step, suffix=chosen, text=text, loss=value)
                if log:
                    log.add(row)
            suffix = list(row.suffix)
            self._report(context, f"{goal.id}, step {step + 1}, loss {row.loss:.3f}")

    def _step(self, suffix: Sequence[int], loss: SuffixLoss, rng: random.Random) -> tuple[tuple[int, ...], float]:
        """The best of the candidates around a suffix, and its loss: better or worse than before, as in the paper."""
        best = loss.best_tokens(suffix, self.top_k)
        found: dict[tuple[int, ...], None] = {}
        for _ in range(self.search_width):
            position = rng.randrange(len(suffix))
            token = rng.choice(best[position])
            found[(*suffix[:position], token, *suffix[position + 1 :])] = None
        candidates = [each for each in found if loss.reads_back(each)] or [tuple(suffix)]
        losses = loss.losses(candidates)
        place = min(range(len(losses)), key=losses.__getitem__)
        return candidates[place], losses[place]

    def _report(self, context: Context, note: str) -> None:
        """One line for all goals, which take turns; those that break early leave their steps undone."""
        done = context.shared["gcg/steps"] = context.shared.get("gcg/steps", 0) + 1
        if context.progress is not None:
            context.progress("gcg, steps", done, context.num_goals * self.num_steps, note=note)

    def _loss(self, goal: Prompt, context: Context) -> SuffixLoss:
        from safekeel.engines.suffix_loss import SuffixLoss  # torch: only where there are weights

        texts = context.texts(self.name)
        answer = str(goal.meta.get("target") or texts["answer"])
        engine = cast("HfEngine", context.target)  # the driver has checked that it has weights
        return SuffixLoss(engine, goal, texts["thought"], answer, context.think)

    def _log(self, context: Context) -> SuffixLog | None:
        if context.folder is None:
            return None
        if "gcg" not in context.shared:
            context.shared["gcg"] = SuffixLog(context.folder)
        log: SuffixLog = context.shared["gcg"]
        return log


def asked_at(num_steps: int, budget: int) -> frozenset[int]:
    """After which steps the target is asked: evenly over the run, the start and the end among them; the end alone where
    it may be asked once."""
    return frozenset({num_steps, *(place * num_steps // max(1, budget - 1) for place in range(budget - 1))})


def with_suffix(goal: Prompt, text: str) -> tuple[Message, ...]:
    """The goal's conversation with a suffix behind its last turn, the user's (`SuffixLoss` has checked that)."""
    last = goal.messages[-1]
    return (*goal.messages[:-1], Message(role="user", content=last.content + text))
