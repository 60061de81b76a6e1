"""Searches: strategies that look at the target's replies and try again.

SEARCHES   strategies by name; those that need no attacker model first
search     run one against many goals (`driver.py`)
estimate   what that costs at most
"""

from safekeel.attacks.search.bandit import Bandit
from safekeel.attacks.search.base import Context, Reply, Steps, Strategy
from safekeel.attacks.search.best_of_n import BestOfN
from safekeel.attacks.search.crescendo import Crescendo
from safekeel.attacks.search.driver import CALLS, QUERIES, SearchResult, search
from safekeel.attacks.search.gcg import Gcg
from safekeel.attacks.search.gptfuzzer import GptFuzzer
from safekeel.attacks.search.log import GoalOutcome, QueryRow
from safekeel.attacks.search.pair import Pair
from safekeel.attacks.search.settings import Estimate, SearchConfig, estimate
from safekeel.attacks.search.tap import Tap
from safekeel.registry import Registry

SEARCHES: Registry[Strategy] = Registry("search", "safekeel.searches")
_BUILT_IN: tuple[Strategy, ...] = (Bandit(), BestOfN(), GptFuzzer(), Pair(), Tap(), Crescendo(), Gcg())
for _strategy in _BUILT_IN:
    SEARCHES.add(_strategy.name, _strategy)

__all__ = [
    "CALLS",
    "QUERIES",
    "SEARCHES",
    "Context",
    "Estimate",
    "GoalOutcome",
    "QueryRow",
    "Reply",
    "SearchConfig",
    "SearchResult",
    "Steps",
    "Strategy",
    "estimate",
    "search",
]
