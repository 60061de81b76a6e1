"""Options of the endpoint engine, and what it sends. Its behaviour against a real server under faults is in
tests/e2e/test_endpoint_faults.py."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from safekeel.engines import open_engine
from safekeel.engines.api import ApiEngine
from safekeel.engines.base import Sampling
from safekeel.errors import UsageError
from tests.endpoint import prompts

URLS = ["http://127.0.0.1:9/v1"]
KEY = "sk-0123456789abcdef"
ONE, TWO = prompts(2)


@pytest.mark.parametrize("options", [{}, {"base_urls": []}, {"base_urls": "http://127.0.0.1:9/v1"}])
def test_an_endpoint_needs_its_urls(options: dict) -> None:
    with pytest.raises(UsageError, match="--base-url URL"):
        open_engine("api:r1", **options)


@pytest.mark.parametrize("options", [{"concurrency": 0}, {"timeout": 0.0}, {"timeout": math.nan}])
def test_numbers_above_zero(options: dict) -> None:
    with pytest.raises(UsageError, match="expected numbers above 0"):
        ApiEngine("r1", URLS, **options)


def test_more_connections_than_the_system_allows() -> None:
    with pytest.raises(UsageError, match="open files"):
        ApiEngine("r1", URLS, concurrency=10**9)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SAFEKEEL_TEST_KEY", raising=False)
    with pytest.raises(UsageError, match="--api-key-env SAFEKEEL_TEST_KEY: no such environment variable"):
        ApiEngine("r1", URLS, api_key_env="SAFEKEEL_TEST_KEY")
    with pytest.raises(UsageError, match="not the key itself") as raised:
        ApiEngine("r1", URLS, api_key_env=KEY)
    assert KEY not in str(raised.value)
    monkeypatch.setenv("SAFEKEEL_TEST_KEY", f"{KEY}\n")
    engine = ApiEngine("r1", URLS, api_key_env="SAFEKEEL_TEST_KEY")
    assert KEY not in repr(vars(engine))
    for wrong in ("", " ", "two words", "line\nbreak", "密钥"):
        monkeypatch.setenv("SAFEKEEL_TEST_KEY", wrong)
        with pytest.raises(UsageError, match="no usable key") as raised:
            ApiEngine("r1", URLS, api_key_env="SAFEKEEL_TEST_KEY")


def test_the_model_is_its_name_and_revision_wherever_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAFEKEEL_TEST_KEY", KEY)
    one = ApiEngine("r1", URLS).model_id
    assert ApiEngine("r1", ["http://other/v1", *URLS], api_key_env="SAFEKEEL_TEST_KEY").model_id == one
    assert len({one, ApiEngine("r1", URLS, revision="a").model_id, ApiEngine("r2", URLS).model_id}) == 3


def test_urls_of_one_server_count_once() -> None:
    engine = ApiEngine("r1", ["http://127.0.0.1:9", "http://127.0.0.1:9/v1/"])
    assert [str(url) for url in engine.base_urls] == URLS


def test_what_is_sent_is_the_messages() -> None:
    engine = ApiEngine("r1", URLS)
    system, user = '{"content": "简短回答。", "role": "system"}', '{"content": "问题 0", "role": "user"}'
    assert engine.rendered(ONE, Sampling()) == f"[{system}, {user}]"
    assert engine.rendered(ONE, Sampling(seed=3)) == engine.rendered(ONE, Sampling())
    assert engine.rendered(TWO, Sampling()) != engine.rendered(ONE, Sampling())


@pytest.mark.parametrize("think", ["none", "forced"])
def test_other_thinking_modes_need_the_tokenizer(think: str) -> None:
    engine = ApiEngine("r1", URLS)
    for call in (lambda s: engine.rendered(ONE, s), lambda s: engine.generate([ONE], s)):
        with pytest.raises(UsageError, match="--tokenizer FOLDER"):
            call(Sampling(think=think))


def test_a_tokenizer_folder_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    engine = ApiEngine("r1", URLS, tokenizer=tmp_path / "missing")
    with pytest.raises(UsageError, match="expected a local folder"):
        engine.rendered(ONE, Sampling(think="none"))


def test_nothing_to_ask_opens_no_connection() -> None:
    assert ApiEngine("r1", URLS).generate([], Sampling()) == []
