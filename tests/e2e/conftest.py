"""One finished tiny loop, shared by the end-to-end tests of this session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers import safekeel, tiny_arguments


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished tiny loop."""
    out = tmp_path_factory.mktemp("loop") / "tiny"
    done = safekeel(*tiny_arguments(out))
    assert done.returncode == 0, done.stderr
    return out
