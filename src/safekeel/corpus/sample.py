"""A training sample: what the user said, and the thought and answer the model shall give."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from safekeel.records import Prompt

Role = Literal["risky", "counter", "replay"]


class Sample(BaseModel):
    """One row of `sft.jsonl`. `role` says why it is there: to decline, to answer a look-alike, to keep an ability."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    role: Role
    prompt: Prompt
    thought: str
    answer: str


class Rejected(BaseModel):
    """One row of `rejected.jsonl`: a sample that was made and not used, with the reason and the evidence."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sample: Sample
    reason: Literal["exact_duplicate", "near_duplicate", "contaminated", "wrong_answer"]
    evidence: str
