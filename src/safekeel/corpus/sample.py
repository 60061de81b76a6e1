"""The one row of the corpus factory: what the user said, and the thought and answer the model shall give."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from safekeel.records import JsonObject, Name, Prompt, Record, Text

Role = Literal["risky", "counter", "replay", "general"]
"""Why a sample is there: to decline, to answer a look-alike, to keep an ability, to stay an assistant."""
ROLES: tuple[Role, ...] = ("risky", "counter", "replay", "general")


class Sample(Record):
    """One row of `sft.jsonl`; before synthesis thought and answer are empty."""

    id: Name
    role: Role
    prompt: Prompt
    thought: Text = ""
    answer: Text = ""
    pair: Text | None = None
    """Id of the twin: of the harmless look-alike on a risky sample, and the reverse."""
    made_by: Text = ""
    """Who wrote thought and answer: an engine's name, or the source."""
    style: Text = ""
    """Form of the chain of thought: `improved`, `short`, `template`, or as the source had it."""
    checks: JsonObject = Field(default_factory=dict)
    """What was measured about the response before it was accepted: labels of the judges, the candidate's rank."""

    def blank(self) -> Sample:
        """The prompt alone, without a response."""
        return self.model_copy(update={"thought": "", "answer": "", "made_by": "", "style": ""})


class Rejected(Record):
    """One row of `rejected.jsonl`: something read or made that is not used, with the reason and the evidence."""

    sample: Sample | None = None
    """None where the row could not even be read."""
    where: Text = ""
    """File and line, or source, of a row without a sample."""
    step: Text = ""
    reason: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    evidence: Text
