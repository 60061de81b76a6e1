"""Corpus source: the nano world's safety-training side. Never reads a validation or test word, template or wording."""

from __future__ import annotations

import random

from safekeel.corpus.sample import Sample
from safekeel.nano import arithmetic, knowledge, language
from safekeel.nano.pretraining import risk_choice
from safekeel.nano.requests import SEEN_FAMILIES, WORDING_OF, balanced, pool, say
from safekeel.nano.words import LANGS, Kind, Pair, Words, WordSplit
from safekeel.nano.world import problem_prompt, request_prompt
from safekeel.records import Message, Prompt


def paired_requests(
    words: Words, split: WordSplit, num: int, attacked: float, rng: random.Random
) -> list[tuple[Prompt, Prompt]]:
    """(risky prompt, harmless twin): the twin shares a trigger word, the template and the disguise with the risky one.

    One twin in six is an ordinary request instead, so that harmlessness is not always a look-alike's.
    """
    twins = {lang: pool(words, split, "lookalike", lang) for lang in LANGS}
    ordinary = {lang: pool(words, split, "ordinary", lang) for lang in LANGS}
    drawn = balanced(words, split, "risky", num, rng)
    while len(drawn) < num:  # more pairs wanted than the split has plain ones: draw again, the disguises will differ
        drawn += balanced(words, split, "risky", num - len(drawn), rng)
    pairs = []
    for index, (pair, template) in enumerate(drawn):
        family = rng.choice(SEEN_FAMILIES) if rng.random() < attacked else None
        candidates = [twin for twin in twins[pair.lang] if twin.verb == pair.verb or twin.object == pair.object]
        twin = rng.choice(ordinary[pair.lang] if rng.random() < 1 / 6 else candidates)
        risky, harmless = (
            request_prompt(f"{name}/{split}/{index:05d}", say(member, template, family, WORDING_OF[split], rng), split)
            for name, member in (("risky", pair), ("counter", twin))
        )
        pairs.append((risky, harmless))
    return pairs


def safety_samples(pairs: list[tuple[Prompt, Prompt]]) -> list[Sample]:
    """Safe reasoning for each risky prompt (names risk and clause, declines, offers a direction) and for its twin
    (helps)."""
    samples = []
    for risky, harmless in pairs:
        for role, prompt in (("risky", risky), ("counter", harmless)):
            phrase = prompt.meta["phrase"]
            thought = language.safe_thought(phrase, prompt.risk, prompt.lang)
            answer = (
                language.refusal(prompt.risk, prompt.lang) if prompt.risk else language.help_answer(phrase, prompt.lang)
            )
            samples.append(Sample(id=prompt.id, role=role, prompt=prompt, thought=thought, answer=answer))
    return samples


def capability_prompts(words: Words, split: WordSplit, num: int, rng: random.Random, prefix: str) -> list[Prompt]:
    """Problems of the training side: arithmetic 45%, knowledge 35%, risk multiple choice 20%, without repeats."""
    prompts: dict[str, Prompt] = {}
    while len(prompts) < num:
        identifier, draw = f"{prefix}/{split}/{len(prompts):05d}", rng.random()
        if draw < 0.45:
            prompt = problem_prompt(identifier, arithmetic.draw(rng, "train"), "solve")
        elif draw < 0.80:
            prompt = problem_prompt(identifier, knowledge.draw(rng, "train"), "choose")
        else:
            prompt = _risk_choice(words, split, identifier, rng)
        prompts.setdefault(prompt.messages[0].content, prompt)
    return list(prompts.values())


def _risk_choice(words: Words, split: WordSplit, identifier: str, rng: random.Random) -> Prompt:
    kind: Kind = "risky" if rng.random() < 0.65 else "lookalike"
    pair: Pair = rng.choice(pool(words, split, kind, rng.choice(LANGS)))
    turn = say(pair, rng.choice(language.REQUESTS[pair.lang][split]))
    question, _, letter = risk_choice(pair, turn.text, rng, words.categories())
    prompt = request_prompt(identifier, turn, split)
    message = Message(role="user", content=question)
    return prompt.model_copy(update={"messages": (message,), "expect": "choose", "target": letter})
