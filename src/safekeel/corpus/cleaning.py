"""The steps a row goes through: prompts before any model sees them, responses before any of them is chosen.

    prompt:   normalise ─► language ─► quality ─► scrub ─► duplicates ─► decontaminate ─► risk label
    response: language ─► quality ─► scrub

The same step objects see all prompts of a build, the twins that a model writes later included, so a copy is found
wherever it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from safekeel.config import StageConfig
from safekeel.corpus.sample import Rejected, Sample
from safekeel.corpus.steps.base import Step, StepReport, run_steps
from safekeel.corpus.steps.contamination import Contamination, ContaminationConfig
from safekeel.corpus.steps.duplicates import Duplicates, DuplicatesConfig
from safekeel.corpus.steps.held_out import HeldOut
from safekeel.corpus.steps.language import LanguageConfig, LanguageStep
from safekeel.corpus.steps.normalise import Normalise
from safekeel.corpus.steps.quality import QualityConfig, QualityStep
from safekeel.corpus.steps.risk import RiskLabelStep
from safekeel.corpus.steps.risk_labellers import Labeller
from safekeel.corpus.steps.scrub import ScrubConfig, ScrubStep
from safekeel.corpus.synthesis.policy import policy_marks
from safekeel.progress import Progress


class CleanConfig(StageConfig):
    """Thresholds of the steps, each with its parent in the step's own file."""

    language: LanguageConfig = Field(default_factory=LanguageConfig)
    quality: QualityConfig = Field(default_factory=QualityConfig)
    scrub: ScrubConfig = Field(default_factory=ScrubConfig)
    duplicates: DuplicatesConfig = Field(default_factory=DuplicatesConfig)
    contamination: ContaminationConfig = Field(default_factory=ContaminationConfig)


class Cleaning:
    """All steps of one build."""

    def __init__(self, config: CleanConfig, held_out: HeldOut, labellers: Sequence[Labeller] = ()) -> None:
        """
        Args:
            labellers: the panel that labels every prompt's risk; without one the sources' own categories stand.
        """
        self.held_out = held_out
        self._language, self._quality = LanguageStep(config.language), QualityStep(config.quality)
        self._response_quality = QualityStep(
            config.quality.model_copy(
                update={"forbidden_markers": (*config.quality.forbidden_markers, *policy_marks())}
            )
        )
        self._scrub = ScrubStep(config.scrub)
        self._prompt_steps: list[Step] = [
            Normalise(),
            self._language,
            self._quality,
            self._scrub,
            Duplicates(config.duplicates),
            Contamination(held_out.items, config.contamination),
        ]
        if labellers:
            self._prompt_steps.append(RiskLabelStep(labellers))
        self.reports: list[StepReport] = []

    def prompts(self, samples: Sequence[Sample], progress: Progress | None) -> tuple[list[Sample], list[Rejected]]:
        """The rows whose prompt may go on, and the others; may be called again with more rows."""
        kept, rejected, reports = run_steps(samples, self._prompt_steps, progress=progress)
        self.reports = _joined(self.reports, reports)
        return kept, rejected

    def response_steps(self) -> list[Step]:
        """What a written response must pass to be chosen."""
        return [self._language, self._response_quality, self._scrub]

    def held_out_card(self) -> dict[str, Any]:
        """What was compared with, for the card."""
        missing = dict.fromkeys(self.held_out.absent, "no copy at hand")
        missing |= dict.fromkeys(self.held_out.excluded, "excluded by the user, who trains on it")
        return {"checked": dict(self.held_out.compared), "not_checked": missing}


def _joined(earlier: Sequence[StepReport], later: Sequence[StepReport]) -> list[StepReport]:
    """The reports of two runs of the same steps as one."""
    if not earlier:
        return list(later)
    return [
        StepReport(
            step=old.step,
            rows_in=old.rows_in + new.rows_in,
            rows_kept=old.rows_kept + new.rows_kept,
            dropped={key: old.dropped.get(key, 0) + new.dropped.get(key, 0) for key in old.dropped | new.dropped},
            changed=old.changed + new.changed,
            seconds=old.seconds + new.seconds,
        )
        for old, new in zip(earlier, later, strict=True)
    ]
