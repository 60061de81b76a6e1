"""The endpoint engine in use, against a real server: keys, names, addresses, samples, thinking modes."""

from __future__ import annotations

import subprocess
import sys
import threading
from hashlib import sha256
from pathlib import Path

import pytest

from safekeel.bench.generate import generate
from safekeel.engines import dispatch, open_engine
from safekeel.engines.base import Sampling
from safekeel.errors import EngineError
from tests.endpoint import endpoint, engine, prompts

KEY = "sk-test-0123456789abcdef"
SAMPLING = Sampling(max_tokens=500)


def test_samples_have_their_own_seeds_and_any_thread_may_ask() -> None:
    asked, found = prompts(3), []
    with endpoint(function="tests.e2e.test_endpoint_use:told") as server:
        sampling = Sampling(max_tokens=500, num_samples=3, seed=7, temperature=0.6, top_p=0.95)
        thread = threading.Thread(target=lambda: found.extend(engine(server).generate(asked, sampling)))
        thread.start()
        thread.join()
    assert [(row.prompt_id, row.sample, row.answer) for row in found] == [
        (f"mock/{index}", sample, f"简短回答。|问题 {index}") for index in range(3) for sample in range(3)
    ]


def told(messages: list[dict[str, str]]) -> str:
    """A reply of what was asked."""
    return "|".join(message["content"] for message in messages)


# --- mistakes of the user ---------------------------------------------------------------------------------------------


def test_a_wrong_key_stops_the_run_and_is_never_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SAFEKEEL_TEST_KEY", KEY)
    with endpoint(key="another") as server:
        with pytest.raises(EngineError, match=r"401: Incorrect API key provided: Bearer .*SAFEKEEL_TEST_KEY") as raised:
            generate(engine(server, api_key_env="SAFEKEEL_TEST_KEY"), prompts(200), SAMPLING, tmp_path / "rows.jsonl")
        assert KEY not in str(raised.value)
        assert server.stats()["requests"] < 200
        with pytest.raises(EngineError, match=r"No key was sent; .* --api-key-env"):
            engine(server).generate(prompts(1), SAMPLING)
    assert (tmp_path / "rows.jsonl").read_text() == ""


def test_the_right_key_reaches_the_server_and_no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dispatch, "FIRST_WAIT", 0.02)
    monkeypatch.setenv("SAFEKEEL_TEST_KEY", KEY)
    path = tmp_path / "rows.jsonl"
    with endpoint(key=KEY, echo_key=True, faults={"error": 0.2}, fault_times=0) as server:
        rows = generate(engine(server, api_key_env="SAFEKEEL_TEST_KEY"), prompts(20), SAMPLING, path)
    assert any(row.finish == "error" for row in rows)
    assert any(row.answer.endswith("Bearer [key]") for row in rows)
    assert KEY not in path.read_text("utf-8")


def test_a_wrong_model_name_offers_the_nearest() -> None:
    with endpoint(model="deepseek-r1-distill") as server, pytest.raises(EngineError) as raised:
        open_engine("api:deepseek-r1-distil", base_urls=[server.base_url]).generate(prompts(50), SAMPLING)
    assert "It serves deepseek-r1-distill, not 'deepseek-r1-distil'. Did you mean" in str(raised.value)


def test_a_wrong_address_stops_the_run() -> None:
    with endpoint() as server:
        wrong = server.base_url.replace("/v1", "/v2")
        with pytest.raises(EngineError, match=r"404.*Correct --base-url"):
            open_engine("api:mock", base_urls=[wrong]).generate(prompts(5), SAMPLING)
    with pytest.raises(EngineError, match=r"(?s)no connection to .*5 rows are missing.*run the same command again"):
        engine(server).generate(prompts(5), SAMPLING)


# --- what it needs ----------------------------------------------------------------------------------------------------


def test_it_needs_neither_torch_nor_transformers() -> None:
    with endpoint() as server:
        code = (
            "import sys; sys.modules |= {'torch': None, 'transformers': None, 'tokenizers': None}\n"
            "from tests.endpoint import mistakes, prompts\n"
            "from safekeel.engines.base import Sampling\n"
            "from safekeel.engines import open_engine\n"
            f"one = open_engine('api:mock', base_urls=[{server.base_url!r}])\n"
            "asked = prompts(5)\n"
            "assert mistakes(asked, one.generate(asked, Sampling(max_tokens=500))) == []\n"
            "print('ok')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "ok\n", done.stderr


@pytest.mark.parametrize("think", ["none", "forced"])
def test_other_thinking_modes_go_through_a_local_template(think: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from safekeel.nano.tokenizer import ASSISTANT, BOS, train_tokenizer

    train_tokenizer(["你好 hello"], 300).save_pretrained(tmp_path)
    with endpoint(function="tests.e2e.test_endpoint_use:continued") as server:
        one = engine(server, tokenizer=tmp_path)
        sampling = Sampling(max_tokens=900, think=think)
        rows = one.generate(prompts(2), sampling)
        sent = one.rendered(prompts(2)[1], sampling)
    assert sent.endswith(ASSISTANT + ("<think>\n\n</think>\n\n" if think == "none" else "<think>\n"))
    assert sent.count(BOS) == 1  # this tokenizer adds none by itself
    said = f"got {sha256(sent.encode()).hexdigest()}"
    if think == "none":
        assert (rows[1].thought, rows[1].answer, rows[1].split) == (None, said, "none")
    else:
        assert (rows[1].thought, rows[1].answer, rows[1].split) == (said, "answer", "prefilled")


def continued(messages: list[dict[str, str]]) -> str:
    """What `/completions` makes of a prompt that ends in a closed or an open thought; it tells what it was sent."""
    text = messages[-1]["content"]
    return f"got {sha256(text.encode()).hexdigest()}" + (
        "" if text.endswith("</think>\n\n") else "\n</think>\n\nanswer"
    )
