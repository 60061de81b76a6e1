"""Judge completions into `verdicts.jsonl`, while they are still being generated, and never the same one twice.

A verdict is found again by its key: what was judged and the judge's version. Judging therefore continues after a kill,
and a judge that costs calls pays only for what it has not read yet; `cannot_judge` is always tried again.
"""

from __future__ import annotations

import queue
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from safekeel.files import digest
from safekeel.judges.base import Judge
from safekeel.progress import Progress
from safekeel.records import Completion, Prompt, Verdict, append_jsonl, recover_jsonl, write_jsonl

MAX_BATCH = 1024
"""Completions handed to a judge at once: enough to keep an endpoint busy, few enough to lose little in a kill."""
Row = tuple[str, int]


def verdict_key(prompt: Prompt, completion: Completion, judge_version: str) -> str:
    """Content address of a judgement: the question, the expected behaviour, the reply, and the judge."""
    return digest(
        {
            "prompt": prompt.model_dump(mode="json", include={"id", "messages", "expect", "target", "meta"}),
            "reply": completion.model_dump(mode="json", include={"thought", "answer", "split", "finish", "error"}),
            "judge": judge_version,
        }
    )


class JudgeStream:
    """Judges rows in a thread of its own as they are put in; a context manager that waits for the last one.

    An error of the judge is raised by the next `put`, or at the end.
    """

    def __init__(
        self,
        judge: Judge,
        prompts: Sequence[Prompt],
        path: Path | None,
        progress: Progress | None = None,
        num_expected: int = 0,
    ) -> None:
        """
        Args:
            path: file of the verdicts; earlier ones in it are used again where they still hold. None = keep none.
        """
        self.judge, self.path, self.progress, self.num_expected = judge, path, progress, num_expected
        self.by_id = {prompt.id: prompt for prompt in prompts}
        self.verdicts: dict[Row, list[Verdict]] = {}
        self._earlier: dict[str, list[Verdict]] = defaultdict(list)
        if path is not None and path.exists():
            for verdict in recover_jsonl(path, Verdict):
                # Samples with the same text share a key: one verdict per part stands for all of them.
                if verdict.key and all(verdict.part != other.part for other in self._earlier[verdict.key]):
                    self._earlier[verdict.key].append(verdict)
        self._unscored = 0
        self._queue: queue.SimpleQueue[Completion | None] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="judge", daemon=True)

    def __enter__(self) -> JudgeStream:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._queue.put(None)
        self._thread.join()
        if error is None and self._error is not None:
            raise self._error

    def put(self, row: Completion) -> None:
        """Have a completion judged."""
        if self._error is not None:
            raise self._error
        self._queue.put(row)

    def ordered(self, completions: Sequence[Completion]) -> list[Verdict]:
        """The verdicts of these completions, in their order."""
        return [verdict for row in completions for verdict in self.verdicts[row.prompt_id, row.sample]]

    def _work(self) -> None:
        try:
            ended = False
            while not ended:
                batch, ended = self._next_batch()
                self._judge(batch)
        except BaseException as error:
            self._error = error

    def _next_batch(self) -> tuple[list[Completion], bool]:
        """What has arrived, at least one row; and whether that was the end."""
        batch = []
        row = self._queue.get()
        while row is not None:
            batch.append(row)
            if len(batch) == MAX_BATCH or self._queue.empty():
                return batch, False
            row = self._queue.get()
        return batch, True

    def _judge(self, batch: list[Completion]) -> None:
        todo = []
        for row in batch:
            prompt = self.by_id[row.prompt_id]
            key = verdict_key(prompt, row, self.judge.version)
            earlier = self._earlier.get(key, [])
            if earlier and not any(verdict.unscored for verdict in earlier):
                self.verdicts[row.prompt_id, row.sample] = [
                    verdict.model_copy(update={"sample": row.sample}) for verdict in earlier
                ]
            else:
                todo.append((prompt, row, key))
        judged = self.judge.judge_many([(prompt, row) for prompt, row, _ in todo]) if todo else []
        fresh = []
        for (_, row, key), found in zip(todo, judged, strict=True):
            keyed = [verdict.model_copy(update={"key": key}) for verdict in found]
            self.verdicts[row.prompt_id, row.sample] = keyed
            fresh += keyed
        if self.path is not None and fresh:
            append_jsonl(self.path, *fresh)
        if self.progress is not None and self.num_expected:
            self._unscored += sum(any(verdict.unscored for verdict in found) for found in judged)
            note = f"{self._unscored / len(self.verdicts):.1%} unscored" if self._unscored else ""
            self.progress("judge", len(self.verdicts), self.num_expected, note=note)


def judge_completions(
    prompts: Sequence[Prompt],
    completions: Sequence[Completion],
    judge: Judge,
    path: Path | None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Verdicts of stored completions, in their order; `path` then holds exactly these.

    Raises:
        SafeKeelError: what the judge raises.
    """
    with JudgeStream(judge, prompts, path, progress, len(completions)) as stream:
        for row in completions:
            stream.put(row)
    verdicts = stream.ordered(completions)
    if path is not None:
        write_jsonl(path, verdicts)
    return verdicts
