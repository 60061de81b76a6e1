"""Parameters of searches from the command line, and what a white-box search is told before anything is opened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from safekeel.attack_run.search import SearchRequest
from safekeel.attack_run.search_options import parameters, with_options
from safekeel.attacks.search import SEARCHES
from safekeel.errors import UsageError
from safekeel.nano.model import shipped_checkpoint
from tests.helpers import safekeel

GCG, BEST = SEARCHES.get("gcg"), SEARCHES.get("best-of-n")


def test_options_reach_their_strategy_alone() -> None:
    gcg, best = with_options((GCG, BEST), ["gcg.num_steps = 12", "gcg.search_width=8", "best-of-n.sigma=1"])
    assert parameters(gcg) == {"suffix_length": 20, "top_k": 256, "search_width": 8, "num_steps": 12}
    assert parameters(best) == {"sigma": 1.0}
    assert gcg.forward_passes == 12 * 11 and GCG.forward_passes == 500 * 515
    assert with_options((GCG, BEST), []) == (GCG, BEST)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("gcg", "expected STRATEGY.PARAMETER=VALUE"),
        ("gcg.num_steps", "expected STRATEGY.PARAMETER=VALUE"),
        ("num_steps=3", "expected STRATEGY.PARAMETER=VALUE"),
        ("pair.streams=2", "not searched with"),
        ("gcgg.num_steps=3", "Did you mean 'gcg'"),
        ("gcg.num_step=3", "Did you mean 'num_steps'"),
        ("gcg.name=3", "has no parameter 'name'"),
        ("gcg.num_steps=0", "an integer above 0"),
        ("gcg.num_steps=-3", "an integer above 0"),
        ("gcg.num_steps=3.5", "an integer above 0"),
        ("gcg.num_steps=true", "an integer above 0"),
        ("gcg.num_steps=many", "an integer above 0"),
        ("gcg.num_steps=", "an integer above 0"),
        ("best-of-n.sigma=nan", "a number above 0"),
    ],
)
def test_bad_options_are_told_with_what_is_expected(option: str, told: str) -> None:
    with pytest.raises(UsageError, match="--search-option") as caught:
        with_options((GCG, BEST), [option])
    assert told in str(caught.value)


@pytest.mark.parametrize("target", ["api:model", "vllm:model", "scripted:file.jsonl"])
def test_a_white_box_search_needs_weights(target: str) -> None:
    with pytest.raises(UsageError, match="hf:PATH"):
        SearchRequest(("gcg",)).strategies(target)
    assert SearchRequest(("gcg", "bandit")).strategies("hf:anything")[0] is GCG


def test_gcg_from_the_command_line(tmp_path: Path) -> None:
    """Its cost is said first, its options count as settings, and its suffixes are part of the folder."""
    asked = ["attack", f"hf:{shipped_checkpoint()}", "--goals", "nano", "--limit", "2", "--family", "fiction"]
    asked += ["--search", "gcg", "--budget", "2", "--max-tokens", "96", "--out", str(tmp_path / "a"), "--search-option"]
    short = [*asked, "gcg.num_steps=2", "--search-option", "gcg.search_width=4"]
    done = safekeel(*short)
    assert done.returncode == 0, done.stderr
    assert "28 forward passes of the target (white box)" in done.stdout + done.stderr
    found = json.loads((tmp_path / "a/attack.json").read_text("utf-8"))
    assert found["searches"][0]["strategy"] == "gcg" and found["searches"][0]["num_broken"] == 2  # the base complies
    again = safekeel(*short)
    assert again.returncode == 0 and "skipped" in again.stdout + again.stderr
    other = safekeel(*asked, "gcg.num_steps=3")
    assert other.returncode == 0 and "skipped" not in other.stdout + other.stderr
