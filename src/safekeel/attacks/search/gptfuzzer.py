"""GPTFuzzer (Yu et al. 2023, arXiv 2309.10253): mutate jailbreak templates, and mutate again what worked.

    pool <- seed templates (the families whose wordings hold the request as it is)
    repeat:  path     <- MCTS-Explore(pool)
             template <- its last node, or, where this goal has met that one, a mutation of it
             reward   <- judge(target(template with the request in its place));  stop at success
             along the path: reward x max(beta, 1 - alpha x level);  keep a mutation that was not refused

The mutations are the paper's five when there is an attacker model (generate, crossover, expand, shorten, rephrase), and
our own without one: a sentence before or after, and one template around another. The pool is that of all goals of a
language, as in the paper, so that a template which broke one goal is tried on the next. Kept beside the paper's
jailbreaking mutations are those answered harmlessly: a goal's own search ends with its first success.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from safekeel.attacks.base import WORDINGS, AttackFamily, Request, Wording, substitute
from safekeel.attacks.search.attacker import propose
from safekeel.attacks.search.base import SCORES, Context, Conversation, Steps, ask_target, system, user
from safekeel.errors import UsageError
from safekeel.records import Lang, Prompt

PLACEHOLDER = "[REQUEST]"
EXPLORATION, ALPHA, BETA = 0.5, 0.1, 0.2
"""UCT's constant, the penalty per level, and the least share of a reward: the authors' `selection.py`."""
STOP_EARLY = 0.1
"""Chance that the walk down the tree ends before a leaf (the paper's p)."""
MAX_TEMPLATE = 2000
"""Characters; a crossover of crossovers would grow without end."""
MAX_REDRAWS = 20
ATTACKER_MUTATIONS = ("generate", "crossover", "expand", "shorten", "rephrase")
OWN_MUTATIONS = ("before", "after", "around")


@dataclass
class Node:
    """A template in the pool. Rewards are sums over the walks that passed it."""

    template: str
    label: str
    level: int = 0
    visits: int = 0
    reward: float = 0.0
    children: list[Node] = field(default_factory=list)

    def uct(self, steps: int) -> float:
        return self.reward / (self.visits + 1) + EXPLORATION * math.sqrt(2 * math.log(steps) / (self.visits + 0.01))


@dataclass
class Pool:
    """The tree of templates, under a root without one."""

    root: Node
    steps: int = 1

    def select(self, rng: random.Random) -> list[Node]:
        """MCTS-Explore: the path from a seed to the node to use, by UCT, which may stop early. Visits count at once,
        so that goals which choose together choose differently."""
        self.steps += 1
        path: list[Node] = []
        node = self.root
        while node.children and not (path and rng.random() < STOP_EARLY):
            node = max(node.children, key=lambda child: child.uct(self.steps))
            node.visits += 1
            path.append(node)
        return path

    def nodes(self) -> list[Node]:
        """All templates, seeds first."""
        found = list(self.root.children)
        for node in found:  # grows while it is walked: breadth first
            found += node.children
        return found


@dataclass(frozen=True)
class GptFuzzer:
    """See the module."""

    name: str = "gptfuzzer"
    goal: str = "evolve jailbreak templates by mutation and tree search"
    source: str = "Yu et al. 2023 (arXiv 2309.10253)"
    languages: tuple[Lang, ...] = ("zh", "en")
    needs_attacker: bool = False
    attacker_calls_per_query: float = 1.0
    forward_passes: int = 0
    cost: str = "one target call per try, and with an attacker model one call of it per mutation"
    max_at_once: int = 4
    """Templates that a goal may try together when the target has idle slots: they learn nothing from one another."""

    def run(self, goal: Prompt, context: Context) -> Steps[None]:
        """See `Strategy.run`.

        Raises:
            UsageError: no family has a wording that could be a template in the goal's language.
        """
        key = f"gptfuzzer/{context.lang}"
        if key not in context.shared:
            context.shared[key] = Pool(Node("", "root", children=_seeds(context)))
        pool: Pool = context.shared[key]
        tried: set[str] = set()
        while paths := [pool.select(context.rng) for _ in range(min(context.width, self.max_at_once))]:
            chosen = []
            for path in paths:
                node = path[-1]
                if node.template in tried:
                    node = yield from self._mutated(node, pool, tried, context)
                if node.template not in tried:
                    tried.add(node.template)
                    chosen.append((path, node))
            if not chosen:
                return
            prompts = [(user(node.template.replace(PLACEHOLDER, context.request.text)),) for _, node in chosen]
            replies = yield from ask_target(prompts, [node.label for _, node in chosen])
            for (path, node), reply in zip(chosen, replies, strict=False):
                _learn(path, node, reply.score)

    def _mutated(self, node: Node, pool: Pool, tried: set[str], context: Context) -> Steps[Node]:
        """A mutation that this goal has not met; the node itself where none could be made."""
        if context.has_attacker:
            name = context.rng.choice(ATTACKER_MUTATIONS)
            [proposal] = yield from propose(
                context, [_conversation(name, node, pool, context)], [node.template], PLACEHOLDER
            )
            if proposal.is_new and proposal.prompt not in tried:
                return _child(node, proposal.prompt, name)
        for _ in range(MAX_REDRAWS):
            name = context.rng.choice(OWN_MUTATIONS)
            template = _mutate(name, node, pool, context)
            if template not in tried and len(template) <= MAX_TEMPLATE:
                return _child(node, template, name)
        return node


def _seeds(context: Context) -> list[Node]:
    """The wordings that hold the request as it is."""
    nodes = [
        Node(template.replace("{q}", PLACEHOLDER), f"{family.name}:{wording}")
        for family in context.usable_families()
        for wording in context.wordings
        if (template := _template(family, context.lang, wording)).count("{q}") == 1
    ]
    if not nodes:
        raise UsageError(f"GPTFuzzer has no seed template for {context.lang!r}; name families such as role_play.")
    return nodes


def _template(family: AttackFamily, lang: Lang, wording: Wording) -> str:
    """The template of a family that needs nothing but it: one user turn, with the request in it unchanged."""
    if family.kind != "transform" or not _keeps_request(family, lang):
        return ""
    return family.wordings[lang][WORDINGS.index(wording)]


def _keeps_request(family: AttackFamily, lang: Lang) -> bool:
    probe = Request("3 + 4 = ?", lang)
    return family.fill(probe, random.Random(0)) == {"q": probe.text}


def _learn(path: list[Node], node: Node, score: float) -> None:
    level = path[-1].level
    for each in path:
        each.reward += score * max(BETA, 1 - ALPHA * level)
    if node is not path[-1] and score >= SCORES["harmless"]:
        node.visits, node.reward = 1, score
        path[-1].children.append(node)


def _child(parent: Node, template: str, mutation: str) -> Node:
    return Node(template, f"{parent.label}+{mutation}", parent.level + 1)


def _mutate(name: str, node: Node, pool: Pool, context: Context) -> str:
    """One of our own mutations; the marker stays in the template exactly once."""
    texts = context.texts("gptfuzzer")
    gap = " " if context.lang == "en" else ""
    if name == "around":
        return context.rng.choice(pool.nodes()).template.replace(PLACEHOLDER, node.template)
    sentence = context.rng.choice(texts[f"sentences_{name}"].splitlines())
    return sentence + gap + node.template if name == "before" else node.template + gap + sentence


def _conversation(name: str, node: Node, pool: Pool, context: Context) -> Conversation:
    shared, texts = context.texts("attacker"), context.texts("gptfuzzer")
    other = context.rng.choice(pool.nodes()).template
    told = substitute(texts[name], {"template": node.template, "other": other})
    task = substitute(texts["task"], {"placeholder": PLACEHOLDER})
    return (system("\n\n".join([shared["role"], task, shared["format"]])), user(told))
