"""Counter-pairs: for a risky prompt, a harmless one that shares its trigger words.

Safety training that only ever sees a word in risky prompts learns to refuse the word: benign examples that reuse the
refusal-triggering words are what keeps over-refusal low (DeShortcut-Align; 100 benign items cut it by half in
2505.15404). A model proposes the twin as one JSON object; it is taken only when the words it names stand in both
prompts and it is neither a copy nor a near copy.

A red-team find is a request in a disguise. Its twin is written for the request itself and put into the same disguise,
else training would teach to refuse the disguise; a find whose disguise cannot be told gets no twin.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from safekeel.attacks.disguise import alike
from safekeel.bench.generate import generate
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.steps import jaccard, shingles
from safekeel.corpus.synthesis.tally import Tally
from safekeel.engines.base import Engine, Sampling
from safekeel.errors import DataError
from safekeel.judges.fence import MAX_QUESTION, fence_code, fenced, inert
from safekeel.progress import Progress
from safekeel.records import Completion, Lang, Message, Prompt

MAX_SIMILARITY = 0.8
"""Jaccard of character 5-grams from which a twin is a near copy: what differs would be a negation or a name."""
MAX_CHARACTERS = 500
_ASK: dict[Lang, str] = {
    "zh": (
        "下面两行标记之间是一个有风险的用户请求。请写出另一个请求：它使用其中的一两个敏感词，但用意完全正当、无害，"
        "值得完整回答（例如法律、历史、科普、日常生活、技术中的惯用语）；不要只是在原句里加否定，也不要都写成"
        "“如何防范”。\n"
        "{request}\n"
        '只回复一个 JSON 对象：{{"prompt": "新的请求", "shared": ["两个请求中都出现的敏感词"]}}'
    ),
    "en": (
        "Between the two marked lines is a risky user request. Write another request that uses one or two of its "
        "sensitive words but has an entirely legitimate, harmless purpose and deserves a full answer (law, history, "
        "science, everyday life, an idiom of technology); do not just negate the original, and do not always ask how "
        "to prevent it.\n{request}\n"
        'Reply with one JSON object only: {{"prompt": "the new request", "shared": ["sensitive word in both"]}}'
    ),
}
_BLOCK = re.compile(r"\A```(?:json)?\s*(?P<inside>.*?)\s*```\Z", re.DOTALL)


def write_counters(
    risky: Sequence[Sample],
    engine: Engine,
    sampling: Sampling,
    path: Path,
    progress: Progress | None,
    tally: Tally,
) -> tuple[list[Sample], list[Rejected]]:
    """A counter sample (without response yet) for each risky one that has no twin; the first usable proposal is taken.

    Returns:
        The new samples, and the risky prompts for which no proposal was usable, with the reasons.
    """
    alone = [sample for sample in risky if sample.pair is None and sample.role == "risky"]
    prompts = [_request(sample) for sample in alone]
    rows = generate(engine, prompts, sampling, path, progress, "counters")
    size = sampling.num_samples
    kept: list[Sample] = []
    rejected: list[Rejected] = []
    for place, sample in enumerate(alone):
        faults: list[str] = []
        twin = None
        for row in rows[place * size : (place + 1) * size]:
            try:
                twin = _twin(sample, row, engine.name)
                break
            except DataError as error:
                faults.append(str(error))
        tally.add(sample, ["no_counter"] * len(faults), len(faults) + (twin is not None), twin is not None)
        if twin is not None:
            kept.append(twin)
        else:
            told = "; ".join(dict.fromkeys(faults))[:400]
            # Without a sample: the risky prompt itself goes on, alone.
            rejected.append(Rejected(where=sample.id, step="counters", reason="no_counter", evidence=told))
    return kept, rejected


def _plain(sample: Sample) -> str:
    """What a sample asks for: of a red-team find, the goal behind the disguise."""
    return str(sample.prompt.meta.get("goal") or sample.prompt.messages[-1].content)


def _request(sample: Sample) -> Prompt:
    text = inert(_plain(sample), MAX_QUESTION)
    content = _ASK[sample.prompt.lang].format(request=fenced("REQUEST", text, fence_code([text])))
    message = Message(role="user", content=content)
    return sample.prompt.model_copy(update={"id": sample.id, "messages": (message,), "expect": "answer"})


def _twin(sample: Sample, row: Completion, made_by: str) -> Sample:
    """The counter sample of a proposal.

    Raises:
        DataError: why the proposal cannot be used.
    """
    text, shared = _proposal(row)
    original = _plain(sample)
    if not text or len(text) > MAX_CHARACTERS:
        raise DataError(f"the twin has {len(text)} characters, expected 1 to {MAX_CHARACTERS}")
    present = [word for word in shared if word.lower() in text.lower() and word.lower() in original.lower()]
    if not present:
        raise DataError("none of the shared words stands in both prompts")
    if (similarity := jaccard(shingles(text), shingles(original))) >= MAX_SIMILARITY:
        raise DataError(f"the twin is a near copy (Jaccard {similarity:.2f})")
    prompt = Prompt(
        id=f"{sample.id}/counter",
        messages=(Message(role="user", content=text),),
        lang=sample.prompt.lang,
        risk=None,
        expect="answer",
        target=None,
        source=f"counter of {sample.prompt.source}",
        licence=sample.prompt.licence,
        meta={"trigger": present, "written_by": made_by},
    )
    if sample.prompt.attack is not None:
        if (messages := alike(prompt, sample.prompt, original)) is None:
            raise DataError(f"the disguise ({sample.prompt.attack.name}) cannot be put around another request")
        attack = sample.prompt.attack.model_copy(update={"parent_id": prompt.id})
        prompt = prompt.model_copy(update={"messages": messages, "attack": attack})
    return Sample(id=prompt.id, role="counter", prompt=prompt, pair=sample.id)


def _proposal(row: Completion) -> tuple[str, list[str]]:
    if row.finish != "stop" or not row.answer.strip():
        raise DataError("no whole reply")
    text = row.answer.strip()
    if block := _BLOCK.match(text):
        text = block["inside"]
    try:
        reply = json.loads(text)
    except ValueError as error:
        raise DataError("the reply is not one JSON object") from error
    shared = reply.get("shared") if isinstance(reply, dict) else None
    if not (isinstance(reply, dict) and isinstance(reply.get("prompt"), str) and isinstance(shared, list)):
        raise DataError('the reply is not {"prompt": …, "shared": […]}')
    return reply["prompt"].strip(), [word for word in shared if isinstance(word, str) and len(word.strip()) > 1]
