"""Stage 90-report: card, gate, page and figures from the artefacts of a run folder.

safekeel report out/nano
"""

from __future__ import annotations

from pathlib import Path

from pydantic import computed_field

from safekeel.artifact import Stage, digest
from safekeel.config import StageConfig
from safekeel.report.gate import load_rules
from safekeel.report.render import render

STAGE, VERSION = "report", "3"


class ReportConfig(StageConfig):
    """Which rules the gate holds."""

    rules: Path | None = None
    """TOML file of gate rules; null = the packaged ones of the nano recipe."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def rules_digest(self) -> str:
        """Other rules make another report, also under the same file name."""
        return digest(load_rules(self.rules).model_dump())


def run(config: ReportConfig, stage: Stage, run_dir: Path) -> None:
    """Fill the stage folder with `card.json`, `report.md`, `report.html` and `*.svg`."""
    stage.begin()
    outputs = render(run_dir, stage.dir, config.rules)
    stage.finish(outputs, {"in": len(stage.inputs), "kept": len(outputs)})
