"""How much an endpoint gets, whether it lives, and what its URL and its Retry-After say."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from safekeel.engines.endpoint import DOWN_AFTER, FIRST_PROBE, Endpoint, least_busy, parse_base_url, retry_after
from safekeel.engines.limiter import Limiter
from safekeel.errors import UsageError

# --- limiter ----------------------------------------------------------------------------------------------------------


def serve(limiter: Limiter, capacity: int, rounds: int) -> list[int]:
    """A server that takes `capacity` at a time and turns the rest away at once; the limit after each round."""
    limits = []
    for _ in range(rounds):
        sent, window = limiter.limit, limiter.window
        for number in range(sent):
            limiter.answered(window, refused=number < sent - capacity)
        limits.append(limiter.limit)
    return limits


def test_stray_refusals_cost_nothing() -> None:
    limiter = Limiter(500)
    for number in range(10_000):
        limiter.answered(limiter.window, refused=number % 50 == 0)
    assert limiter.limit == 500


def test_an_overloaded_server_is_found_and_the_limit_grows_back() -> None:
    limiter = Limiter(500)
    limits = serve(limiter, capacity=60, rounds=30)
    assert max(limits[10:]) < 80
    assert min(limits[10:]) > 45
    assert serve(limiter, capacity=10_000, rounds=40)[-1] == 500


def test_one_overload_is_one_cut() -> None:
    limiter = Limiter(100)
    for _ in range(100):  # all were sent before the first was turned away
        limiter.answered(0, refused=True)
    assert limiter.limit == 50
    limiter.answered(0, refused=False)
    assert limiter.limit == 50


@given(st.integers(1, 300), st.lists(st.booleans(), max_size=400))
def test_the_limit_stays_between_floor_and_most(most: int, refusals: list[bool]) -> None:
    limiter = Limiter(most)
    for refused in refusals:
        limiter.answered(limiter.window, refused)
        assert 1 <= limiter.limit <= most


# --- one endpoint -----------------------------------------------------------------------------------------------------


def endpoint(concurrency: int = 4) -> Endpoint:
    return Endpoint(URL("http://127.0.0.1:9/v1"), concurrency)


def test_an_unreachable_endpoint_gets_one_probe_at_a_time() -> None:
    one = endpoint()
    one.sent()
    one.failed(0, "refused", now=10.0, unreachable=True)
    assert one.is_down
    assert one.seconds_to_probe(10.0) == FIRST_PROBE
    assert not one.has_room(10.0)
    assert one.has_room(10.0 + FIRST_PROBE)
    one.sent()
    assert not one.has_room(1000.0)
    one.failed(1, "refused", now=20.0, unreachable=True)
    assert one.seconds_to_probe(20.0) == 2 * FIRST_PROBE
    assert one.down_since == 10.0
    one.is_alive()
    assert one.has_room(20.0)


def test_rows_that_fail_again_and_again_are_not_the_endpoints_fault_but_ten_different_ones_are() -> None:
    one = endpoint()
    for number in range(100):
        one.failed(number % (DOWN_AFTER - 1), "reset", now=float(number))
    assert not one.is_down
    one.failed(DOWN_AFTER, "reset", now=100.0)
    assert one.is_down
    other = endpoint()
    for number in range(100):
        other.failed(number, "reset", now=0.0)
        if number % 5 == 4:
            other.is_alive()
    assert not other.is_down


def test_the_least_busy_endpoint_with_room_is_chosen() -> None:
    one, two = endpoint(2), endpoint(2)
    chosen = []
    for _ in range(4):
        found = least_busy([one, two], 0.0)
        assert found is not None
        found.sent()
        chosen.append(found)
    assert chosen == [one, two, one, two]
    assert least_busy([one, two], 0.0) is None
    two.in_flight -= 1
    assert least_busy([one, two], 0.0) is two
    two.failed(0, "gone", 0.0, unreachable=True)
    assert least_busy([one, two], 0.0) is None


@pytest.mark.parametrize(
    ("given_url", "url"),
    [
        ("http://host:8000/v1", "http://host:8000/v1"),
        ("http://host:8000/v1/", "http://host:8000/v1"),
        ("http://host:8000", "http://host:8000/v1"),
        ("https://api.deepseek.com/", "https://api.deepseek.com/v1"),
        ("http://host/v1/chat/completions", "http://host/v1"),
        ("http://host/v1/completions", "http://host/v1"),
        ("https://host/compatible-mode/v1", "https://host/compatible-mode/v1"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
    ],
)
def test_base_urls(given_url: str, url: str) -> None:
    assert str(parse_base_url(given_url)) == url


@pytest.mark.parametrize("text", ["host:8000/v1", "", "ftp://host/v1", "http://", "http://host:port/v1", "/v1"])
def test_what_is_no_base_url(text: str) -> None:
    with pytest.raises(UsageError, match="expected a URL such as"):
        parse_base_url(text)


@pytest.mark.parametrize("text", ["http://me:s3cret@host/v1", "http://host/v1?api-key=s3cret", "http://s3cret@host"])
def test_a_secret_in_a_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="--api-key-env") as raised:
        parse_base_url(text)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, 0.0),
        ("", 0.0),
        ("7", 7.0),
        ("0.25", 0.25),
        ("-3", 0.0),
        ("nan", 0.0),
        ("soon", 0.0),
        ("Wed, 21 Oct 2026 07:28:30 GMT", 30.0),
        ("Wed, 21 Oct 2026 07:27:00 GMT", 0.0),
        ("Wed, 21 Oct 2026 07:28:30 -0000", 30.0),
    ],
)
def test_retry_after(value: str | None, seconds: float) -> None:
    assert retry_after(value, datetime(2026, 10, 21, 7, 28, tzinfo=UTC)) == seconds


def test_retry_after_forever_is_a_number() -> None:
    assert retry_after("inf") == math.inf
