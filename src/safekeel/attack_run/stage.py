"""The folder of an attack run, which evaluation, searches and page fill one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safekeel.artifact import Stage

STAGE = "attack"


@dataclass
class SharedStage(Stage):
    """A stage whose manifest waits for `seal`: what `bench.run.evaluate` finishes is only a part of the work, and a
    kill between the parts must leave a folder that is not finished."""

    _begun: bool | None = field(default=None, init=False, repr=False)
    _outputs: list[Path] = field(default_factory=list, init=False, repr=False)
    _counts: dict[str, Any] = field(default_factory=dict, init=False, repr=False)

    def begin(self) -> bool:
        """See `Stage.begin`; a second call changes nothing."""
        if self._begun is None:
            self._begun = super().begin()
        return self._begun

    def finish(self, outputs: Sequence[Path], counts: dict[str, Any], warnings: Sequence[str] = ()) -> None:
        """Take note of a part's outputs and counts."""
        self._outputs += outputs
        self._counts |= counts

    def seal(self, outputs: Sequence[Path], counts: dict[str, Any], warnings: Sequence[str] = ()) -> None:
        """Write the manifest over all parts."""
        super().finish([*self._outputs, *outputs], {**self._counts, **counts}, warnings)
