"""Step `scrub`: what is replaced, what must stay, and that nothing found is ever quoted. All values are made up."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safekeel.corpus.sample import Sample
from safekeel.corpus.steps.base import Drop
from safekeel.corpus.steps.scrub import ScrubConfig, ScrubStep, scrub
from safekeel.corpus.steps.scrub_kinds import SECRET_KINDS
from safekeel.corpus.steps.scrub_personal import PERSONAL_KINDS
from safekeel.records import Lang, Message, Prompt

KINDS = (*SECRET_KINDS, *PERSONAL_KINDS)
STEP = ScrubStep()


def sample(text: str, lang: Lang = "zh", thought: str = "", answer: str = "") -> Sample:
    prompt = Prompt(
        id="a",
        messages=(Message(role="user", content=text),),
        lang=lang,
        risk=None,
        expect="answer",
        target="13812345678",
        source="test",
        licence="CC0-1.0",
    )
    return Sample(id="a", role="general", prompt=prompt, thought=thought, answer=answer)


def resident_id(body: str) -> str:
    """A number with a right check character (ISO 7064 MOD 11-2), worked out apart from the code under test."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    return body + "10X98765432"[sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True)) % 11]


ID = resident_id("11010519491231002")
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
FOUND = [
    ("我的手机是13812345678，请回电", "我的手机是[手机号]，请回电", "mobile"),
    ("电话：+86 138 1234 5678。", "电话：[手机号]。", "mobile"),
    ("Tel - 13812345678 / 19912345678", "Tel - [手机号] / [手机号]", "mobile"),
    ("手机１３８１２３４５６７８", "手机[手机号]", "mobile"),
    (f"身份证{ID}号", "身份证[身份证号]号", "resident_id"),
    ("卡号 4111 1111 1111 1111 有效", "卡号 [银行卡号] 有效", "bank_card"),
    ("卡号6222021234567890128", "卡号[银行卡号]", "bank_card"),
    ("写信到 li.lei@mail.qq.com 即可", "写信到 [电子邮箱] 即可", "email"),
    ("SSN: 123-45-6789.", "SSN: [社会保障号].", "social_security"),
    ("Call (212) 736-5000 now", "Call [电话号码] now", "phone"),
    ("Call 212-736-5000 now", "Call [电话号码] now", "phone"),
    ("Ring +44 20 7946 0958, please", "Ring [电话号码], please", "phone"),
    ("服务器在 93.184.215.14 上", "服务器在 [IP地址] 上", "ip_address"),
    ("host 2606:2800:21f:cb07:6820:80da:af6b:8b2c up", "host [IP地址] up", "ip_address"),
    ("护照号码：E12345678", "护照号码：[护照号]", "passport"),
    ("加QQ：123456789", "加QQ：[社交账号]", "im_account"),
    ("车牌京A·12345违章", "车牌[车牌号]违章", "licence_plate"),
    ("新能源粤BD12345", "新能源[车牌号]", "licence_plate"),
    ("postgres://app:s3cr3t-pw@db.internal:5432/x", "postgres://app:[密码]@db.internal:5432/x", "url_password"),
    ("key AKIAQWERTYUIOPASDFGH end", "key [密钥] end", "aws_key"),
    ("ghp_" + LETTERS[:36], "[令牌]", "github_token"),
    ("github_pat_" + LETTERS[:22] + "_" + (LETTERS * 2)[:59], "[令牌]", "github_token"),
    ("glpat-" + LETTERS[:20], "[令牌]", "gitlab_token"),
    ("sk-" + LETTERS[:20] + "T3BlbkFJ" + LETTERS[:20], "[密钥]", "openai_key"),
    ("sk-proj-" + LETTERS, "[密钥]", "openai_key"),
    ("sk-ant-" + LETTERS * 2, "[密钥]", "anthropic_key"),
    ("sk-" + "0123456789abcdef" * 2, "[密钥]", "sk_key"),
    ("hf_" + LETTERS[:34], "[令牌]", "huggingface_token"),
    ("xoxb-" + LETTERS[:20], "[令牌]", "slack_token"),
    ("AIza" + LETTERS[:35], "[密钥]", "google_key"),
    ("LTAI" + LETTERS[:20], "[密钥]", "aliyun_key"),
    ("AKID" + LETTERS[:32], "[密钥]", "tencent_key"),
    ("sk_live_" + LETTERS[:24], "[密钥]", "stripe_key"),
    ("eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl", "[令牌]", "jwt"),
]


@pytest.mark.parametrize(("text", "clean", "kind"), FOUND)
def test_replaced_by_a_typed_placeholder(text: str, clean: str, kind: str) -> None:
    found: Counter[str] = Counter()
    assert scrub(text, "zh", KINDS, found) == clean
    assert set(found) == {kind}


def test_every_kind_has_a_case_above() -> None:
    assert {kind.name for kind in KINDS} == {kind for _, _, kind in FOUND}


def test_placeholders_are_in_the_language_of_the_prompt() -> None:
    assert (
        scrub("Mail bob.smith@mailbox.org or ring 13812345678.", "en", KINDS) == "Mail [email] or ring [phone number]."
    )


