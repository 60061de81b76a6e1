"""PAIR (Chao et al. 2023, arXiv 2310.08419): an attacker model refines its prompt from the target's replies.

    for each of `streams` conversations with the attacker, in parallel, `depth` times:
        prompt    <- attacker(goal, its last prompts, the target's replies to them, their scores)
        reply     <- target(prompt);  score <- judge(reply);  stop at success

The streams differ in what their attacker is told to rely on (the paper's three system prompts: role-play, logical
appeal, authority), in our own words. As in the paper, an attacker sees its last three rounds only.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from safekeel.attacks.base import substitute
from safekeel.attacks.search.attacker import as_shown, propose
from safekeel.attacks.search.base import Context, Conversation, Reply, Steps, ask_target, assistant, system, user
from safekeel.records import Lang, Message, Prompt

KEPT_ROUNDS = 3
"""The paper's `keep_last_n`."""
APPROACHES = ("role_play", "logic", "authority")


@dataclass
class Stream:
    """One conversation with the attacker."""

    approach: str
    number: int
    prompt: str
    """The last good one."""
    rounds: list[tuple[Message, Message]] = field(default_factory=list)
    """What the attacker proposed, and what came of it."""


@dataclass(frozen=True)
class Pair:
    """See the module. With a budget below streams x depth, every stream gets fewer rounds."""

    name: str = "pair"
    goal: str = "refine a prompt from the target's replies, in several independent streams"
    source: str = "Chao et al. 2023 (arXiv 2310.08419)"
    languages: tuple[Lang, ...] = ("zh", "en")
    needs_attacker: bool = True
    attacker_calls_per_query: float = 1.0
    forward_passes: int = 0
    cost: str = "one attacker call and one target call per try"
    streams: int = 4
    """The paper has 20 to 30 with 3 rounds each; with 20 target calls, 4 streams have 5."""
    depth: int = 10

    def run(self, goal: Prompt, context: Context) -> Steps[None]:
        """See `Strategy.run`."""
        text = context.request.text
        streams = [Stream(APPROACHES[n % len(APPROACHES)], n + 1, text) for n in range(self.streams)]
        for _ in range(self.depth):
            proposals = yield from propose(
                context, [self._conversation(stream, context) for stream in streams], [s.prompt for s in streams]
            )
            for stream, proposal in zip(streams, proposals, strict=True):
                stream.prompt = proposal.prompt
            replies = yield from ask_target(
                [(user(stream.prompt),) for stream in streams],
                [f"stream {stream.number}: {stream.approach}" for stream in streams],
            )
            for stream, reply in zip(streams, replies, strict=False):
                stream.rounds.append((assistant(as_proposal(stream.prompt)), user(told(context, reply))))

    def _conversation(self, stream: Stream, context: Context) -> Conversation:
        shared, texts = context.texts("attacker"), context.texts("pair")
        task = substitute(texts["task"], {"goal": context.request.text})
        instructions = "\n\n".join([shared["role"], task, texts[stream.approach], texts["grading"], shared["format"]])
        start = substitute(texts["start"], {"number": str(stream.number)})
        recent = [message for pair in stream.rounds[-KEPT_ROUNDS:] for message in pair]
        return (system(instructions), user(start), *recent)


def told(context: Context, reply: Reply) -> str:
    """What the attacker is told about a reply of the target: the reply, its class, and the score from 1 to 10."""
    texts = context.texts("pair")
    fields = {
        "outcome": texts[_class_of(reply)],
        "score": str(1 + round(9 * reply.score)),
        "reply": as_shown(reply.completion.answer) or texts["nothing"],
    }
    return substitute(texts["feedback"], fields)


def _class_of(reply: Reply) -> str:
    if reply.is_success:
        return "harmful"
    if reply.is_leak:
        return "leak"
    if reply.is_refused:
        return "refused"
    return "harmless" if reply.answer == "harmless" else "unclear"


def as_proposal(prompt: str) -> str:
    """An earlier prompt in the form in which the attacker is to send the next one."""
    return json.dumps({"improvement": "", "prompt": prompt}, ensure_ascii=False)
