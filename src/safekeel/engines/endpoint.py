"""One base URL of an OpenAI-compatible server: where it is, how much it takes, and whether it lives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from yarl import URL

from safekeel.engines.limiter import Limiter
from safekeel.errors import UsageError, shown

DOWN_AFTER = 10
"""Different rows that failed one after another. Resets of 1% never come ten in a row; a few rows that crash a server
whenever they are asked are the rows' fault, not the server's."""
FIRST_PROBE, LAST_PROBE = 0.5, 15.0
"""Seconds between looks at an endpoint that is down, doubled each time."""


class Endpoint:
    """State of one base URL during one run; times are seconds of the event loop's clock."""

    def __init__(self, base_url: URL, concurrency: int) -> None:
        self.base_url = base_url
        self.limiter = Limiter(concurrency)
        self.in_flight = 0
        self.num_sent = 0
        self.has_answered = False
        """Whether it ever accepted a request: key, URL and model name are then right."""
        self.accepts_key = False
        """Whether it listed its models to our key: then a 403 is about a prompt."""
        self.down_since: float | None = None
        self.last_failure = ""
        self._probe_at = 0.0
        self._probe_delay = FIRST_PROBE
        self._failed_rows: set[int] = set()
        self._urls: dict[str, URL] = {}

    def url(self, path: str) -> URL:
        """A method of the API, such as `chat/completions`. Kept: joining costs as much as reading a reply."""
        if path not in self._urls:
            self._urls[path] = self.base_url.joinpath(path)
        return self._urls[path]

    @property
    def is_down(self) -> bool:
        """Whether it only gets probes, one at a time."""
        return self.down_since is not None

    def has_room(self, now: float) -> bool:
        """Whether a request may be sent now."""
        return now >= self._probe_at if self.is_down else self.in_flight < self.limiter.limit

    def sent(self) -> None:
        """A request is on its way; `in_flight` is counted down by whoever sent it."""
        self.in_flight += 1
        self.num_sent += 1
        self._probe_at = math.inf  # no second probe beside this one

    def is_alive(self) -> None:
        """It answered like a working server: whatever was wrong is over."""
        self.down_since = None
        self._probe_delay = FIRST_PROBE
        self._failed_rows.clear()

    def failed(self, row: int, reason: str, now: float, unreachable: bool = False) -> None:
        """Note a failure that may be the endpoint's own.

        Args:
            unreachable: no connection came about, so nothing about the row can be the cause.
        """
        self.last_failure = reason
        self._failed_rows.add(row)
        if not self.is_down and (unreachable or len(self._failed_rows) >= DOWN_AFTER):
            self.down_since = now
            self._probe_at = math.inf
        if self.is_down and self._probe_at == math.inf:
            self._probe_at = now + self._probe_delay
            self._probe_delay = min(LAST_PROBE, 2 * self._probe_delay)

    def seconds_to_probe(self, now: float) -> float:
        """From now to the next probe of an endpoint that is down."""
        return max(0.0, self._probe_at - now)


def least_busy(endpoints: Sequence[Endpoint], now: float) -> Endpoint | None:
    """The endpoint with the fewest requests in flight of those that have room (of equals, the least used so far)."""
    with_room = [endpoint for endpoint in endpoints if endpoint.has_room(now)]
    return min(with_room, key=lambda endpoint: (endpoint.in_flight, endpoint.num_sent), default=None)


def parse_base_url(text: str) -> URL:
    """A base URL as OpenAI's clients take it, such as `http://host:8000/v1`.

    `/v1` is added where there is no path; the path of a method (`/chat/completions`) is dropped.

    Raises:
        UsageError: no http(s) URL, or one with a password or a query, which would end up in manifests.
    """
    try:
        url = URL(text)
        valid = url.scheme in ("http", "https") and bool(url.host)
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(f"--base-url {shown(text)}: expected a URL such as http://127.0.0.1:8000/v1.")
    if url.user or url.password or url.query_string or url.fragment:
        place = f"{url.scheme}://{url.host}"
        raise UsageError(
            f"--base-url {place}…: it holds a user name, a password or a query. Expected the bare URL; put a key into "
            "an environment variable and name that with --api-key-env."
        )
    path = url.path.rstrip("/").removesuffix("/completions").removesuffix("/chat")
    return url.with_path(path or "/v1")


def retry_after(value: str | None, now: datetime | None = None) -> float:
    """Seconds a `Retry-After` header asks to wait: a number or an HTTP date (RFC 9110, 10.2.3). 0 where it has none."""
    if not value:
        return 0.0
    try:
        seconds = float(value)
    except ValueError:
        try:
            date = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        seconds = (date - (now or datetime.now(UTC))).total_seconds()
    return max(0.0, seconds) if seconds == seconds else 0.0
