"""Whether two mathematical answers are the same, by math-verify, in a process of its own.

A process because judging runs in a thread, where math-verify's timeouts do not work (they are signals), and because no
signal stops a big power: an answer of `9^{9^{9^9}}` would stop a whole evaluation. One helper serves all items; an item
it cannot settle in time costs that item only.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from queue import Empty, Queue
from typing import Any

from safekeel.errors import EngineError

SECONDS = 20.0
"""Per pair. Our choice: every gold answer of MATH-500 takes under 0.1 s; a machine under load gets the rest."""
MAX_CHARACTERS = 20_000
"""Of an answer: its end, where the result stands. math-verify scans the text with many patterns."""


class MathCheck:
    """The helper process, started at the first question and again after a timeout. Not for several threads at once."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self.seconds = seconds
        self._process: subprocess.Popen[str] | None = None
        self._replies: Queue[str] = Queue()

    def same(self, gold: str, text: str) -> bool | None:
        """Is the final answer in `text` equal to `gold` (LaTeX without a box)? None = not settled in time.

        Raises:
            EngineError: math-verify is not installed.
        """
        process = self._running()
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps([gold, text[-MAX_CHARACTERS:]]) + "\n")
            process.stdin.flush()
            reply = self._replies.get(timeout=self.seconds)
        except (Empty, BrokenPipeError):
            reply = ""
        if not reply:  # stuck, or died of the item (out of memory)
            self.close()
            return None
        result: bool | None = json.loads(reply)
        return result

    def close(self) -> None:
        """End the helper, stuck or not."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                if process.stdin is not None:
                    process.stdin.close()

    def __del__(self) -> None:
        self.close()

    def _running(self) -> subprocess.Popen[str]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._process = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
        )
        self._replies = Queue()
        threading.Thread(target=_read, args=(self._process.stdout, self._replies), daemon=True).start()
        if not self._replies.get():  # the first line says that the imports are done, which is no item's time
            self.close()
            raise EngineError(
                "MATH-500 is graded by math-verify, which is not installed: pip install 'safekeel[capability]'."
            )
        return self._process


def _read(stream: Any, replies: Queue[str]) -> None:
    """Pass lines on until the helper ends. Only this thread ever closes the stream: at the interpreter's end, closing a
    stream that another thread is reading ends in a crash."""
    with stream:
        for line in stream:
            replies.put(line)
    replies.put("")


def serve() -> None:
    """The helper: answers `[gold, text]` lines on stdin with `true` or `false` lines."""
    from math_verify import parse, verify

    print("ready", flush=True)
    for line in sys.stdin:
        gold, text = json.loads(line)
        try:
            same = bool(verify(parse(rf"\boxed{{{gold}}}"), parse(text)))
        except Exception:  # sympy may raise anything on text that is no mathematics
            same = False
        print(json.dumps(same), flush=True)


_CHECK = MathCheck()


def math_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """lm-eval `process_results` of one document: `math_verify` 1 or 0, `undecided` 1 where no time was enough."""
    same = _CHECK.same(doc["answer"], results[0])
    return {"math_verify": float(same is True), "undecided": float(same is None)}
