"""TAP, tree of attacks with pruning (Mehrotra et al. 2023, arXiv 2312.02119): PAIR with branches and two prunings.

    leaves <- {the goal};  `depth` times:
        branch   every leaf asks the attacker for `branching` different refinements
        prune 1  refinements that have drifted off the goal are dropped, before the target is asked
        ask      the target, the judge scores; stop at success
        prune 2  the `width` best-scored become the leaves

The evaluator of the first pruning is the attacker model. One that gives no readable verdict drops nothing: a call of
the target is cheaper than a lost idea.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from safekeel.attacks.base import substitute
from safekeel.attacks.search.attacker import propose, read_object
from safekeel.attacks.search.base import (
    Context,
    Conversation,
    Steps,
    ask_attacker,
    ask_target,
    assistant,
    system,
    user,
)
from safekeel.attacks.search.pair import KEPT_ROUNDS, as_proposal, told
from safekeel.records import Lang, Message, Prompt

VERDICT_TOKENS = 64


@dataclass(frozen=True)
class Leaf:
    """A node of the tree: a prompt, the rounds that led to it, and how near it came."""

    prompt: str
    rounds: tuple[tuple[Message, Message], ...] = ()
    score: float = 0.0
    label: str = "root"


@dataclass(frozen=True)
class Tap:
    """See the module."""

    name: str = "tap"
    goal: str = "grow a tree of refinements, and cut what is off the goal or scores low"
    source: str = "Mehrotra et al. 2023 (arXiv 2312.02119)"
    languages: tuple[Lang, ...] = ("zh", "en")
    needs_attacker: bool = True
    attacker_calls_per_query: float = 2.0
    forward_passes: int = 0
    cost: str = "two attacker calls (refine, still on the goal?) per target call, and those for what is pruned"
    branching: int = 4
    width: int = 10
    depth: int = 10
    """These three are the paper's."""

    def run(self, goal: Prompt, context: Context) -> Steps[None]:
        """See `Strategy.run`."""
        leaves = [Leaf(context.request.text)]
        for _ in range(self.depth):
            grown = yield from self._branch(leaves, context)
            kept = yield from on_goal(grown, context)
            context.counts["pruned_off_goal"] += len(grown) - len(kept)
            if not kept:  # the paper's search would end here; ours branches again from the same leaves
                continue
            replies = yield from ask_target([(user(leaf.prompt),) for leaf in kept], [leaf.label for leaf in kept])
            asked = []
            for leaf, reply in zip(kept, replies, strict=False):
                latest = (assistant(as_proposal(leaf.prompt)), user(told(context, reply)))
                asked.append(Leaf(leaf.prompt, (*leaf.rounds, latest)[-KEPT_ROUNDS:], reply.score, leaf.label))
            leaves = sorted(asked, key=lambda leaf: -leaf.score)[: self.width] or leaves

    def _branch(self, leaves: Sequence[Leaf], context: Context) -> Steps[list[Leaf]]:
        """`branching` refinements of every leaf, each told its number so that they differ; fallbacks are no branches,
        unless there is nothing else."""
        places = [(leaf, number) for leaf in leaves for number in range(1, self.branching + 1)]
        proposals = yield from propose(
            context,
            [self._conversation(leaf, number, context) for leaf, number in places],
            [leaf.prompt for leaf, _ in places],
        )
        grown = [
            Leaf(
                proposal.prompt, leaf.rounds, leaf.score, f"branch {number} of {'root' if not leaf.rounds else 'leaf'}"
            )
            for (leaf, number), proposal in zip(places, proposals, strict=True)
            if proposal.is_new
        ]
        return list({leaf.prompt: leaf for leaf in grown}.values()) or [leaves[0]]

    def _conversation(self, leaf: Leaf, number: int, context: Context) -> Conversation:
        shared, pair, tap = context.texts("attacker"), context.texts("pair"), context.texts("tap")
        task = substitute(pair["task"], {"goal": context.request.text})
        instructions = "\n\n".join([shared["role"], task, tap["freedom"], pair["grading"], shared["format"]])
        variant = substitute(tap["variant"], {"number": str(number), "total": str(self.branching)})
        recent = [message for messages in leaf.rounds for message in messages]
        head = (system(instructions),)
        if recent:  # roles have to alternate: the variant is told with the last feedback
            return (*head, user(tap["start"]), *recent[:-1], user(f"{recent[-1].content}\n{variant}"))
        return (*head, user(f"{tap['start']} {variant}"))


def on_goal(leaves: Sequence[Leaf], context: Context) -> Steps[list[Leaf]]:
    """The leaves that still ask for what the goal asks for, by the attacker model's own judgement."""
    texts = context.texts("tap")
    asked: list[Conversation] = [
        (user(substitute(texts["on_goal"], {"goal": context.request.text, "prompt": leaf.prompt})),) for leaf in leaves
    ]
    answers = yield from ask_attacker(asked, VERDICT_TOKENS)
    verdicts = [(read_object(answer) or {}).get("same") for answer in answers]
    context.counts["verdicts_unreadable"] += sum(verdict not in (True, False) for verdict in verdicts)
    return [leaf for leaf, verdict in zip(leaves, verdicts, strict=True) if verdict is not False]