@pytest.mark.parametrize(
    "text",
    [
        "13800000 + 5 = 13800005",
        "13812345678 + 5 等于多少？",
        "计算 2 × 13812345678",
        "x = 13812345678",
        "$13812345678$ 元",
        "总产值13812345678元",
        "13812345678 bytes were written",
        "共有13800000000人次",
        "48/2 = <<48/2=24>>24",
        "从 1949 年到 2024 年，1949-10-01 至 2024-10-01",
        "ISBN 978-7-111-12345-6 和 9787111123456",
        "圆周率 3.14159265358979323846",
        "3.1415926535897",
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
        "版本 10.0.19041.1，v1.2.3.4，section 12.11.10.13",
        "localhost 127.0.0.1，内网 192.168.1.1，DNS 8.8.8.8 和 114.114.114.114，文档 203.0.113.7",
        "12:30:45 到 13:40:50，std::vector<int> a::b",
        "联系 someone@example.com 或 git@github.com:user/project.git",
        "@property 和 user@localhost",
        "报警打110，热线12356，400-161-9995，988，1-800-273-8255",
        "Call 123-456-7890 or 555-555-5555",
        "SSN 000-12-3456 和 987-65-4320",
        "身份证" + ID[:-1] + ("0" if ID[-1] != "0" else "1"),
        "卡号 4111 1111 1111 1112",
        "京A股大涨，苏G20峰会，京剧ABCDEF",
        "时间戳 1700000000000",
        "https://host.cn:8080/path@2x.png",
        "postgres://user:${PASSWORD}@host/db 与 postgres://user:<password>@host/db",
        "sk-learn 和 sk-2, hf_hub, ghp_short",
    ],
)
def test_what_must_stay(text: str) -> None:
    assert scrub(text, "zh", KINDS) is text


def test_all_parts_are_searched_and_only_counts_are_kept() -> None:
    row = sample("打13812345678", thought="他的手机是13912345678", answer="写信给 li.lei@mail.qq.com")
    [clean] = STEP([row])
    assert isinstance(clean, Sample)
    assert clean.prompt.messages[0].content == "打[手机号]"
    assert (clean.thought, clean.answer) == ("他的手机是[手机号]", "写信给 [电子邮箱]")
    assert clean.checks["scrub"] == {"email": 1, "mobile": 2}
    assert clean.prompt.target == "13812345678"  # compared with what a model says


def test_a_clean_row_is_the_same_object() -> None:
    row = sample("小明有 12 个苹果，吃了 5 个。", answer="还剩 7 个。")
    assert STEP([row])[0] is row


@pytest.mark.parametrize(
    "header",
    [
        "RSA PRIVATE KEY",
        "PRIVATE KEY",
        "EC PRIVATE KEY",
        "OPENSSH PRIVATE KEY",
        "ENCRYPTED PRIVATE KEY",
        "PGP PRIVATE KEY BLOCK",
    ],
)
def test_a_private_key_takes_its_row_with_it(header: str) -> None:
    [drop] = STEP([sample("看看", answer=f"-----BEGIN {header}-----\nMIIEabc\n-----END {header}-----")])
    assert drop == Drop("private_key", "in the answer")


def test_a_public_key_stays() -> None:
    row = sample("-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----")
    assert STEP([row])[0] is row


def test_groups_can_be_switched_off() -> None:
    row = sample("13812345678 sk-" + "0123456789abcdef" * 2)
    [secrets] = ScrubStep(ScrubConfig(personal=False))([row])
    assert isinstance(secrets, Sample)
    assert secrets.checks["scrub"] == {"sk_key": 1}
    [personal] = ScrubStep(ScrubConfig(secrets=False))([row])
    assert isinstance(personal, Sample)
    assert personal.checks["scrub"] == {"mobile": 1}


def test_a_5_mb_row_is_dropped_unsearched() -> None:
    [drop] = STEP([sample("1" * 5_000_000)])
    assert isinstance(drop, Drop)
    assert drop.reason == "too_long"


pieces = st.sampled_from([text for text, _, _ in FOUND] + ["，", " ", "13812345678 + 5", "the end", "\n"])


@given(st.lists(pieces, max_size=5).map(" ".join), st.sampled_from(["zh", "en"]))
def test_scrubbing_twice_changes_nothing_more(text: str, lang: Lang) -> None:
    once = scrub(text, lang, KINDS)
    assert scrub(once, lang, KINDS) == once


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.sampled_from("+*="))
def test_sums_stay_sums(left: int, right: int, operator: str) -> None:
    text = f"{left} {operator} {right}"
    assert scrub(text, "en", KINDS) == text


@given(st.text(alphabet="0123456789-+.@:/ 手机aA[]", max_size=80))
def test_no_text_raises(text: str) -> None:
    assert isinstance(scrub(text, "zh", KINDS), str)


DATA = os.environ.get("SAFEKEEL_DATA")


@pytest.mark.skipif(not DATA, reason="SAFEKEEL_DATA is not set: public data is needed")
def test_nothing_is_found_in_2000_gsm8k_problems() -> None:
    lines = (Path(DATA or "") / "gsm8k/train.jsonl").read_text("utf-8").splitlines()[:2000]
    rows = [json.loads(line) for line in lines]
    found: Counter[str] = Counter()
    for row in rows:
        scrub(row["question"], "en", KINDS, found)
        scrub(row["answer"], "en", KINDS, found)
    assert not found
