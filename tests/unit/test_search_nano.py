"""Searches against the shipped nano model, judged by the nano grammar: the real parts, a handful of goals."""

from __future__ import annotations

from pathlib import Path

import pytest

from safekeel.attacks import ATTACKS
from safekeel.attacks.search import SEARCHES, QueryRow, SearchConfig, search
from safekeel.engines import open_engine
from safekeel.engines.base import Engine, Sampling
from safekeel.judges.nano import NanoJudge
from safekeel.nano import world
from safekeel.nano.model import shipped_checkpoint
from safekeel.nano.requests import NANO_FAMILIES
from safekeel.nano.words import load_words
from safekeel.records import read_jsonl

pytest.importorskip("torch", reason="the nano model needs the train extra")


@pytest.fixture(scope="module")
def engine() -> Engine:
    return open_engine(f"hf:{shipped_checkpoint()}", batch_size=8)


def test_the_base_is_broken_by_what_it_was_taught(engine: Engine, tmp_path: Path) -> None:
    """The base complies with every request that it understands, so disguises it knows succeed at once."""
    words = load_words()
    goals = world.refuse_items(words, "validation", 4, seed=3)
    families = [ATTACKS.get(family) for family in NANO_FAMILIES]
    config = SearchConfig(budget=4, wordings=("validation",), sampling=Sampling(max_tokens=96))
    found = search(SEARCHES.get("bandit"), goals, engine, NanoJudge(words), config, tmp_path, families=families)
    assert found.counts["successes"] >= 3
    assert found.counts["target_calls"] == len(found.rows) <= 16
    assert read_jsonl(tmp_path / "queries.jsonl", QueryRow) == found.rows
    for outcome in found.outcomes:
        if outcome.status == "success":
            assert (outcome.succeeded_by or "").split(":")[0] in NANO_FAMILIES
