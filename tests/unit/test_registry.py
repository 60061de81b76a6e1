"""Plug-ins by name: built-in ones, installed ones, and the messages for what is missing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from safekeel.errors import UsageError
from safekeel.registry import Registry

GROUP = "safekeel.animals"


@pytest.fixture
def animals() -> Registry[str]:
    registry: Registry[str] = Registry("animal", GROUP)
    registry.add("walrus", "🦭")
    registry.add("ant", "🐜")
    return registry


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with three entry points: a good one, a broken one, one that shadows a built-in."""
    (tmp_path / "zoo_plugin.py").write_text("import sys\nsys.zoo_was_imported = True\nOTTER = '🦦'\n")
    metadata = tmp_path / "zoo-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: zoo\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[{GROUP}]\notter = zoo_plugin:OTTER\nbroken = zoo_absent:X\nant = zoo_plugin:OTTER\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "zoo_plugin", raising=False)


def test_names_keep_the_order_of_adding(animals: Registry[str]) -> None:
    assert animals.names() == ["walrus", "ant"]
    assert animals.get("walrus") == "🦭"


def test_a_name_is_taken_once(animals: Registry[str]) -> None:
    with pytest.raises(ValueError, match="two animal plug-ins are named 'ant'"):
        animals.add("ant", "other")
    assert animals.get("ant") == "🐜"


def test_an_unknown_name_offers_the_nearest(animals: Registry[str]) -> None:
    with pytest.raises(UsageError, match=r"No animal 'Walruss'\. Did you mean 'walrus'\? Known: walrus, ant\."):
        animals.get("Walruss")
    with pytest.raises(UsageError, match=r"No animal 'x'\. Known: none is installed\."):
        Registry[str]("animal", GROUP).get("x")


def test_entry_points_are_imported_only_when_asked_for(
    installed: None, animals: Registry[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "zoo_was_imported", False, raising=False)
    assert sorted(animals.names()) == ["ant", "broken", "otter", "walrus"]
    assert sys.zoo_was_imported is False  # type: ignore[attr-defined]
    assert animals.get("otter") == "🦦"
    assert sys.zoo_was_imported is True  # type: ignore[attr-defined]


def test_a_built_in_wins_over_an_installed_one(installed: None, animals: Registry[str]) -> None:
    assert animals.get("ant") == "🐜"


def test_a_broken_package_is_named(installed: None, animals: Registry[str]) -> None:
    with pytest.raises(UsageError, match=r"'broken' of the package 'zoo' cannot be imported \(ModuleNotFoundError"):
        animals.get("broken")
