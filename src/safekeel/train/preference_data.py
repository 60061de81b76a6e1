"""Preference pairs: one prompt, a chosen and a rejected response, and whether each is safe.

    corpus folder, public pairs, own files ──gather──► Preference ──relabel──► safe ≻ unsafe ──encode──► token ids

SafeDPO (arXiv 2505.20065, §3) turns preferences made for helpfulness into preferences under a safety constraint: of a
safe and an unsafe response the safe one is chosen, whichever the annotator liked; a pair of two unsafe responses says
nothing and is dropped. `margin` is its offset Δ, which applies only between a safe and an unsafe response: a refusal of
the harmless is worse than help, but it is not unsafe.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from safekeel.chat import Tokenizer, check_question, prompt_ids, render_prompt
from safekeel.errors import DataError
from safekeel.records import Name, Prompt, Record, Text
from safekeel.train.text import Encoded, encode


class Side(Record):
    """One response. An unsafe thought makes it unsafe, whatever the answer says."""

    thought: Text = ""
    answer: Name
    safe: bool

    def says(self) -> tuple[str, str]:
        """The text that counts when two responses are compared."""
        return self.thought.strip(), self.answer.strip()


class Preference(Record):
    """One row of `pairs.jsonl`: of two responses to a prompt, the one to become likelier and the one to become rarer.

    Either both sides have a thought or neither has.
    """

    id: Name
    prompt: Prompt
    chosen: Side
    rejected: Side
    source: Text
    """Where the rejected response comes from: a file of the corpus build, a public set, the nano world, an own file."""


class Dropped(Record):
    """One row of `rejected.jsonl`: a prompt or pair that is not trained on, with the reason."""

    id: Name
    step: Text
    reason: Text
    evidence: Text


@dataclass
class Gathered:
    """Pairs from sources, what gave none, and what the user must know."""

    pairs: list[Preference] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, other: Gathered) -> None:
        self.pairs += other.pairs
        self.dropped += other.dropped
        self.warnings += other.warnings


class Relabelled(NamedTuple):
    """Pairs after SafeDPO's rule; in all of them the chosen side is safe."""

    pairs: list[Preference]
    num_flipped: int
    dropped: list[Dropped]


def relabel(pairs: Iterable[Preference]) -> Relabelled:
    """SafeDPO's safety-aware transformation (arXiv 2505.20065, §3): keep, flip or drop each pair; the order stays.

    Pairs whose sides say the same, and repetitions of a pair, are dropped too: the first teach nothing and the others
    would count twice.
    """
    kept: list[Preference] = []
    dropped: list[Dropped] = []
    seen: dict[object, str] = {}
    num_flipped = 0
    for pair in pairs:
        if not pair.chosen.safe and pair.rejected.safe:
            pair, num_flipped = (
                pair.model_copy(update={"chosen": pair.rejected, "rejected": pair.chosen}),
                num_flipped + 1,
            )
        key = (pair.prompt.messages, pair.chosen.says(), pair.rejected.says())
        if why := _useless(pair, seen.get(key)):
            dropped.append(Dropped(id=pair.id, step="relabel", reason=why[0], evidence=why[1]))
            continue
        seen[key] = pair.id
        kept.append(pair)
    return Relabelled(kept, num_flipped, dropped)


def _useless(pair: Preference, earlier: str | None) -> tuple[str, str] | None:
    """(reason, evidence) where a pair cannot be learnt from."""
    if not pair.chosen.safe:
        return "both_unsafe", "neither response is safe"
    if pair.chosen.says() == pair.rejected.says():
        return "identical", "chosen and rejected say the same"
    if bool(pair.chosen.thought.strip()) != bool(pair.rejected.thought.strip()):
        return "thought_on_one_side", "with a thought on one side only, its length alone would tell the sides apart"
    return ("duplicate", f"the same pair as {earlier}") if earlier is not None else None


def margin(pair: Preference, delta: float) -> float:
    """(h_rejected − h_chosen)·Δ with h = 1 for an unsafe response (arXiv 2505.20065, §3)."""
    return delta * (int(not pair.rejected.safe) - int(not pair.chosen.safe))


class EncodedPair(NamedTuple):
    """Token ids of one pair: prompt + chosen and prompt + rejected are the exact texts trained on."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]

    @property
    def length(self) -> int:
        """Tokens of the longer text."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))


def encode_pair(tokenizer: Tokenizer, pair: Preference) -> EncodedPair:
    """The ids of both texts, through `train.text`.

    A pair without thoughts (public answers have none) is put into the form of a prompt whose thinking is switched off,
    so that nothing teaches a reasoning model to skip its thought.

    Raises:
        DataError: the tokenizer has no chat template or no EOS token, or the template rejects the messages.
    """
    sides = (pair.chosen, pair.rejected)
    if any(side.thought.strip() for side in sides):
        chosen, rejected = (encode(tokenizer, pair.prompt, side.thought, side.answer) for side in sides)
    else:
        chosen, rejected = (_thinking_off(tokenizer, pair.prompt, side.answer) for side in sides)
    if chosen.prompt_ids != rejected.prompt_ids:
        raise DataError(f"pair {pair.id}: its two responses are encoded after different prompts; report this as a bug.")
    return EncodedPair(chosen.prompt_ids, chosen.completion_ids, rejected.completion_ids)


def _thinking_off(tokenizer: Tokenizer, prompt: Prompt, answer: str) -> Encoded:
    if tokenizer.eos_token_id is None:
        raise DataError("The tokenizer has no EOS token; set eos_token in its tokenizer_config.json.")
    check_question(prompt.messages)
    given = prompt_ids(tokenizer, render_prompt(tokenizer, prompt.messages, think="none"))
    learnt: list[int] = tokenizer(answer, add_special_tokens=False)["input_ids"]
    return Encoded(given, [*learnt, tokenizer.eos_token_id])


@dataclass
class Tokenised:
    """Rows for the trainer and the pairs they are made of, in the same order, and the pairs that do not fit."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[Preference] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)


def tokenise(tokenizer: Tokenizer, pairs: Sequence[Preference], max_length: int, delta: float) -> Tokenised:
    """Rows `{prompt_ids, chosen_ids, rejected_ids, margin, length}`.

    A pair with a side of more than `max_length` tokens is left out whole and counted: a cut answer would teach the
    model to stop in the middle of it, and a cut rejected side would hide what was wrong.

    Raises:
        DataError: as `encode_pair`.
    """
    done = Tokenised()
    for pair in pairs:
        ids = encode_pair(tokenizer, pair)
        if ids.length > max_length:
            evidence = f"{ids.length} tokens, the limit is {max_length}"
            done.dropped.append(Dropped(id=pair.id, step="tokenise", reason="too_long", evidence=evidence))
        elif ids.chosen_ids == ids.rejected_ids:
            evidence = "both responses have the same tokens"
            done.dropped.append(Dropped(id=pair.id, step="tokenise", reason="identical", evidence=evidence))
        else:
            done.rows.append({**ids._asdict(), "margin": margin(pair, delta), "length": ids.length})
            done.pairs.append(pair)
    return done


def reasons(dropped: Sequence[Dropped]) -> dict[str, int]:
    """How often each reason occurs, the most frequent first."""
    counts: dict[str, int] = {}
    for row in dropped:
        counts[row.reason] = counts.get(row.reason, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
