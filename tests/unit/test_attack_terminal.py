"""What `safekeel attack` says before it asks anything, and after it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from safekeel.attack_run.cost import as_text, plan
from safekeel.attack_run.pack import build_pack, write_pack
from safekeel.attack_run.prepare import AttackRequest, prepare
from safekeel.attack_run.search import SearchRequest
from safekeel.attack_run.words import troubles
from safekeel.attacks import resolve
from safekeel.attacks.search import SEARCHES
from safekeel.bench.command import EvalRequest, JudgeRequest
from safekeel.engines.base import Sampling
from safekeel.errors import UsageError
from tests.attack_world import nano_goals

PACK = build_pack(nano_goals(4), resolve(["fiction"]))


def test_retries_of_the_attacker_are_no_part_of_an_upper_bound() -> None:
    found = plan(PACK, Sampling(), "linear", [SEARCHES.get("pair")], 5, has_attacker=True)
    text = as_text(found, PACK.sha256)
    assert "search pair: 4 goals, at most 20 target calls" in text
    assert "about 20 attacker calls" in text and "a goal is given up after 56" in text
    assert "in all at most 28 target calls" in text
    without = plan(PACK, Sampling(), "linear", [SEARCHES.get("bandit")], 5, has_attacker=False)
    assert "attacker" not in as_text(without, PACK.sha256)


def searched(**more: Any) -> dict[str, Any]:
    attacker = {"calls": 0, "failures": 0, "unreadable": 0, "fallbacks": 0}
    row = {"target_calls": 20, "target_errors": 0, "repeated": 0, "driver": {"unscored": 0}, "attacker": attacker}
    return {**row, **more}


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (searched(), []),
        (searched(target_errors=3, driver={"unscored": 3}), ["3 of its target calls failed"]),
        (searched(driver={"unscored": 2}), ["2 replies have no verdict"]),
        (
            searched(attacker={"calls": 9, "failures": 2, "unreadable": 1, "fallbacks": 1}),
            ["3 of 9 attacker calls gave no prompt (2 failed, cut off or empty, 1 refused or unreadable)"],
        ),
        (
            searched(attacker={"calls": 9, "failures": 0, "unreadable": 0, "fallbacks": 0}, repeated=11),
            ["11 of 20 target calls repeated", "use another --attacker"],
        ),
    ],
)
def test_what_made_a_search_weak_is_said(search: dict[str, Any], says: list[str]) -> None:
    found = troubles(search)
    assert len(found) == len(says) and all(part in line for part, line in zip(says, found, strict=True))


@pytest.mark.parametrize("max_tokens", [None, 50])
def test_a_pack_without_its_token_budget_says_so(max_tokens: int | None, tmp_path: Path) -> None:
    write_pack(tmp_path, PACK)
    target = EvalRequest("scripted:x", (), JudgeRequest(), max_tokens=max_tokens)
    said: list[str] = []
    found = prepare(AttackRequest(target, pack=tmp_path / "pack.jsonl"), said.append)
    if max_tokens is None:
        assert len(said) == 1 and "give its --max-tokens" in said[0]
    else:
        assert not said and found.sampling.max_tokens == 50


def test_a_wrong_attacker_is_said_to_be_the_attacker() -> None:
    asked = SearchRequest(("pair",), attacker="api:a", attacker_base_urls=("nonsense",))
    with pytest.raises(UsageError, match=r"^--attacker api:a: .*nonsense.*--attacker-base-url"):
        asked.open_attacker([SEARCHES.get("pair")])


def test_the_attackers_endpoint_has_the_same_patience_as_the_targets() -> None:
    asked = SearchRequest(("pair",), attacker="api:a", attacker_base_urls=("http://127.0.0.1:9/v1",), timeout=7.0)
    assert getattr(asked.open_attacker([SEARCHES.get("pair")]), "timeout", None) == 7.0
