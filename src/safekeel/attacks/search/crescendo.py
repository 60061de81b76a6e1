"""Crescendo (Russinovich et al. 2024, arXiv 2404.01833): reach the goal in small steps, each built on the last reply.

    history <- ()
    repeat:  question <- attacker(goal, history, what came of its last question)
             reply    <- target(history + question);  stop at success
             refused:      the question is taken back, as if it had never been asked; another one is tried
             not refused:  history <- history + question + reply

After `max_turns` turns, or `max_backtracks` taken back, the conversation begins anew, and the attacker is told to take
another road. The target sees its own answers without their thoughts, as a chat template keeps them.
"""

from __future__ import annotations

from dataclasses import dataclass

from safekeel.attacks.base import substitute
from safekeel.attacks.search.attacker import as_shown, propose
from safekeel.attacks.search.base import (
    Context,
    Conversation,
    Reply,
    Steps,
    ask_target,
    assistant,
    system,
    user,
)
from safekeel.attacks.search.pair import as_proposal
from safekeel.records import Lang, Prompt


@dataclass(frozen=True)
class Crescendo:
    """See the module."""

    name: str = "crescendo"
    goal: str = "lead the target to the goal over several harmless-looking turns"
    source: str = "Russinovich et al. 2024 (arXiv 2404.01833)"
    languages: tuple[Lang, ...] = ("zh", "en")
    needs_attacker: bool = True
    attacker_calls_per_query: float = 1.0
    forward_passes: int = 0
    cost: str = "one attacker call and one target call per turn; the prompt grows with every turn"
    max_turns: int = 10
    max_backtracks: int = 10
    """Both as in the paper, section 4."""

    def run(self, goal: Prompt, context: Context) -> Steps[None]:
        """See `Strategy.run`; one conversation after another, until the budget is used up."""
        number = 1
        while True:
            yield from self._conversation(number, context)
            number += 1

    def _conversation(self, number: int, context: Context) -> Steps[None]:
        history: Conversation = ()
        dialogue = _opening(number, context)
        question, turns, backtracks = context.request.text, 0, 0
        while turns < self.max_turns and backtracks <= self.max_backtracks:
            [proposal] = yield from propose(context, [dialogue], [question])
            question = proposal.prompt
            replies = yield from ask_target([(*history, user(question))], [f"conversation {number}, turn {turns + 1}"])
            if not replies:
                return
            [reply] = replies
            if _is_step(reply):
                history = (*history, user(question), assistant(reply.completion.answer))
                turns += 1
            else:
                backtracks += 1
                context.counts["backtracks"] += 1
            dialogue = (*dialogue, assistant(as_proposal(question)), user(_told(context, reply)))


def _opening(number: int, context: Context) -> Conversation:
    shared, texts = context.texts("attacker"), context.texts("crescendo")
    fields = {"goal": context.request.text, "number": str(number)}
    instructions = [shared["role"], substitute(texts["task"], fields), texts["steps"], shared["format"]]
    start = texts["start"] if number == 1 else substitute(texts["restart"], fields)
    return (system("\n\n".join(instructions)), user(start))


def _is_step(reply: Reply) -> bool:
    """Whether a turn can stay in the history: it was answered, and not refused."""
    return not reply.is_refused and bool(reply.completion.answer.strip())


def _told(context: Context, reply: Reply) -> str:
    texts = context.texts("crescendo")
    said = as_shown(reply.completion.answer) or "…"
    return substitute(texts["answered" if _is_step(reply) else "refused"], {"reply": said})
