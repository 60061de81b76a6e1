"""Stage 90-report: card, Markdown and HTML from the artefacts of the run alone."""

from __future__ import annotations

from pathlib import Path

from safekeel.artifact import Stage
from safekeel.config import StageConfig

STAGE, VERSION = "report", "1"


class ReportConfig(StageConfig):
    """What the report is judged by."""

    rules: Path | None = None
    """TOML file of gate rules; default: the packaged ones."""


def run(config: ReportConfig, stage: Stage, run_dir: Path) -> None:
    """Fill the stage folder with `card.json`, `report.md`, `report.html` and the figures."""
    from safekeel.report.render import render

    stage.begin()
    written = render(run_dir, stage.dir, rules=config.rules)
    stage.finish(written, {"files": len(written)})
