"""Keeps a fixed number of requests in flight until every row exists.

Workers pull: one that has its reply sends the next request at once, before that reply is even read; reading, writing
and judging a row happen when nothing is to be sent. No batches, no ticks, no task per waiting request.
A row that must be asked again waits aside, without a worker, and goes first when its time comes.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from safekeel.engines.base import error_row
from safekeel.engines.endpoint import Endpoint, least_busy
from safekeel.engines.exchange import Answered, Arrived, Exchange, Failed, Outcome, Refused, Rejected, Request
from safekeel.errors import EngineError
from safekeel.records import Completion

READ_IN_A_TURN = 4
"""Replies read in one turn of the event loop, about a millisecond with rules as judge."""
TIMER_SLACK = 0.01
"""Seconds. A timer of the event loop may run a clock tick early, and find that it is not time yet."""
MAX_FAILURES = 5
"""Requests per row that may fail. At 3% of faults, one row in 40 million gets an error."""
MAX_REFUSALS = 30
"""Times a row may be turned away for load: about a quarter of an hour of backing off."""
FIRST_WAIT, LAST_WAIT = 0.5, 30.0
"""Seconds before a row is sent again, doubled each time, times a random factor between a half and one."""
LONGEST_RETRY_AFTER = 600.0
"""Seconds. Who asks for more has closed for now (a day's quota)."""
BUSY_PATIENCE = 300.0
"""Seconds in which every single request was turned away."""
NEVER_ANSWERED_PATIENCE = 5.0
"""Seconds for an endpoint that never answered: most likely a wrong address."""


@dataclass(slots=True)
class Job:
    """One row to make; `index` is its place in the answer of `generate`."""

    index: int
    make: Callable[[], Request]
    """Requests are made when they are sent, so waiting ones take no memory."""
    failures: int = 0
    refusals: int = 0


@dataclass
class Dispatch:
    """One run over a list of jobs. `on_row` gets every row as it exists, with its job."""

    name: str
    endpoints: Sequence[Endpoint]
    exchange: Exchange
    concurrency: int
    patience: float
    """Seconds without any living endpoint after which the run stops."""
    on_row: Callable[[Job, Completion], None]
    _ready: deque[Job] = field(default_factory=deque)
    _unread: deque[tuple[Job, Request, Endpoint, Arrived]] = field(default_factory=deque)
    _reading: bool = False
    _workers: set[asyncio.Task[None]] = field(default_factory=set)
    _missing: int = 0
    _random: random.Random = field(default_factory=random.Random)

    async def run(self, jobs: Sequence[Job]) -> None:
        """Until every job has its row.

        Raises:
            EngineError: no endpoint is left, or none can ever answer. Rows that exist were handed over; the others
                are not made, so the same command continues with them.
        """
        if not jobs:
            return
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._ready.extend(jobs)
        self._missing = len(jobs)
        self._last_row = self._loop.time()
        self._fill()
        try:
            await self._finished
        except (EngineError, asyncio.CancelledError):
            self._hand_over()
            raise
        finally:
            for worker in self._workers:
                worker.cancel()
            await asyncio.gather(*self._workers, return_exceptions=True)

    def _fill(self) -> None:
        """Begin workers until nothing waits or nowhere is room, one in a turn of the event loop.

        With all of them in one turn, the first request would wait for the last connection, and replies that take
        equally long would then come back all at once, wave after wave.
        """
        if len(self._workers) < self.concurrency and (taken := self._take()):
            worker = self._loop.create_task(self._work(*taken))
            self._workers.add(worker)
            worker.add_done_callback(self._ended)
            self._loop.call_soon(self._fill)

    def _take(self) -> tuple[Job, Endpoint] | None:
        """The next job and where to send it, if there is one and it may be sent now."""
        if not self._ready or self._finished.done():
            return None
        endpoint = least_busy(self.endpoints, self._loop.time())
        if endpoint is None:
            return None
        endpoint.sent()
        return self._ready.popleft(), endpoint

    async def _work(self, job: Job, endpoint: Endpoint) -> None:
        """Ask, and go on with the next job in the same breath, until there is none; replies are read meanwhile."""
        taken: tuple[Job, Endpoint] | None = (job, endpoint)
        while taken:
            await self._ask(*taken)
            taken = self._take()
            self._fill()  # the limit may have grown

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._workers.discard(worker)
        if not (self._finished.done() or worker.cancelled()) and (error := worker.exception()) is not None:
            self._finished.set_exception(error)

    async def _ask(self, job: Job, endpoint: Endpoint) -> None:
        window, request = endpoint.limiter.window, job.make()
        try:
            outcome = await self.exchange.ask(endpoint, request)
        finally:
            endpoint.in_flight -= 1
        endpoint.limiter.answered(window, isinstance(outcome, Refused))
        if not isinstance(outcome, Arrived):
            self._settle(job, request, endpoint, outcome)
            return
        endpoint.has_answered = True
        self._unread.append((job, request, endpoint, outcome))
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._read)
        elif len(self._unread) > self.concurrency:  # reading cannot keep up: then sending waits
            self._settle_next()

    def _read(self) -> None:
        """Read a few of the replies that are there, then let the loop send and receive."""
        try:
            for _ in range(min(READ_IN_A_TURN, len(self._unread))):
                self._settle_next()
        except Exception as error:  # as of a worker; `on_row` is the caller's code
            if not self._finished.done():
                self._finished.set_exception(error)
            return
        self._reading = bool(self._unread)
        if self._reading:
            self._loop.call_soon(self._read)
        self._fill()  # a whole reply may have brought an endpoint back

    def _settle_next(self) -> None:
        job, request, endpoint, arrived = self._unread.popleft()
        self._settle(job, request, endpoint, self.exchange.read(arrived, request.asked))

    def _hand_over(self) -> None:
        """The run ends early: replies that are there are rows all the same."""
        while self._unread:
            job, request, _, arrived = self._unread.popleft()
            if isinstance(outcome := self.exchange.read(arrived, request.asked), Answered):
                self.on_row(job, outcome.row)

    def _settle(self, job: Job, request: Request, endpoint: Endpoint, outcome: Outcome) -> None:
        if isinstance(outcome, Answered):
            endpoint.is_alive()
            self._last_row = self._loop.time()
            self._keep(job, outcome.row)
        elif isinstance(outcome, Rejected):
            endpoint.is_alive()
            self._give_up(job, request, outcome.reason)
        elif isinstance(outcome, Refused):
            self._refused(job, request, endpoint, outcome)
        else:
            self._failed(job, request, endpoint, outcome)

    def _refused(self, job: Job, request: Request, endpoint: Endpoint, outcome: Refused) -> None:
        now = self._loop.time()
        if endpoint.is_down or outcome.wait > LONGEST_RETRY_AFTER:
            wait = f" (it asks to wait {outcome.wait:.0f} s)" if outcome.wait else ""
            self._failed(job, request, endpoint, Failed(outcome.reason + wait, unreachable=True))
            return
        if now - self._last_row > BUSY_PATIENCE and not any(endpoint.in_flight for endpoint in self.endpoints):
            raise self._stop(f"turned every request away for {now - self._last_row:.0f} s: {outcome.reason}")
        job.refusals += 1
        if job.refusals > MAX_REFUSALS:
            self._give_up(job, request, f"turned away {job.refusals} times, at last with {outcome.reason}")
        else:
            self._again_in(max(outcome.wait, self._backoff(job.refusals)), job)

    def _failed(self, job: Job, request: Request, endpoint: Endpoint, outcome: Failed) -> None:
        now = self._loop.time()
        endpoint.failed(job.index, outcome.reason, now, outcome.unreachable)
        if endpoint.is_down:  # not the row's fault: another endpoint, or a later run, may have it
            self._ready.append(job)
            self._check_alive(now)
            self._loop.call_later(endpoint.seconds_to_probe(now) + TIMER_SLACK, self._fill)
            return
        job.failures += 1
        if job.failures >= MAX_FAILURES:
            self._give_up(job, request, f"failed {job.failures} times, at last: {outcome.reason}")
        else:
            self._again_in(self._backoff(job.failures), job)

    def _check_alive(self, now: float) -> None:
        since = [endpoint.down_since for endpoint in self.endpoints if endpoint.down_since is not None]
        if len(since) < len(self.endpoints):
            return
        answered = any(endpoint.has_answered for endpoint in self.endpoints)
        patience = self.patience if answered else min(self.patience, NEVER_ANSWERED_PATIENCE)
        if now - max(since) >= patience:
            reasons = "; ".join(dict.fromkeys(endpoint.last_failure for endpoint in self.endpoints))
            raise self._stop(f"has not answered for {now - max(since):.0f} s: {reasons}")

    def _stop(self, what: str) -> EngineError:
        places = ", ".join(str(endpoint.base_url) for endpoint in self.endpoints)
        return EngineError(
            f"api:{self.name} at {places} {what}. Expected a running OpenAI-compatible server; {self._missing} rows "
            "are missing, what is done is kept. Check the server and run the same command again: it continues."
        )

    def _again_in(self, seconds: float, job: Job) -> None:
        self._loop.call_later(seconds, self._again, job)

    def _again(self, job: Job) -> None:
        self._ready.appendleft(job)
        self._fill()

    def _backoff(self, times: int) -> float:
        wait: float = min(LAST_WAIT, FIRST_WAIT * 2 ** (times - 1))
        return wait * self._random.uniform(0.5, 1.0)

    def _give_up(self, job: Job, request: Request, reason: str) -> None:
        asked = request.asked
        self._keep(job, error_row(asked.prompt, asked.sample, asked.model, reason))

    def _keep(self, job: Job, row: Completion) -> None:
        self.on_row(job, row)
        self._missing -= 1
        if not self._missing and not self._finished.done():
            self._finished.set_result(None)
