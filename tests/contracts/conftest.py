"""Families that need a module of the extra `attacks` are skipped where it is not installed, with the reason."""

from __future__ import annotations

import pytest

from safekeel.attacks import BUILT_IN

_REQUIRES = {family.name: family.requires for family in BUILT_IN}


@pytest.fixture(autouse=True)
def _needs_the_extra(request: pytest.FixtureRequest) -> None:
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    name = parameters.get("name")
    for module in _REQUIRES.get(name, ()) if isinstance(name, str) else ():
        pytest.importorskip(module, reason=f"the attack {name} needs {module}: pip install 'safekeel[attacks]'")
