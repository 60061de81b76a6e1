"""The `options` grader: is the option that an answer chooses the right one?

For items with `expect` "choose" and their options in `meta["options"]`; `target` holds the gold letter, or several with
commas between, any of which counts. Only the answer part is read, never the thought, and nothing of a completion whose
thought or answer was cut off. An answer that chooses no single option is unscored, with the reason: it counts in the
bounds, not as wrong.
"""

from __future__ import annotations

from safekeel.files import digest
from safekeel.judges.base import JudgeCard, OneByOne, unjudgeable, unscored
from safekeel.judges.choices import cue_table, read_choice
from safekeel.records import Completion, LabelSource, Prompt, Verdict

LOGIC = 2  # raise when code here or in `choices` changes a label; cue changes are hashed by themselves


class OptionsJudge(OneByOne):
    """Compares the chosen letter with the key."""

    name = "options"
    label_source: LabelSource | None = "construction"
    card: JudgeCard | None = None

    def __init__(self) -> None:
        self.version = digest({"cues": cue_table(), "logic": LOGIC})[:16]

    def judge(self, prompt: Prompt, completion: Completion) -> list[Verdict]:
        """One verdict, of the answer: `correct`, `wrong`, or unscored."""
        options = prompt.meta.get("options")
        if prompt.expect != "choose" or not options or not prompt.target:
            return [unscored(self, completion, "answer", "the item has no options and key to grade by")]
        if why := unjudgeable(completion):
            return [unscored(self, completion, "answer", why)]
        choice = read_choice(completion.answer, options)
        if choice.letter is None:
            return [unscored(self, completion, "answer", choice.why)]
        gold = prompt.target.split(",")
        return [
            Verdict(
                prompt_id=completion.prompt_id,
                sample=completion.sample,
                part="answer",
                label="correct" if choice.letter in gold else "wrong",
                judge=self.name,
                judge_version=self.version,
                reason=f"chose {choice.letter} ({choice.why[:80]!r}), key {prompt.target}",
            )
        ]
